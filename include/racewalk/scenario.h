// Scenarios: arguments as programs that are decided.
//
// A scenario sets up a machine, gives each CPU a body, and names a property of the final state. The bodies
// call the functions that the library ships; what an argument is about is a departure from the policy, so a
// variant is a set of departures. The invariants (use after free, broken counts, hangs, data races ...) are
// checked in every run without being asked for.
//
// Code that runs on a CPU keeps its state on its own stack, in shared<>/plain<> variables, or in variables
// that only its own thread writes; it is run again and again with the same values and may be dropped
// anywhere, so it owns nothing that needs a destructor.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "explore/linear.h"
#include "machine/policy.h"
#include "mm/policy.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What one run is made with.
struct settings {
  const arch_desc* arch = nullptr;
  explore::memory_model model = explore::memory_model::weak;
  geometry_t geometry{.levels = 2, .bits = 1};
  policy_t policy;
  machine_policy_t machine;
  unsigned shape = 0; ///< which of the scenario's own initial states, bodies or questions; 0 is the usual one
};

/// What the source of an argument says. `open`: it leaves it open.
enum class expect : u8 { safe, violation, open };

/// Everything that exists while a scenario runs. Made anew for each exploration, once per exploration.
class scenario_world {
 public:
  virtual ~scenario_world() = default;

  explore::program program; ///< a body per CPU, and the property
  explore::naming names;    ///< of its variables
};

struct variant {
  std::string id; ///< its letter in the catalogue
  std::string name;
  std::string summary; ///< one line: what it departs in
  std::function<void(settings&)> depart;
  std::function<expect(const settings&)> expected;
};

struct scenario {
  std::string id; ///< its number in the catalogue
  std::string name;
  std::string summary; ///< one line: what is argued
  std::string source;  ///< where
  std::vector<std::string> threads;
  std::function<std::unique_ptr<scenario_world>(const settings&)> set_up;
  std::vector<variant> variants; ///< the first is the shipped code
};

/// Every scenario, in the order of the catalogue.
const std::vector<scenario>& all_scenarios();

/// The model that an architecture's hardware has.
explore::memory_model default_model(const arch_desc& arch);

/// The settings of a variant on an architecture.
settings settings_for(const variant& v, const arch_desc& arch, explore::memory_model model);

/// A decided run, with what is needed to tell about it.
struct decision {
  explore::outcome outcome;
  unsigned cpus = 0;                     ///< that took part: the first of the scenario's threads
  std::vector<explore::step> steps;      ///< of the counterexample
  std::vector<explore::choice> schedule; ///< of the counterexample
};

decision decide(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options);
/// Runs a recorded counterexample again.
decision replay(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options,
                const std::vector<explore::choice>& schedule);

} // namespace racewalk::inline RACEWALK_BACKEND
