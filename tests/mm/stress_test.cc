#include "stress.h"

#include <gtest/gtest.h>

namespace racewalk::stress {
namespace {

/// For a second, or as many as this machine needs for enough to happen.
report run_until(options how, bool (*enough)(const report&)) {
  how.seconds = 1;
  const std::atomic<bool> stop{false};
  for (;; how.seed++)
    if (const report r = run(how, stop); !r.ok() || enough(r)) return r;
}

TEST(Stress, FindsNothingWrong) {
  const report r =
      run_until({.seed = 42}, [](const report& so_far) { return so_far.pins > 0 && so_far.unmaps > 0; });
  EXPECT_TRUE(r.ok()) << r.failure;
}

TEST(Stress, FindsNothingWrongWhenMemoryIsShort) {
  const report r = run_until({.seed = 43, .memory = 8 << 20},
                             [](const report& so_far) { return so_far.out_of_memory > 0; });
  EXPECT_TRUE(r.ok()) << r.failure;
}

TEST(Stress, FindsNothingWrongWithMoreThreadsThanCpus) {
  const report r = run_until({.seed = 44, .threads = 12, .cpus = 5, .failing_allocations = 0},
                             [](const report& so_far) { return so_far.pins > 0; });
  EXPECT_TRUE(r.ok()) << r.failure;
}

TEST(Stress, StopsWhenItIsTold) {
  const std::atomic<bool> stop{true};
  EXPECT_TRUE(run({.seconds = 1000}, stop).ok());
}

} // namespace
} // namespace racewalk::stress
