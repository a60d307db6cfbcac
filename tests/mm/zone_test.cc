#include "mm/zone.h"

#include <random>
#include <set>

#include <gtest/gtest.h>

namespace racewalk {
namespace {

TEST(Zone, HandsOutEveryFrameOnce) {
  zone z(1, 5000);
  std::set<pfn_t> seen;
  for (pfn_t pfn = z.rmqueue(0); pfn != zone::NO_FRAME; pfn = z.rmqueue(0)) {
    EXPECT_TRUE(pfn >= 1 && pfn < 5001);
    EXPECT_TRUE(seen.insert(pfn).second);
  }
  EXPECT_EQ(seen.size(), 5000u);
  EXPECT_EQ(z.nr_free(), 0u);
}

TEST(Zone, AlignsBlocksToTheirSize) {
  zone z(1, 1 << 14);
  for (unsigned order = 0; order <= zone::MAX_ORDER; ++order) {
    const pfn_t pfn = z.rmqueue(order);
    ASSERT_NE(pfn, zone::NO_FRAME);
    EXPECT_EQ(pfn % (u64{1} << order), 0u);
  }
}

TEST(Zone, MergesWhatComesBack) {
  zone z(0, 1 << zone::MAX_ORDER);
  std::vector<pfn_t> frames;
  for (pfn_t pfn = z.rmqueue(0); pfn != zone::NO_FRAME; pfn = z.rmqueue(0)) frames.push_back(pfn);
  EXPECT_EQ(z.rmqueue(1), zone::NO_FRAME);
  std::shuffle(frames.begin(), frames.end(), std::mt19937(3));
  for (pfn_t pfn : frames) z.free_block(pfn, 0);
  EXPECT_EQ(z.rmqueue(zone::MAX_ORDER), 0u) << "the lists of threads are drained when the rest does not suffice";
}

TEST(Zone, KeepsCountUnderRandomUse) {
  zone z(1, 20000);
  std::vector<std::pair<pfn_t, unsigned>> held;
  std::mt19937 random(11);
  u64 in_use = 0;
  for (int step = 0; step < 100000; ++step) {
    if (held.empty() || random() % 2 == 0) {
      const unsigned order = random() % 4 == 0 ? random() % 10 : 0;
      const pfn_t pfn = z.rmqueue(order);
      if (pfn == zone::NO_FRAME) continue;
      held.emplace_back(pfn, order);
      in_use += u64{1} << order;
    } else {
      std::swap(held[random() % held.size()], held.back());
      z.free_block(held.back().first, held.back().second);
      in_use -= u64{1} << held.back().second;
      held.pop_back();
    }
  }
  EXPECT_EQ(z.nr_free(), z.nr_frames() - in_use);
}

TEST(Zone, SetsBlocksAsideForExploredAllocations) {
  zone z(512, 4096, 2);
  EXPECT_EQ(z.nr_frames(), 4096u - 2 * 512);
  EXPECT_EQ(z.explored_block(0), 512u + 4096 - 2 * 512);
  EXPECT_EQ(z.explored_block(1), 512u + 4096 - 512);
  EXPECT_EQ(z.explored_block(2), zone::NO_FRAME);
}

TEST(FaultAttr, FailsTheNthOnce) {
  fault_attr fail;
  fail.fail_nth(3);
  EXPECT_FALSE(fail.should_fail());
  EXPECT_FALSE(fail.should_fail());
  EXPECT_TRUE(fail.should_fail());
  EXPECT_FALSE(fail.should_fail());
}

TEST(FaultAttr, FailsAsOftenAsItIsTold) {
  fault_attr fail;
  fail.fail_with_probability(1'000'000);
  EXPECT_TRUE(fail.should_fail());
  fail.fail_with_probability(0);
  EXPECT_FALSE(fail.should_fail());
}

} // namespace
} // namespace racewalk
