// The verdict table: arguments as rows, architectures as columns.
//
// A cell says what was found: `safe`, `VIOLATION` or `inconclusive`, with `!` where that differs from what
// the argument's source expects and `?` where the source leaves it open.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "report/result.h"
#include "report/text.h"

namespace racewalk::report {

/// Results in the order of the table: all architectures of one variant next to each other. `titles` gives
/// the line that a scenario's rows stand under; one that is missing there stands under its name.
std::string verdict_table(const std::vector<result>& results,
                          const std::map<std::string, std::string>& titles, colour c);

/// One line that adds the results up.
std::string verdict_summary(const std::vector<result>& results, double seconds);

} // namespace racewalk::report
