#include "report/verdict_table.h"

#include <algorithm>

#include <fmt/format.h>

namespace racewalk::report {
namespace {

constexpr std::string_view gap = "  ";
constexpr std::string_view not_run = "-";

struct cell {
  std::string text = std::string(not_run);
  paint look = paint::dim;
};

struct row {
  std::string scenario;
  std::string label;
  std::vector<cell> cells; // one an architecture
  std::uint64_t executions = 0;
  double seconds = 0;
};

struct column {
  std::string arch;
  std::string model;
};

cell cell_of(const result& r) {
  cell c;
  switch (r.verdict) {
  case verdict::safe:
    c = {"safe", paint::green};
    break;
  case verdict::violation:
    c = {"VIOLATION", paint::plain};
    break;
  case verdict::inconclusive:
    return {"inconclusive", paint::yellow};
  }
  if (!r.as_expected())
    c = {c.text + " !", paint::red};
  else if (r.expected == expectation::unknown)
    c.text += " ?";
  return c;
}

std::vector<column> columns_of(const std::vector<result>& results) {
  std::vector<column> columns;
  for (const result& r : results)
    if (std::none_of(columns.begin(), columns.end(), [&](const column& c) { return c.arch == r.arch; }))
      columns.push_back({r.arch, r.model});
  return columns;
}

std::vector<row> rows_of(const std::vector<result>& results, const std::vector<column>& columns) {
  std::vector<row> rows;
  const result* previous = nullptr;
  for (const result& r : results) {
    if (!previous || previous->scenario != r.scenario || previous->variant != r.variant)
      rows.push_back({r.scenario, fmt::format("{:<3} {}", r.variant_id, r.variant),
                      std::vector<cell>(columns.size()), 0, 0});
    previous = &r;
    const auto at =
        std::find_if(columns.begin(), columns.end(), [&](const column& c) { return c.arch == r.arch; });
    rows.back().cells[static_cast<std::size_t>(at - columns.begin())] = cell_of(r);
    rows.back().executions += r.executions;
    rows.back().seconds += r.seconds;
  }
  return rows;
}

std::vector<std::size_t> widths_of(const std::vector<column>& columns, const std::vector<row>& rows) {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns.size(); i++) {
    std::size_t width = std::max(columns[i].arch.size(), columns[i].model.size() + 2);
    for (const row& r : rows)
      width = std::max(width, r.cells[i].text.size());
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
  return fmt::format("{:<5} {}{}{}", r.id, r.scenario, title == titles.end() ? "" : ": ",
                     title == titles.end() ? "" : title->second);
}

/// The bounds that were hit, under the table: a cell has no room for them.
std::string reasons(const std::vector<result>& results) {
  std::string out;
  for (const result& r : results)
    if (r.verdict == verdict::inconclusive)
      out += fmt::format("inconclusive: {}:{} on {}: {}\n", r.scenario, r.variant, r.arch, r.reason);
  return out.empty() ? out : '\n' + out;
}

} // namespace

std::string verdict_table(const std::vector<result>& results,
                          const std::map<std::string, std::string>& titles, colour c) {
  const std::vector<column> columns = columns_of(results);
  const std::vector<row> rows = rows_of(results, columns);
  const std::vector<std::size_t> widths = widths_of(columns, rows);

  std::size_t label_width = 0;
  for (const row& r : rows)
    label_width = std::max(label_width, r.label.size() + 2);

  std::string archs(label_width, ' ');
  std::string models(label_width, ' ');
  for (std::size_t i = 0; i < columns.size(); i++) {
    archs += std::string(gap) + padded(columns[i].arch, widths[i]);
    models += std::string(gap) + padded("(" + columns[i].model + ")", widths[i]);
  }
  archs += fmt::format("{}{:>12}{}{:>8}", gap, "executions", gap, "time");

  std::string out = painted(archs, paint::bold, c) + '\n' + trimmed(models);
  std::string scenario;
  std::size_t first_of_row = 0;
  for (const row& r : rows) {
    if (r.scenario != scenario)
      out += '\n' + painted(title_of(results[first_of_row], titles), paint::bold, c) + '\n';
    scenario = r.scenario;
    std::string line = "  " + padded(r.label, label_width - 2);
    for (std::size_t i = 0; i < columns.size(); i++) {
      line += std::string(gap) + painted(r.cells[i].text, r.cells[i].look, c);
      line += std::string(widths[i] - r.cells[i].text.size(), ' ');
      if (r.cells[i].text != not_run) first_of_row++;
    }
    out += line + fmt::format("{}{:>12}{}{:>8}\n", gap, grouped(r.executions), gap, duration(r.seconds));
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
  for (const result& r : results) {
    executions += r.executions;
    safe += r.verdict == verdict::safe;
    violations += r.verdict == verdict::violation;
    inconclusive += r.verdict == verdict::inconclusive;
    unexpected += !r.as_expected();
  }
  std::string out = fmt::format("{} verdicts: {} safe, {} violation{}, {} inconclusive; ", results.size(),
                                safe, violations, violations == 1 ? "" : "s", inconclusive);
  out += unexpected ? fmt::format("{} not as expected", unexpected) : "none differs from the expected one";
  return out + fmt::format("; {} executions in {}\n", grouped(executions), duration(seconds));
}

} // namespace racewalk::report
