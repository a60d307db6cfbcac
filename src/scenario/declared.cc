#include "racewalk/scenario.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

std::vector<scenario>& declared() {
  static std::vector<scenario> all; // made on first use: declarations are initialisers of other files
  return all;
}

} // namespace

/// What was left out becomes what is usual, so that the rest of the house need not ask.
declare_scenario::declare_scenario(scenario s) {
  if (s.variants.empty()) s.variants.push_back({.name = "as_written"});
  declared().push_back(std::move(s));
}

const std::vector<scenario>& declared_scenarios() { return declared(); }

} // namespace racewalk::inline RACEWALK_BACKEND
