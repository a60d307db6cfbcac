// Runs jobs on several threads and hands their results on in the order of the jobs, whatever order they end
// in.
//
// A run that is stopped (Ctrl-C, the timeout) or that fails (out of memory) is inconclusive and says why; so
// is every run that was never begun. Results that were reached before stay as they are.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/selection.h"

namespace racewalk::cli {

struct run_limits {
  unsigned threads = 1;
  std::optional<double> timeout; ///< seconds
};

/// Called from the caller's thread, once a job.
using result_fn = std::function<void(const report::result&)>;

/// Decides one run as `request` says; what goes wrong makes it inconclusive.
report::result decide_job(const job& j, const check_request& request, const progress_fn& report_progress,
                          const std::atomic<bool>& stop);
/// Says why a run was stopped that ended `inconclusive` with nothing more precise.
void name_stop(report::result& r, const std::string& stop_reason);

std::vector<report::result> run_jobs(const std::vector<job>& jobs, const run_limits& limits,
                                     const result_fn& on_result);

} // namespace racewalk::cli
