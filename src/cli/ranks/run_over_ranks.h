// `mpirun -n N racewalk check`: the ranks share the runs, and the subtrees of long ones.
//
// Results are the same as without, and rank 0 alone prints. A rank that ends early makes what it had
// inconclusive. (mpirun then ends the others, too, unless it is told --enable-recovery; what was known by
// then is printed either way: outlet.h.)
#pragma once

#include <memory>
#include <vector>

#include "cli/job_runner.h"
#include "cli/ranks/nursery.h"
#include "cli/ranks/transport.h"

namespace racewalk::cli {

/// The ranks of this run, from the moment when the command line is known.
class rank_run {
 public:
  /// `jobs` are the same in all ranks. Throws usage_error if there is no MPI.
  explicit rank_run(const std::vector<job>& jobs);
  ~rank_run();
  rank_run(const rank_run&) = delete;
  rank_run& operator=(const rank_run&) = delete;

  /// Does this rank print?
  [[nodiscard]] bool is_first() const { return ranks_->rank() == 0; }
  /// In rank 0: as run_jobs(), limits.threads of each rank. In the others: works for rank 0, and returns
  /// nothing.
  std::vector<report::result> run(const run_limits& limits, const result_fn& on_result);

 private:
  const std::vector<job>& jobs_;
  nursery children_;
  std::unique_ptr<transport> ranks_;
  bool finished_ = false;
  bool all_alive_ = true;
};

} // namespace racewalk::cli
