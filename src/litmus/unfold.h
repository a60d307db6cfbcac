// Unfolds the code of one process into its paths: which events it performs, in program order, for every way
// its conditions, its conditional operations and its pointers can turn out. What each path takes for granted
// about the values read is kept as assumptions, to be held against an execution.
//
// Dependencies are syntactic, as the memory model has them: a register carries the reads it was computed
// from, a branch passes the reads of its condition on to the events inside its arms, and nothing else does.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "litmus/event.h"
#include "litmus/symbolic.h"
#include "litmus/syntax.h"

namespace racewalk::litmus {

/// `value` is non-zero if and only if `truth`.
struct assumption {
  expression_id value = 0;
  bool truth = true;
};

struct process_path {
  expression_pool pool;
  std::vector<event> events; ///< in program order
  std::vector<assumption> assumptions;
  std::map<std::string, expression_id> registers; ///< at the end
  unsigned wild_line = 0; ///< not 0: the path ends there, about to follow a pointer to nowhere
};

/// Throws bad_test.
std::vector<process_path> unfold(const litmus_test& test, std::size_t process);

} // namespace racewalk::litmus
