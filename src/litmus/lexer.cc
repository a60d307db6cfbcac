#include "litmus/lexer.h"

#include <array>
#include <cctype>
#include <string>

#include "litmus/error.h"

namespace racewalk::litmus {
namespace {

/// Longest first: the first that fits is taken.
constexpr std::array<std::string_view, 15> long_symbols = {"/\\", "\\/", "==", "!=", "<=", ">=", "&&", "||",
                                                           "<<",  ">>",  "->", "=>", "++", "--", "..."};

bool begins_name(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }
bool continues_name(char c) { return begins_name(c) || is_digit(c); }

class lexer {
 public:
  lexer(std::string_view text, unsigned line) : text_(text), line_(line) {}

  std::vector<token> run() {
    std::vector<token> tokens;
    bool follows_parameters = false;
    do {
      skip_blanks_and_comments();
      const token t = next();
      note_braces(t, follows_parameters);
      follows_parameters = t.text == ")";
      tokens.push_back(t);
    } while (tokens.back().kind != token_kind::end);
    return tokens;
  }

 private:
  [[nodiscard]] bool at(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  [[nodiscard]] bool done() const { return at_ >= text_.size(); }

  /// The code of a process is what stands in braces after its parameters.
  void note_braces(const token& t, bool follows_parameters) {
    if (t.text == "{" && (code_depth_ > 0 || follows_parameters)) code_depth_++;
    if (t.text == "}" && code_depth_ > 0) code_depth_--;
  }

  void advance() {
    if (text_[at_] == '\n') line_++;
    at_++;
  }

  void skip_blanks_and_comments() {
    while (!done()) {
      if (std::isspace(static_cast<unsigned char>(text_[at_])))
        advance();
      else if (code_depth_ == 0 && at("(*"))
        skip_nested_comment();
      else if (at("/*"))
        skip_c_comment();
      else if (at("//"))
        while (!done() && text_[at_] != '\n')
          advance();
      else
        return;
    }
  }

  void skip_nested_comment() {
    const unsigned begin = line_;
    for (unsigned depth = 0;;) {
      if (done()) throw bad_test(begin, "comment is not closed");
      if (at("(*")) {
        depth++;
        at_ += 2;
      } else if (at("*)")) {
        at_ += 2;
        if (--depth == 0) return;
      } else {
        advance();
      }
    }
  }

  void skip_c_comment() {
    const unsigned begin = line_;
    at_ += 2;
    while (!at("*/")) {
      if (done()) throw bad_test(begin, "comment is not closed");
      advance();
    }
    at_ += 2;
  }

  template <class Predicate> token take(token_kind kind, Predicate continues) {
    const std::size_t begin = at_;
    while (!done() && continues(text_[at_]))
      at_++;
    return {kind, text_.substr(begin, at_ - begin), line_};
  }

  token string() {
    const std::size_t begin = at_;
    const unsigned line = line_;
    do {
      advance();
      if (done()) throw bad_test(line, "string is not closed");
    } while (text_[at_] != '"');
    at_++;
    return {token_kind::string, text_.substr(begin, at_ - begin), line};
  }

  token symbol() {
    for (const std::string_view s : long_symbols) {
      if (at(s)) {
        at_ += s.size();
        return {token_kind::symbol, s, line_};
      }
    }
    const char c = text_[at_];
    if (!std::isprint(static_cast<unsigned char>(c)))
      throw bad_test(line_, "byte " + std::to_string(static_cast<unsigned char>(c)) + " is not text");
    return {token_kind::symbol, text_.substr(at_++, 1), line_};
  }

  token next() {
    if (done()) return {token_kind::end, "end of file", line_};
    const char c = text_[at_];
    if (begins_name(c)) return take(token_kind::name, continues_name);
    if (is_digit(c)) return take(token_kind::number, continues_name); // with 0x and suffixes
    return c == '"' ? string() : symbol();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned line_;
  unsigned code_depth_ = 0; ///< braces open around code
};

} // namespace

std::vector<token> tokenize(std::string_view text, unsigned first_line) {
  return lexer(text, first_line).run();
}

} // namespace racewalk::litmus
