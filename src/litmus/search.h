// The executions of a candidate: every choice of a write for each read and of an order of the writes of each
// location, that the memory model allows.
//
// Reads choose one after the other. A choice at once orders writes (coherence and atomicity, kept as a
// transitive relation with everything that follows added), and makes values known; where a value contradicts
// what a path assumed, or the order would be cyclic, or the model forbids what there is so far, the choice is
// dropped with all that would extend it. Whole executions differ in a choice, so none is visited twice.
//
// Program order plays no part in this, so executions in which it forms a cycle with reads-from (load
// buffering) are visited like all others and judged by the model alone. A value that depends on itself is no
// value: such executions are dropped.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "litmus/candidate.h"

namespace racewalk::litmus {

/// What an item of the final state ended up as.
using final_values = std::function<value_t(const final_item&)>;

class execution_visitor {
 public:
  virtual ~execution_visitor() = default;
  /// Whether an execution that ends so is to be considered at all.
  virtual bool wanted(const final_values& value_of) = 0;
  virtual void visit(const final_values& value_of, const std::set<std::string>& flags) = 0;
};

void visit_executions(const candidate& c, execution_visitor& visitor);

} // namespace racewalk::litmus
