#include "litmus/code_parser.h"

#include <algorithm>
#include <array>
#include <optional>

namespace racewalk::litmus {
namespace {

constexpr std::array<std::string_view, 10> control_keywords = {
    "while", "for", "do", "switch", "case", "default", "goto", "return", "break", "continue"};

/// Words that can only begin a type. Any other name is a type where another name or a star follows it.
constexpr std::array<std::string_view, 12> type_words = {"int",      "long",   "short",    "char",
                                                         "unsigned", "signed", "void",     "volatile",
                                                         "const",    "struct", "intptr_t", "uintptr_t"};

template <std::size_t N> bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::ranges::find(words, word) != words.end();
}

struct binary_operator {
  std::string_view text;
  operation op;
  unsigned precedence; ///< C's: higher binds tighter
};

constexpr std::array<binary_operator, 18> binary_operators = {{{"||", operation::logical_or, 1},
                                                               {"&&", operation::logical_and, 2},
                                                               {"|", operation::bit_or, 3},
                                                               {"^", operation::bit_xor, 4},
                                                               {"&", operation::bit_and, 5},
                                                               {"==", operation::equal, 6},
                                                               {"!=", operation::not_equal, 6},
                                                               {"<", operation::less, 7},
                                                               {"<=", operation::less_equal, 7},
                                                               {">", operation::greater, 7},
                                                               {">=", operation::greater_equal, 7},
                                                               {"<<", operation::shift_left, 8},
                                                               {">>", operation::shift_right, 8},
                                                               {"+", operation::add, 9},
                                                               {"-", operation::sub, 9},
                                                               {"*", operation::mul, 10},
                                                               {"/", operation::div, 10},
                                                               {"%", operation::mod, 10}}};

std::optional<binary_operator> find_operator(std::string_view text) {
  const auto found = std::ranges::find(binary_operators, text, &binary_operator::text);
  return found == binary_operators.end() ? std::nullopt : std::optional(*found);
}

expression constant(unsigned line, value_t value) {
  return {.kind = expression_kind::constant, .line = line, .value = value};
}

expression name_expression(unsigned line, std::string name) {
  return {.kind = expression_kind::name, .line = line, .name = std::move(name)};
}

expression combine(unsigned line, operation op, expression left, expression right) {
  expression e{.kind = expression_kind::binary, .line = line, .op = op};
  e.operands.push_back(std::move(left));
  e.operands.push_back(std::move(right));
  return e;
}

statement assign(unsigned line, expression target, expression value) {
  return {
      .kind = statement_kind::assign, .line = line, .target = std::move(target), .value = std::move(value)};
}

} // namespace

statement code_parser::block() {
  const nesting level(depth_, tokens_.line());
  statement s{.kind = statement_kind::block, .line = tokens_.line()};
  tokens_.expect("{");
  while (!tokens_.accept("}")) {
    if (tokens_.at_end()) throw tokens_.wrong("'}'");
    s.body.push_back(parse_statement());
  }
  return s;
}

statement code_parser::parse_statement() {
  const nesting level(depth_, tokens_.line());
  const unsigned line = tokens_.line();
  if (tokens_.at("{")) return block();
  if (tokens_.accept(";")) return {.kind = statement_kind::block, .line = line};
  if (tokens_.at("if")) return branch();
  if (is_one_of(tokens_.peek().text, control_keywords))
    throw unsupported(line, "'" + std::string(tokens_.peek().text) + "'");
  if (tokens_.at_name() && tokens_.at(":", 1)) throw unsupported(line, "a label");
  return at_declaration() ? declaration() : assignment_or_call();
}

statement code_parser::branch() {
  statement s{.kind = statement_kind::branch, .line = tokens_.line()};
  tokens_.expect("if");
  tokens_.expect("(");
  s.value = parse_expression();
  tokens_.expect(")");
  s.body.push_back(parse_statement());
  if (tokens_.accept("else")) s.body.push_back(parse_statement());
  return s;
}

bool code_parser::at_declaration() const {
  if (!tokens_.at_name()) return false;
  return is_one_of(tokens_.peek().text, type_words) || tokens_.at_name(1) || tokens_.at("*", 1);
}

