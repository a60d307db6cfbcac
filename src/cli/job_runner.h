// Runs jobs on several threads and hands their results on in the order of the jobs, whatever order they end
// in.
//
// A run that is stopped (Ctrl-C, the timeout) or that fails (out of memory) is inconclusive and says why; so
// is every run that was never begun. Results that were reached before stay as they are.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "cli/selection.h"

namespace racewalk::cli {

struct run_limits {
  unsigned threads = 1;
  std::optional<double> timeout; ///< seconds
};

/// Called from the caller's thread, once a job.
using result_fn = std::function<void(const report::result&)>;

std::vector<report::result> run_jobs(const std::vector<job>& jobs, const run_limits& limits,
                                     const result_fn& on_result);

} // namespace racewalk::cli
