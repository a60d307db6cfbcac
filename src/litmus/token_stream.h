// A cursor over the tokens of a litmus test, shared by the readers of its parts.
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "litmus/error.h"
#include "litmus/lexer.h"
#include "litmus/syntax.h"

namespace racewalk::litmus {

class token_stream {
 public:
  explicit token_stream(std::vector<token> tokens) : tokens_(std::move(tokens)) {}

  [[nodiscard]] const token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  [[nodiscard]] unsigned line() const { return peek().line; }
  [[nodiscard]] bool at_end() const { return peek().kind == token_kind::end; }
  [[nodiscard]] bool at(std::string_view text, std::size_t ahead = 0) const {
    return peek(ahead).kind != token_kind::string && peek(ahead).text == text && !(at_end() && ahead == 0);
  }
  [[nodiscard]] bool at_name(std::size_t ahead = 0) const { return peek(ahead).kind == token_kind::name; }
  [[nodiscard]] bool at_number(std::size_t ahead = 0) const { return peek(ahead).kind == token_kind::number; }

  token next() {
    const token t = peek();
    if (at_ + 1 < tokens_.size()) at_++;
    return t;
  }

  bool accept(std::string_view text) {
    if (!at(text)) return false;
    next();
    return true;
  }

  void expect(std::string_view text) {
    if (!accept(text)) throw wrong("'" + std::string(text) + "'");
  }

  std::string expect_name(const char* what) {
    if (!at_name()) throw wrong(what);
    return std::string(next().text);
  }

  /// An integer as C writes it, with or without a sign and suffixes.
  value_t expect_number() {
    const bool negative = accept("-");
    if (!at_number()) throw wrong("a number");
    const token t = next();
    std::string_view digits = t.text;
    while (!digits.empty() && std::string_view("uUlL").find(digits.back()) != std::string_view::npos)
      digits.remove_suffix(1);
    const bool hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
    if (hexadecimal) digits.remove_prefix(2);
    value_t value = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value, hexadecimal ? 16 : 10);
    if (error != std::errc() || end != digits.end() || value >= address_base)
      throw bad_test(t.line, "'" + std::string(t.text) + "' is not a number that a litmus test can use");
    return negative ? -value : value;
  }

  [[nodiscard]] bad_test wrong(const std::string& expected) const {
    const std::string found =
        at_end() ? "the end of the file" : "'" + std::string(peek().text.substr(0, 40)) + "'";
    return {line(), "expected " + expected + ", found " + found};
  }

 private:
  std::vector<token> tokens_; ///< the last is `end`
  std::size_t at_ = 0;
};

/// Code and conditions nest by recursion; this keeps a hostile file from exhausting the stack.
class nesting {
 public:
  static constexpr unsigned limit = 200;

  nesting(unsigned& depth, unsigned line) : depth_(depth) {
    if (++depth_ > limit) throw unsupported(line, "nesting deeper than " + std::to_string(limit) + " levels");
  }
  ~nesting() { depth_--; }
  nesting(const nesting&) = delete;
  nesting& operator=(const nesting&) = delete;

 private:
  unsigned& depth_;
};

} // namespace racewalk::litmus
