// Splits the text of a litmus test into tokens. Two languages meet there: outside the code of the processes
// (* a comment (* nests *) *), inside it (*x) is a parenthesis and a star. /* */ and // are comments in both.
//
// A token views the text it was made from: the text outlives the tokens.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace racewalk::litmus {

enum class token_kind : std::uint8_t { name, number, string, symbol, end };

struct token {
  token_kind kind = token_kind::end;
  std::string_view text;
  unsigned line = 1;
};

/// All tokens of `text`, the last of which is `end`. Lines are counted from `first_line`. Throws bad_test.
std::vector<token> tokenize(std::string_view text, unsigned first_line);

} // namespace racewalk::litmus