/// Registers need no declaration to exist, so only the initialisers are kept.
statement code_parser::declaration() {
  statement s{.kind = statement_kind::block, .line = tokens_.line()};
  while (tokens_.at_name() && (tokens_.at_name(1) || tokens_.at("*", 1)))
    tokens_.next();
  do {
    while (tokens_.accept("*") || tokens_.accept("const") || tokens_.accept("volatile")) {
    }
    const unsigned line = tokens_.line();
    const std::string name = tokens_.expect_name("the name of a register");
    if (tokens_.at("[")) throw unsupported(line, "an array");
    if (tokens_.accept("=")) s.body.push_back(assign(line, name_expression(line, name), parse_expression()));
  } while (tokens_.accept(","));
  tokens_.expect(";");
  return s;
}

statement code_parser::assignment_or_call() {
  const unsigned line = tokens_.line();
  expression e = parse_expression();
  if (tokens_.accept("=")) {
    if (e.kind != expression_kind::name && e.kind != expression_kind::deref)
      throw bad_test(line, "only a register or a dereferenced pointer can be assigned to");
    statement s = assign(line, std::move(e), parse_expression());
    tokens_.expect(";");
    return s;
  }
  if (tokens_.at("++") || tokens_.at("--"))
    throw unsupported(line, "'" + std::string(tokens_.peek().text) + "'");
  tokens_.expect(";");
  return {.kind = statement_kind::call, .line = line, .value = std::move(e)};
}

/// Operators of the same precedence associate to the left, so a long chain of them is a deep expression.
expression code_parser::binary(unsigned min_precedence) {
  const nesting level(depth_, tokens_.line());
  expression left = unary();
  for (unsigned length = 0;; length++) {
    const unsigned line = tokens_.line();
    if (tokens_.at("?")) throw unsupported(line, "'?:'");
    const auto op = find_operator(tokens_.peek().text);
    if (!op || op->precedence <= min_precedence) return left;
    if (length == nesting::limit) throw unsupported(line, "an expression of so many operators");
    tokens_.next();
    if (tokens_.at("=")) throw unsupported(line, "compound assignment '" + std::string(op->text) + "='");
    left = combine(line, op->op, std::move(left), binary(op->precedence));
  }
}

expression code_parser::unary() {
  const nesting level(depth_, tokens_.line());
  const unsigned line = tokens_.line();
  if (tokens_.accept("-")) return combine(line, operation::sub, constant(line, 0), unary());
  if (tokens_.accept("+")) return unary();
  if (tokens_.accept("!")) return combine(line, operation::equal, unary(), constant(line, 0));
  if (tokens_.accept("~")) return combine(line, operation::bit_xor, unary(), constant(line, -1));
  if (tokens_.at("&")) throw unsupported(line, "the address-of operator '&' in code");
  if (tokens_.at("++") || tokens_.at("--"))
    throw unsupported(line, "'" + std::string(tokens_.peek().text) + "'");
  if (tokens_.accept("*")) {
    expression e{.kind = expression_kind::deref, .line = line};
    e.operands.push_back(unary());
    return e;
  }
  if (at_cast()) {
    skip_cast();
    return unary();
  }
  return primary();
}

/// Values have no types here, so a cast changes nothing.
bool code_parser::at_cast() const {
  if (!tokens_.at("(") || !tokens_.at_name(1)) return false;
  if (is_one_of(tokens_.peek(1).text, type_words)) return true;
  std::size_t star = 2;
  while (tokens_.at("*", star))
    star++;
  return star > 2 && tokens_.at(")", star);
}

void code_parser::skip_cast() {
  tokens_.expect("(");
  while (!tokens_.accept(")")) {
    if (!tokens_.at_name() && !tokens_.at("*")) throw tokens_.wrong("a type");
    tokens_.next();
  }
}

expression code_parser::primary() {
  const unsigned line = tokens_.line();
  expression e;
  if (tokens_.accept("(")) {
    e = parse_expression();
    tokens_.expect(")");
  } else if (tokens_.at_number()) {
    e = constant(line, tokens_.expect_number());
  } else if (tokens_.at_name()) {
    const token name = tokens_.next();
    if (tokens_.at("("))
      e = call(name);
    else
      e = name.text == "NULL" ? constant(line, 0) : name_expression(line, std::string(name.text));
  } else {
    throw tokens_.wrong("an expression");
  }
  if (tokens_.at("[")) throw unsupported(line, "an array");
  if (tokens_.at("->") || tokens_.at(".")) throw unsupported(line, "a structure's member");
  return e;
}

expression code_parser::call(const token& name) {
  expression e{.kind = expression_kind::call, .line = name.line, .name = std::string(name.text)};
  tokens_.expect("(");
  if (tokens_.accept(")")) return e;
  do
    e.operands.push_back(parse_expression());
  while (tokens_.accept(","));
  tokens_.expect(")");
  return e;
}

} // namespace racewalk::litmus
