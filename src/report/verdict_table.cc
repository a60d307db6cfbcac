#include "report/verdict_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "report/verdict_grid.h"

namespace racewalk::report {
namespace {

constexpr std::string_view gap = "  ";
constexpr std::string_view not_run = "-";

paint paint_of(const result& r) {
  if (r.surprises()) return paint::red;
  if (r.verdict == verdict::inconclusive) return paint::yellow;
  return r.verdict == verdict::safe && r.expected != expectation::unknown ? paint::green : paint::plain;
}

std::string words_of(const result* r) { return r ? cell_words(*r) : std::string(not_run); }

std::string label_of(const verdict_grid::row& r) {
  return fmt::format("{:<3} {}", r.first->variant_id, r.first->variant);
}

std::vector<std::size_t> widths_of(const verdict_grid& grid) {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < grid.columns.size(); i++) {
    std::size_t width = std::max(grid.columns[i].arch.size(), grid.columns[i].model.size() + 2);
    for (const verdict_grid::row& r : grid.rows)
      width = std::max(width, words_of(r.cells[i]).size());
    widths.push_back(width);
  }
  return widths;
}

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

std::string title_of(const result& r, const std::map<std::string, std::string>& titles) {
  const auto title = titles.find(r.scenario);
  return fmt::format("{}{}{}{}", r.id.empty() ? "" : fmt::format("{:<5} ", r.id), r.scenario,
                     title == titles.end() ? "" : ": ", title == titles.end() ? "" : title->second);
}

/// The bounds that were hit, under the table: a cell has no room for them.
std::string reasons(const std::vector<result>& results) {
  std::string out;
  for (const result& r : results)
    if (r.verdict == verdict::inconclusive)
      out += fmt::format("inconclusive: {}:{} on {}: {}\n", r.scenario, r.variant, r.arch, r.reason);
  return out.empty() ? out : '\n' + out;
}

std::string head_of(const verdict_grid& grid, const std::vector<std::size_t>& widths, std::size_t label_width,
                    colour c) {
  std::string archs(label_width, ' ');
  std::string models(label_width, ' ');
  for (std::size_t i = 0; i < grid.columns.size(); i++) {
    archs += std::string(gap) + padded(grid.columns[i].arch, widths[i]);
    models += std::string(gap) + padded("(" + grid.columns[i].model + ")", widths[i]);
  }
  archs += fmt::format("{}{:>12}{}{:>8}", gap, "executions", gap, "time");
  return painted(archs, paint::bold, c) + '\n' + trimmed(models);
}

std::string line_of(const verdict_grid::row& r, const std::vector<std::size_t>& widths,
                    std::size_t label_width, colour c) {
  std::string line = "  " + padded(label_of(r), label_width - 2);
  for (std::size_t i = 0; i < r.cells.size(); i++) {
    const std::string words = words_of(r.cells[i]);
    line += std::string(gap) + painted(words, r.cells[i] ? paint_of(*r.cells[i]) : paint::dim, c);
    line += std::string(widths[i] - words.size(), ' ');
  }
  return line + fmt::format("{}{:>12}{}{:>8}\n", gap, grouped(r.executions), gap, duration(r.seconds));
}

} // namespace

std::string verdict_table(const std::vector<result>& results,
                          const std::map<std::string, std::string>& titles, colour c) {
  const std::vector<verdict_grid> grids = grids_of(results);
  std::size_t label_width = 0;
  for (const verdict_grid& grid : grids)
    for (const verdict_grid::row& r : grid.rows)
      label_width = std::max(label_width, label_of(r).size() + 2);

  std::string out;
  for (const verdict_grid& grid : grids) {
    const std::vector<std::size_t> widths = widths_of(grid);
    out += (out.empty() ? "" : "\n") + head_of(grid, widths, label_width, c);
    for (const verdict_grid::row& r : grid.rows) {
      if (r.begins_scenario) out += '\n' + painted(title_of(*r.first, titles), paint::bold, c) + '\n';
      out += line_of(r, widths, label_width, c);
    }
  }
  out += "\nsafe: every execution within the scenario's bounds was visited"
         "   VIOLATION: one was found that loses"
         "\n!: differs from the expected verdict   ?: no expected verdict, the source leaves it open"
         "   -: does not run there\n";
  return out + reasons(results);
}

std::string verdict_summary(const std::vector<result>& results, double seconds) {
  std::uint64_t executions = 0;
  std::size_t safe = 0;
  std::size_t violations = 0;
  std::size_t inconclusive = 0;
  std::size_t unexpected = 0;
  bool expected = false; // anything, by anybody
  for (const result& r : results) {
    executions += r.executions;
    safe += r.verdict == verdict::safe;
    violations += r.verdict == verdict::violation;
    inconclusive += r.verdict == verdict::inconclusive;
    unexpected += r.surprises();
    expected |= r.expected != expectation::none;
  }
  std::string out = fmt::format("{}: {} safe, {}, {} inconclusive; ", counted(results.size(), "verdict"),
                                safe, counted(violations, "violation"), inconclusive);
  if (unexpected)
    out += fmt::format("{} not as expected; ", unexpected);
  else if (expected)
    out += "none differs from the expected one; ";
  return out + fmt::format("{} in {}\n", counted(executions, "execution"), duration(seconds));
}

} // namespace racewalk::report
