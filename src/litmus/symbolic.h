// Values that are not known yet: expressions over what the reads of a process will turn out to have read.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "litmus/event.h"

namespace racewalk::litmus {

/// What `left op right` is in C, with 64-bit integers that wrap. Nothing where C has no answer.
std::optional<value_t> apply(operation op, value_t left, value_t right);

/// The expressions of one path of a process. An expression only mentions ones that were made before it.
class expression_pool {
 public:
  expression_id constant(value_t value) { return add({.what = term::constant, .value = value}); }
  expression_id read(std::size_t event) { return add({.what = term::read, .event = event}); }
  expression_id binary(operation op, expression_id left, expression_id right);

  /// How many steps evaluate() may take.
  [[nodiscard]] std::size_t cost(expression_id e) const { return nodes_[e].cost; }

  /// The value, where that follows from the reads known so far; `reads` is indexed by event. Reads of no
  /// process yet (an empty span) leave constants.
  [[nodiscard]] std::optional<value_t> evaluate(expression_id e,
                                                std::span<const std::optional<value_t>> reads) const;

 private:
  enum class term : std::uint8_t { constant, read, binary };
  struct node {
    term what = term::constant;
    operation op = operation::add;
    value_t value = 0;
    std::size_t event = 0;
    expression_id left = 0, right = 0;
    std::size_t cost = 1;
  };

  expression_id add(node n) {
    nodes_.push_back(n);
    return static_cast<expression_id>(nodes_.size() - 1);
  }

  std::vector<node> nodes_;
};

} // namespace racewalk::litmus
