#include "report/verdict_grid.h"

#include <algorithm>

namespace racewalk::report {

verdict_grid grid_of(const std::vector<result>& results) {
  verdict_grid grid;
  const auto column_of = [&](const result& r) {
    const auto same = [&](const verdict_grid::column& c) { return c.arch == r.arch; };
    return static_cast<std::size_t>(std::find_if(grid.columns.begin(), grid.columns.end(), same) -
                                    grid.columns.begin());
  };
  for (const result& r : results)
    if (column_of(r) == grid.columns.size()) grid.columns.push_back({r.arch, r.model});

  const result* previous = nullptr;
  for (const result& r : results) {
    const bool new_scenario = !previous || previous->scenario != r.scenario;
    if (new_scenario || previous->variant != r.variant)
      grid.rows.push_back({&r, std::vector<const result*>(grid.columns.size(), nullptr), 0, 0, new_scenario});
    previous = &r;
    verdict_grid::row& row = grid.rows.back();
    row.cells[column_of(r)] = &r;
    row.executions += r.executions;
    row.seconds += r.seconds;
  }
  return grid;
}

std::string cell_words(const result& r) {
  if (r.verdict == verdict::inconclusive) return "inconclusive";
  const std::string word = r.verdict == verdict::safe ? "safe" : "VIOLATION";
  if (r.surprises()) return word + " !";
  return r.expected == expectation::unknown ? word + " ?" : word;
}

} // namespace racewalk::report
