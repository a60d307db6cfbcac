// Results as JUnit XML, as CI systems read it: a test suite for each scenario, a test case for each run.
//
// A verdict that is not the expected one is a failure; an inconclusive one is skipped: nothing was decided.
#pragma once

#include <string>
#include <vector>

#include "report/result.h"

namespace racewalk::report {

/// Results in the order of the verdict table. Every violation has its race table with it.
std::string junit(const std::vector<result>& results);

} // namespace racewalk::report
