// Verdicts as grids: a row for each variant, a column for each architecture. What the text table and the
// index page have in common. Scenarios that are about other architectures than most are a grid of their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/result.h"

namespace racewalk::report {

struct verdict_grid {
  struct column {
    std::string arch;
    std::string model;
  };
  struct row {
    const result* first = nullptr;    ///< some result of the row: for its names
    std::vector<const result*> cells; ///< one a column; null: does not run there
    std::uint64_t executions = 0;
    double seconds = 0;
    bool begins_scenario = false;
  };
  std::vector<column> columns;
  std::vector<row> rows;
};

/// `results` has all architectures of one variant next to each other, and outlives the grids. A scenario is
/// in the first grid that has a column for each architecture on which it was decided.
std::vector<verdict_grid> grids_of(const std::vector<result>& results);

/// What a cell says: `safe`, `VIOLATION !`, `inconclusive`.
std::string cell_words(const result& r);

} // namespace racewalk::report
