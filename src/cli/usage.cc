#include "cli/usage.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace racewalk::cli {
namespace {

constexpr std::size_t choices_on_a_line = 8;

/// Levenshtein's distance, by one row of the table.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); i++) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); j++) {
      const std::size_t replace = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replace, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

} // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& choices) {
  const auto closer = [&](const std::string& a, const std::string& b) {
    return edit_distance(word, a) < edit_distance(word, b);
  };
  const auto best = std::min_element(choices.begin(), choices.end(), closer);
  return best == choices.end() ? "" : *best;
}

usage_error unknown(std::string_view kind, std::string_view word, const std::vector<std::string>& choices) {
  std::string line = fmt::format("unknown {} '{}'", kind, word);
  if (!choices.empty()) line += fmt::format("; nearest: '{}'", nearest(word, choices));
  if (choices.size() > 1 && choices.size() <= choices_on_a_line)
    line += fmt::format(" (choices: {})", fmt::join(choices, ", "));
  return usage_error(line);
}

void require_choice(std::string_view kind, std::string_view word, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), word) == choices.end()) throw unknown(kind, word, choices);
}

} // namespace racewalk::cli
