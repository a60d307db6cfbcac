#include "litmus/parser.h"

#include <algorithm>
#include <unordered_map>

#include "litmus/code_parser.h"
#include "litmus/token_stream.h"

namespace racewalk::litmus {
namespace {

/// The first line: the language, which must be C, and the test's name.
struct header {
  std::string name;
  std::size_t end = 0; ///< of the line, in the text
  unsigned line = 1;
};

header read_header(std::string_view text) {
  header h;
  std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) throw bad_test(1, "the file is empty");
  h.line += static_cast<unsigned>(std::ranges::count(text.substr(0, begin), '\n'));
  h.end = std::min(text.find('\n', begin), text.size());
  const std::string_view line = text.substr(begin, h.end - begin);
  const std::size_t blank = std::min(line.find_first_of(" \t\r"), line.size());
  const std::string_view language = line.substr(0, blank);
  const bool is_word = std::ranges::all_of(language, [](unsigned char c) { return c > ' ' && c < 127; });
  if (!is_word || language.size() > 20) throw bad_test(h.line, "the file does not begin as a litmus test");
  if (language != "C") throw unsupported(h.line, "the language " + std::string(language));
  const std::size_t name = std::min(line.find_first_not_of(" \t", blank), line.size());
  const std::size_t last = line.find_last_not_of(" \t\r");
  if (name > last) throw bad_test(h.line, "the test has no name");
  h.name = line.substr(name, last + 1 - name);
  return h;
}

/// The kernel's tests say in a comment line ` * Result: WORD` what is to come out.
std::string read_expected(std::string_view text) {
  constexpr std::string_view mark = "\n * Result: ";
  const std::size_t at = text.find(mark);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = text.substr(at + mark.size());
  return std::string(rest.substr(0, rest.find_first_of(" \t\r\n")));
}

/// `P` and a number: a process. Nothing else is (`pte`, `P` and `Pa` are names).
std::optional<int> process_number(std::string_view name) {
  int number = 0;
  if (!name.starts_with("P")) return std::nullopt;
  const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() ? std::optional(number) : std::nullopt;
}

class test_parser {
 public:
  explicit test_parser(std::string_view text)
      : text_(text), header_(read_header(text)), tokens_(after_header()) {}

  litmus_test parse() {
    test_.name = header_.name;
    test_.expected = read_expected(text_);
    while (tokens_.peek().kind == token_kind::string)
      tokens_.next(); // a generated test describes itself here
    initial_state();
    processes();
    shown_locations();
    if (tokens_.accept("filter")) test_.filter = any_of();
    question();
    if (!tokens_.at_end()) throw tokens_.wrong("the end of the file");
    return std::move(test_);
  }

 private:
  std::vector<token> after_header() { return tokenize(text_.substr(header_.end), header_.line); }

  std::size_t location(const std::string& name) {
    const auto [known, is_new] = index_.try_emplace(name, test_.locations.size());
    if (is_new) test_.locations.push_back(name);
    return known->second;
  }

  void initial_state() {
    tokens_.expect("{");
    while (!tokens_.accept("}")) {
      if (tokens_.accept(";")) continue;
      initial_value();
      if (!tokens_.at("}")) tokens_.expect(";");
    }
  }

  /// `[TYPE] [*]NAME [= VALUE]`; the type says nothing that matters here.
  void initial_value() {
    while (tokens_.at("*") ||
           (tokens_.at_name() &&
            (tokens_.at_name(1) || tokens_.at("*", 1) || tokens_.at("[", 1) || tokens_.at_number(1)) &&
            !tokens_.at(":", 1))) {
      if (tokens_.at("[", 1) && tokens_.at_number(2)) throw unsupported(tokens_.line(), "an array");
      tokens_.next();
    }
    const final_item item = item_name();
    const value_t value = tokens_.accept("=") ? initialiser() : 0;
    if (item.process >= 0)
      test_.initial_registers[item] = value;
    else
      test_.initial_values[item.name] = value;
    if (tokens_.at("[")) throw unsupported(tokens_.line(), "an array");
  }

  value_t initialiser() {
    if (tokens_.at("{")) throw unsupported(tokens_.line(), "an array");
    if (tokens_.accept("ATOMIC_INIT")) {
      tokens_.expect("(");
      const value_t value = plain_value();
      tokens_.expect(")");
      return value;
    }
    return plain_value();
  }

  /// A number, or a location's name, which stands for its address whether or not `&` says so.
  value_t plain_value() {
    const bool address = tokens_.accept("&");
    if (!address && !tokens_.at_name()) return tokens_.expect_number();
    const std::string name = tokens_.expect_name("the name of a location");
    return name == "NULL" ? 0 : address_of(location(name));
  }

  void processes() {
    while (tokens_.at_name() && process_number(tokens_.peek().text) && tokens_.at("(", 1)) {
      process p{.line = tokens_.line()};
      if (*process_number(tokens_.next().text) != static_cast<int>(test_.processes.size()))
        throw bad_test(p.line, "processes are to be numbered from P0 on, without a gap");
      tokens_.expect("(");
      if (!tokens_.accept(")")) {
        do
          p.parameters.push_back(parameter());
        while (tokens_.accept(","));
        tokens_.expect(")");
      }
      p.body = code_parser(tokens_).block();
      test_.processes.push_back(std::move(p));
    }
    if (test_.processes.empty()) throw tokens_.wrong("the process P0");
  }

