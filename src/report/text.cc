#include "report/text.h"

#include <algorithm>

#include <fmt/format.h>

namespace racewalk::report {

std::string painted(std::string_view text, paint p, colour c) {
  if (c == colour::off || p == paint::plain || text.empty()) return std::string(text);
  const char* code = "0";
  switch (p) {
  case paint::plain:
    break;
  case paint::bold:
    code = "1";
    break;
  case paint::dim:
    code = "2";
    break;
  case paint::red:
    code = "1;31";
    break;
  case paint::green:
    code = "32";
    break;
  case paint::yellow:
    code = "33";
    break;
  }
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

std::string padded(std::string_view text, std::size_t width) { return fmt::format("{:<{}}", text, width); }
std::string padded_left(std::string_view text, std::size_t width) {
  return fmt::format("{:>{}}", text, width);
}

std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  width = std::max<std::size_t>(width, 1);
  std::vector<std::string> lines;
  while (!text.empty()) {
    if (text.size() <= width) {
      lines.emplace_back(text);
      break;
    }
    std::size_t end = text.rfind(' ', width);
    if (end == std::string_view::npos || end == 0) end = width; // one long word
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  return lines;
}

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3; at -= 3)
    digits.insert(at - 3, ",");
  return digits;
}

std::string counted(std::uint64_t n, std::string_view thing) {
  return fmt::format("{} {}{}", grouped(n), thing, n == 1 ? "" : "s");
}

std::string duration(double seconds) {
  if (seconds < 0.0995) return fmt::format("{:.3f} s", seconds);
  if (seconds < 9.95) return fmt::format("{:.2f} s", seconds);
  return fmt::format("{:.1f} s", seconds);
}

} // namespace racewalk::report
