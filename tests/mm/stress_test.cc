#include "stress.h"

#include <gtest/gtest.h>

namespace racewalk::stress {
namespace {

report run_for_a_second(options how) {
  how.seconds = 1;
  const std::atomic<bool> stop{false};
  return run(how, stop);
}

TEST(Stress, FindsNothingWrong) {
  const report r = run_for_a_second({.seed = 42});
  EXPECT_TRUE(r.ok()) << r.failure;
  EXPECT_GT(r.pins, 0u);
  EXPECT_GT(r.unmaps, 0u);
}

TEST(Stress, FindsNothingWrongWhenMemoryIsShort) {
  const report r = run_for_a_second({.seed = 43, .memory = 8 << 20});
  EXPECT_TRUE(r.ok()) << r.failure;
  EXPECT_GT(r.out_of_memory, 0u);
}

TEST(Stress, FindsNothingWrongWithMoreThreadsThanCpus) {
  const report r = run_for_a_second({.seed = 44, .threads = 12, .cpus = 5, .failing_allocations = 0});
  EXPECT_TRUE(r.ok()) << r.failure;
}

TEST(Stress, StopsWhenItIsTold) {
  const std::atomic<bool> stop{true};
  EXPECT_TRUE(run({.seconds = 1000}, stop).ok());
}

} // namespace
} // namespace racewalk::stress
