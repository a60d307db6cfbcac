// Results as KTAP version 1, the kernel's test format: a subtest for each scenario.
//
// A run is `ok` if its verdict is the expected one, and skipped if it is inconclusive: nothing was decided.
#pragma once

#include <string>
#include <vector>

#include "report/result.h"

namespace racewalk::report {

/// Results in the order of the verdict table. An expected violation is named in one diagnostic line; one that
/// is not expected, or all if `tables`, come with their race table.
std::string ktap(const std::vector<result>& results, bool tables);

} // namespace racewalk::report
