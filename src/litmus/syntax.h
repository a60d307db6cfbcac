// A litmus test as written: initial values, one body of code per process, and a question about the final
// state.
//
// Nothing here knows what a primitive means: READ_ONCE(*x) is a call with one argument.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

namespace racewalk::litmus {

/// A value: an integer, or the address of a location, which is an integer far from those that tests use.
using value_t = std::int64_t;

enum class operation : std::uint8_t {
  add,
  sub,
  mul,
  div,
  mod,
  bit_and,
  bit_or,
  bit_xor,
  and_not,
  shift_left,
  shift_right,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  logical_and,
  logical_or,
};

enum class expression_kind : std::uint8_t {
  constant, ///< value
  name,     ///< a register, or the address of a location
  deref,    ///< *operands[0]
  binary,   ///< operands[0] op operands[1]
  call,     ///< name(operands...)
};

struct expression {
  expression_kind kind = expression_kind::constant;
  unsigned line = 0;
  value_t value = 0;
  operation op = operation::add;
  std::string name;
  std::vector<expression> operands;
};

enum class statement_kind : std::uint8_t {
  assign, ///< target (a name or a deref) = value
  call,   ///< value, for its effect
  branch, ///< if (value) body[0] [else body[1]]
  block,  ///< { body... }
};

struct statement {
  statement_kind kind = statement_kind::block;
  unsigned line = 0;
  expression target;
  expression value;
  std::vector<statement> body;
};

struct process {
  unsigned line = 0;
  std::vector<std::string> parameters; ///< each the address of the location of that name
  statement body;
};

/// Something of the final state: register `name` of a process, or (process < 0) the location `name`.
struct final_item {
  int process = -1;
  std::string name;
  bool operator==(const final_item&) const = default;
  bool operator<(const final_item& o) const { return std::tie(process, name) < std::tie(o.process, o.name); }
};

enum class proposition_kind : std::uint8_t {
  constant,
  equals,
  equals_item,
  negation,
  all_of,
  any_of,
  implies
};

/// What a final state may satisfy.
struct proposition {
  proposition_kind kind = proposition_kind::constant;
  bool truth = true;                 ///< constant
  final_item item;                   ///< equals, equals_item
  value_t value = 0;                 ///< equals
  final_item other;                  ///< equals_item
  std::vector<proposition> operands; ///< negation: 1; implies: 2; all_of, any_of: 2
};

enum class quantifier : std::uint8_t { exists, not_exists, forall };

struct litmus_test {
  std::string name;
  std::vector<std::string> locations;            ///< their addresses are address_of(index)
  std::map<std::string, value_t> initial_values; ///< of locations; 0 where none is given
  std::map<final_item, value_t> initial_registers;
  std::vector<process> processes;
  std::vector<final_item> also_shown; ///< by `locations [...]`
  std::optional<proposition> filter;
  quantifier asks = quantifier::exists;
  proposition condition;
  std::string expected; ///< the word after "Result:" in a comment, or empty
};

/// Addresses sit above every integer that a test can write down, and far enough apart that adding an offset
/// to one does not reach the next.
constexpr value_t address_base = value_t{1} << 48;
constexpr value_t address_stride = value_t{1} << 20;

constexpr value_t address_of(std::size_t location) {
  return address_base + static_cast<value_t>(location) * address_stride;
}

/// The location at exactly this address.
inline std::optional<std::size_t> location_at(const litmus_test& test, value_t address) {
  if (address < address_base || (address - address_base) % address_stride != 0) return std::nullopt;
  const auto index = static_cast<std::size_t>((address - address_base) / address_stride);
  return index < test.locations.size() ? std::optional(index) : std::nullopt;
}

} // namespace racewalk::litmus
