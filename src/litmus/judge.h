// Decides a litmus test: visits every execution that the memory model allows, each once, and looks at its
// final state.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "litmus/syntax.h"

namespace racewalk::litmus {

struct judgement {
  std::vector<final_item> shown; ///< what a state is made of: registers first, then locations, each sorted
  std::set<std::vector<value_t>> states; ///< values of `shown`
  std::uint64_t positive = 0;            ///< executions that satisfy the condition
  std::uint64_t negative = 0;            ///< executions that do not
  std::set<std::string> flags;           ///< data races and misuse
};

/// Throws bad_test where the test does what this judge has no meaning for.
judgement judge(const litmus_test& test);

} // namespace racewalk::litmus
