// Reads the code of a process: the fragment of C that litmus tests are written in.
#pragma once

#include "litmus/token_stream.h"

namespace racewalk::litmus {

class code_parser {
 public:
  explicit code_parser(token_stream& tokens) : tokens_(tokens) {}

  /// `{ ... }`.
  statement block();

 private:
  statement parse_statement();
  statement branch();
  statement declaration();
  statement assignment_or_call();
  [[nodiscard]] bool at_declaration() const;

  expression parse_expression() { return binary(0); }
  expression binary(unsigned min_precedence);
  expression unary();
  expression primary();
  expression call(const token& name);
  [[nodiscard]] bool at_cast() const;
  void skip_cast();

  token_stream& tokens_;
  unsigned depth_ = 0;
};

} // namespace racewalk::litmus
