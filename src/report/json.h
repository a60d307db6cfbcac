// Results as JSON, one object a line: what scripts read.
#pragma once

#include <string>

#include "report/result.h"

namespace racewalk::report {

/// One line, with its newline. `trace` is null unless there is a counterexample.
std::string json_line(const result& r);

/// The counterexample alone, which must be there, with the property that it breaks. ASCII only.
std::string trace_json(const result& r);

} // namespace racewalk::report
