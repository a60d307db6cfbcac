#include "report/verdict_grid.h"

#include <algorithm>
#include <map>

namespace racewalk::report {

namespace {

using columns = std::vector<verdict_grid::column>;

std::size_t column_of(const columns& of, const result& r) {
  const auto same = [&](const verdict_grid::column& c) { return c.arch == r.arch; };
  return static_cast<std::size_t>(std::find_if(of.begin(), of.end(), same) - of.begin());
}

/// The columns that each scenario needs.
std::map<std::string, columns> columns_of_scenarios(const std::vector<result>& results) {
  std::map<std::string, columns> all;
  for (const result& r : results)
    if (columns& of = all[r.scenario]; column_of(of, r) == of.size()) of.push_back({r.arch, r.model});
  return all;
}

/// The first grid that has all of these columns; made if there is none.
std::size_t grid_with(std::vector<verdict_grid>& grids, const columns& needed) {
  const auto has_all = [&](const verdict_grid& g) {
    return std::all_of(needed.begin(), needed.end(), [&](const verdict_grid::column& c) {
      return std::any_of(g.columns.begin(), g.columns.end(),
                         [&](const auto& own) { return own.arch == c.arch; });
    });
  };
  const auto found = std::find_if(grids.begin(), grids.end(), has_all);
  if (found == grids.end()) return grids.push_back({needed, {}}), grids.size() - 1;
  return static_cast<std::size_t>(found - grids.begin());
}

} // namespace

std::vector<verdict_grid> grids_of(const std::vector<result>& results) {
  const std::map<std::string, columns> needed = columns_of_scenarios(results);
  std::vector<verdict_grid> grids;
  const result* previous = nullptr;
  for (const result& r : results) {
    verdict_grid& grid = grids[grid_with(grids, needed.at(r.scenario))];
    const bool new_scenario = !previous || previous->scenario != r.scenario;
    if (new_scenario || previous->variant != r.variant)
      grid.rows.push_back({&r, std::vector<const result*>(grid.columns.size(), nullptr), 0, 0, new_scenario});
    previous = &r;
    verdict_grid::row& row = grid.rows.back();
    row.cells[column_of(grid.columns, r)] = &r;
    row.executions += r.executions;
    row.seconds += r.seconds;
  }
  return grids;
}

std::string cell_words(const result& r) {
  if (r.verdict == verdict::inconclusive) return "inconclusive";
  const std::string word = r.verdict == verdict::safe ? "safe" : "VIOLATION";
  if (r.surprises()) return word + " !";
  return r.expected == expectation::unknown ? word + " ?" : word;
}

} // namespace racewalk::report
