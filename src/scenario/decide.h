// Decides scenarios: runs them under the explorer with their settings in force.
#pragma once

#include "explore/story.h"
#include "racewalk/scenario.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The model that an architecture's hardware has.
explore::memory_model default_model(const arch_desc& arch);

/// Where a scenario is decided: on the architectures that it names, or on those that can run every one.
std::vector<const arch_desc*> archs_of(const scenario& s);

/// The settings of a variant on an architecture.
settings settings_for(const variant& v, const arch_desc& arch, explore::memory_model model);

/// A decided run, with what is needed to tell about it.
struct decision {
  explore::outcome outcome;
  unsigned cpus = 0;                     ///< that took part: the first of the scenario's threads
  explore::story story;                  ///< of the counterexample
  std::vector<explore::choice> schedule; ///< of the counterexample
};

decision decide(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options);
/// Runs a recorded counterexample again.
decision replay(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options,
                const std::vector<explore::choice>& schedule);

} // namespace racewalk::inline RACEWALK_BACKEND
