#include "litmus/symbolic.h"

#include <limits>

namespace racewalk::litmus {

std::optional<value_t> apply(operation op, value_t left, value_t right) {
  const auto a = static_cast<std::uint64_t>(left);
  const auto b = static_cast<std::uint64_t>(right);
  const auto wrapped = [](std::uint64_t v) { return static_cast<value_t>(v); };
  const bool division_fails = right == 0 || (left == std::numeric_limits<value_t>::min() && right == -1);
  switch (op) {
  case operation::add:
    return wrapped(a + b);
  case operation::sub:
    return wrapped(a - b);
  case operation::mul:
    return wrapped(a * b);
  case operation::div:
    return division_fails ? std::nullopt : std::optional(left / right);
  case operation::mod:
    return division_fails ? std::nullopt : std::optional(left % right);
  case operation::bit_and:
    return left & right;
  case operation::bit_or:
    return left | right;
  case operation::bit_xor:
    return left ^ right;
  case operation::and_not:
    return left & ~right;
  case operation::shift_left:
    return b < 64 ? std::optional(wrapped(a << b)) : std::nullopt;
  case operation::shift_right:
    return b < 64 ? std::optional(left >> right) : std::nullopt;
  case operation::equal:
    return left == right;
  case operation::not_equal:
    return left != right;
  case operation::less:
    return left < right;
  case operation::less_equal:
    return left <= right;
  case operation::greater:
    return left > right;
  case operation::greater_equal:
    return left >= right;
  case operation::logical_and:
    return left != 0 && right != 0;
  case operation::logical_or:
    return left != 0 || right != 0;
  }
  return std::nullopt;
}

expression_id expression_pool::binary(operation op, expression_id left, expression_id right) {
  const auto a = evaluate(left, {}), b = evaluate(right, {});
  const auto known = a && b ? apply(op, *a, *b) : std::nullopt;
  if (known) return constant(*known);
  return add(
      {.what = term::binary, .op = op, .left = left, .right = right, .cost = 1 + cost(left) + cost(right)});
}

std::optional<value_t> expression_pool::evaluate(expression_id e,
                                                 std::span<const std::optional<value_t>> reads) const {
  const node& n = nodes_[e];
  switch (n.what) {
  case term::constant:
    return n.value;
  case term::read:
    return n.event < reads.size() ? reads[n.event] : std::nullopt;
  case term::binary:
    break;
  }
  const auto left = evaluate(n.left, reads);
  const auto right = left ? evaluate(n.right, reads) : std::nullopt;
  return right ? apply(n.op, *left, *right) : std::nullopt;
}

} // namespace racewalk::litmus