  std::string parameter() {
    const unsigned line = tokens_.line();
    bool is_pointer = false;
    std::string name;
    while (tokens_.at_name() || tokens_.at("*")) {
      is_pointer = is_pointer || tokens_.at("*");
      name = tokens_.next().text;
    }
    if (tokens_.at("[")) throw unsupported(line, "an array");
    if (name.empty() || name == "*") throw tokens_.wrong("a parameter");
    if (!is_pointer) throw unsupported(line, "a parameter that is passed by value, as '" + name + "' is,");
    location(name);
    return name;
  }

  void shown_locations() {
    if (!tokens_.accept("locations")) return;
    tokens_.expect("[");
    while (!tokens_.accept("]")) {
      if (tokens_.accept(";")) continue;
      test_.also_shown.push_back(item_name());
      while (tokens_.at_name() || tokens_.at("*"))
        tokens_.next(); // a type, to print by
      if (!tokens_.at("]")) tokens_.expect(";");
    }
  }

  void question() {
    if (tokens_.at_end()) { // nothing asked: which states are there?
      test_.asks = quantifier::forall;
      return;
    }
    const bool negated = tokens_.accept("~") || tokens_.accept("not");
    if (tokens_.accept("exists"))
      test_.asks = negated ? quantifier::not_exists : quantifier::exists;
    else if (!negated && tokens_.accept("forall"))
      test_.asks = quantifier::forall;
    else if (tokens_.at("observed") || tokens_.at("final"))
      throw unsupported(tokens_.line(), "'" + std::string(tokens_.peek().text) + "'");
    else
      throw tokens_.wrong("'exists', '~exists' or 'forall'");
    test_.condition = any_of();
    tokens_.accept(";");
    if (tokens_.at("with")) throw unsupported(tokens_.line(), "'with'");
  }

  /// Binding as in the reference tool, from loose to tight: or, and, implies, not.
  proposition any_of() { return chain(proposition_kind::any_of, "\\/", &test_parser::all_of); }
  proposition all_of() { return chain(proposition_kind::all_of, "/\\", &test_parser::implication); }

  proposition chain(proposition_kind kind, std::string_view connective,
                    proposition (test_parser::*operand)()) {
    proposition first = (this->*operand)();
    if (!tokens_.at(connective)) return first;
    proposition p{.kind = kind};
    p.operands.push_back(std::move(first));
    while (tokens_.accept(connective))
      p.operands.push_back((this->*operand)());
    return p;
  }

  proposition implication() {
    const nesting level(depth_, tokens_.line());
    proposition left = negation();
    if (!tokens_.accept("=>")) return left;
    proposition p{.kind = proposition_kind::implies};
    p.operands.push_back(std::move(left));
    p.operands.push_back(implication());
    return p;
  }

  proposition negation() {
    const nesting level(depth_, tokens_.line());
    if (tokens_.accept("~") || tokens_.accept("not")) {
      proposition p{.kind = proposition_kind::negation};
      p.operands.push_back(negation());
      return p;
    }
    if (tokens_.accept("(")) {
      proposition p = any_of();
      tokens_.expect(")");
      return p;
    }
    if (tokens_.at("true") || tokens_.at("false"))
      return {.kind = proposition_kind::constant, .truth = tokens_.next().text == "true"};
    return comparison();
  }

  proposition comparison() {
    proposition p{.kind = proposition_kind::equals, .item = item_name()};
    const bool unequal = tokens_.accept("!=");
    if (!unequal && !tokens_.accept("=")) tokens_.expect("==");
    const bool against_item = tokens_.at("[") || tokens_.at("*") || tokens_.at(":", 1);
    if (against_item) {
      p.kind = proposition_kind::equals_item;
      p.other = item_name();
    } else {
      p.value = plain_value();
    }
    if (!unequal) return p;
    proposition negated{.kind = proposition_kind::negation};
    negated.operands.push_back(std::move(p));
    return negated;
  }

  /// `0:r1`, `P0:r1`, `x`, `[x]` or `*x`.
  final_item item_name() {
    final_item item;
    if (tokens_.at(":", 1) && (tokens_.at_number() || process_number(tokens_.peek().text))) {
      const token t = tokens_.next();
      const std::string_view digits = t.text.starts_with("P") ? t.text.substr(1) : t.text;
      const auto [end, error] = std::from_chars(digits.begin(), digits.end(), item.process);
      if (error != std::errc() || end != digits.end())
        throw bad_test(t.line, "'" + std::string(t.text) + "' is not a process");
      tokens_.expect(":");
      item.name = tokens_.expect_name("the name of a register");
      return item;
    }
    const bool bracketed = tokens_.accept("[");
    if (!bracketed) tokens_.accept("*");
    const unsigned line = tokens_.line();
    item.name = tokens_.expect_name("a register or a location");
    if (bracketed) tokens_.expect("]");
    if (tokens_.at("[")) throw unsupported(line, "an array");
    location(item.name);
    return item;
  }

  std::string_view text_;
  header header_;
  token_stream tokens_;
  litmus_test test_;
  std::unordered_map<std::string, std::size_t> index_; ///< of test_.locations
  unsigned depth_ = 0;
};

} // namespace

litmus_test parse(std::string_view text) { return test_parser(text).parse(); }

} // namespace racewalk::litmus
