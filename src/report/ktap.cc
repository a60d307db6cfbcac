#include "report/ktap.h"

#include <sstream>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/race_table.h"

namespace racewalk::report {
namespace {

constexpr std::string_view indent = "  ";

/// A test's description: a # would begin a directive.
std::string description(std::string_view text) {
  std::string line = one_line(text);
  for (std::size_t at = 0; (at = line.find('#', at)) != line.npos; at += 2)
    line.replace(at, 1, "\\#");
  return line;
}

std::string diagnostics_of(const result& r, bool tables) {
  if (!r.trace) {
    if (r.as_expected() || r.verdict == verdict::inconclusive) return "";
    return fmt::format("{}# {} expected, found {}\n", indent, to_string(r.expected), to_string(r.verdict));
  }
  const std::string lost = fmt::format("{}: {}", r.property, r.trace->lost);
  if (r.as_expected() && !tables) return fmt::format("{}# {}\n", indent, one_line(lost));
  std::string out;
  std::istringstream table(race_table(r, {}));
  for (std::string line; std::getline(table, line);)
    out += fmt::format("{}#{}{}\n", indent, line.empty() ? "" : " ", one_line(line));
  return out;
}

std::string result_line(const result& r, std::size_t number) {
  const std::string name = description(fmt::format("{} on {}", r.variant, r.arch));
  if (r.verdict == verdict::inconclusive)
    return fmt::format("{}ok {} {} # SKIP inconclusive: {}\n", indent, number, name, one_line(r.reason));
  return fmt::format("{}{} {} {}\n", indent, r.as_expected() ? "ok" : "not ok", number, name);
}

} // namespace

std::string ktap(const std::vector<result>& results, bool tables) {
  std::string scenarios;
  std::size_t count = 0;
  for (auto begin = results.begin(); begin != results.end();) {
    auto end = begin;
    bool as_expected = true;
    bool decided = false;
    std::string runs;
    for (; end != results.end() && end->scenario == begin->scenario; ++end) {
      as_expected &= end->as_expected();
      decided |= end->verdict != verdict::inconclusive;
      runs += diagnostics_of(*end, tables) + result_line(*end, static_cast<std::size_t>(end - begin) + 1);
    }
    const std::string name = description(begin->scenario);
    scenarios += fmt::format("{0}KTAP version 1\n{0}# Subtest: {1}\n{0}1..{2}\n{3}{4} {5} {1}{6}\n", indent,
                             name, end - begin, runs, as_expected ? "ok" : "not ok", ++count,
                             decided ? "" : " # SKIP nothing was decided");
    begin = end;
  }
  return fmt::format("KTAP version 1\n1..{}\n{}", count, scenarios);
}

} // namespace racewalk::report
