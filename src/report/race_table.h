// The race table: one column a CPU, one row a step, time downwards, as kernel developers write it in mail.
#pragma once

#include <string>

#include "report/result.h"
#include "report/text.h"

namespace racewalk::report {

struct table_style {
  std::size_t width = 110; ///< no line is longer, unless a column would get too narrow to read
  report::colour colour = colour::off;
};

/// The table of `r.trace` (which must be there) under a line that names the run, and above the sentence that
/// says what was lost.
std::string race_table(const result& r, const table_style& style);

} // namespace racewalk::report
