#include "mm/zone.h"

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "arch/pgtable.h"

namespace racewalk {
namespace {

/// A zone with frames, of which tests look only at the numbers.
struct Zone : ::testing::Test {
  static constexpr u64 FRAMES = 1 << 15;
  std::unique_ptr<std::byte[]> memory{new std::byte[FRAMES * PAGE_SIZE + 4096]};
  std::byte* frames = memory.get() + (4096 - reinterpret_cast<uintptr_t>(memory.get()) % 4096);
};

TEST_F(Zone, HandsOutEveryFrameOnce) {
  zone z(frames, 1, 5000);
  std::set<pfn_t> seen;
  for (pfn_t pfn = z.rmqueue(0).pfn; pfn != zone::NO_FRAME; pfn = z.rmqueue(0).pfn) {
    EXPECT_TRUE(pfn >= 1 && pfn < 5001);
    EXPECT_TRUE(seen.insert(pfn).second);
  }
  EXPECT_EQ(seen.size(), 5000u);
  EXPECT_EQ(z.nr_free(), 0u);
}

TEST_F(Zone, AlignsBlocksToTheirSize) {
  zone z(frames, 1, 1 << 14);
  for (unsigned order = 0; order <= zone::MAX_ORDER; ++order) {
    const pfn_t pfn = z.rmqueue(order).pfn;
    ASSERT_NE(pfn, zone::NO_FRAME);
    EXPECT_EQ(pfn % (u64{1} << order), 0u);
  }
}

TEST_F(Zone, MergesWhatComesBack) {
  zone z(frames, 0, 1 << zone::MAX_ORDER);
  std::vector<pfn_t> held;
  for (pfn_t pfn = z.rmqueue(0).pfn; pfn != zone::NO_FRAME; pfn = z.rmqueue(0).pfn)
    held.push_back(pfn);
  EXPECT_EQ(z.rmqueue(1).pfn, zone::NO_FRAME);
  std::shuffle(held.begin(), held.end(), std::mt19937(3));
  for (pfn_t pfn : held)
    z.free_block(pfn, 0);
  EXPECT_EQ(z.rmqueue(zone::MAX_ORDER).pfn, 0u)
      << "the lists of threads are drained when the rest does not suffice";
}

TEST_F(Zone, KeepsCountUnderRandomUse) {
  zone z(frames, 1, 20000);
  std::vector<std::pair<pfn_t, unsigned>> held;
  std::mt19937 random(11);
  u64 in_use = 0;
  for (int step = 0; step < 100000; ++step) {
    if (held.empty() || random() % 2 == 0) {
      const unsigned order = random() % 4 == 0 ? random() % 10 : 0;
      const pfn_t pfn = z.rmqueue(order).pfn;
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

TEST_F(Zone, SaysWhichFramesAreZero) {
  zone z(frames, 1, 1000);
  std::vector<pfn_t> held;
  for (int i = 0; i < 300; ++i) {
    const auto found = z.rmqueue(0);
    if (found.zeroed) {
      EXPECT_EQ(
          std::count(frames + found.pfn * PAGE_SIZE, frames + (found.pfn + 1) * PAGE_SIZE, std::byte{0}),
          4096);
    }
    std::fill_n(frames + found.pfn * PAGE_SIZE, PAGE_SIZE, std::byte{1});
    held.push_back(found.pfn);
    if (i % 3 == 0) {
      z.free_block(held.back(), 0);
      held.pop_back();
      EXPECT_FALSE(z.rmqueue(0).zeroed) << "it was used since";
    }
  }
}

TEST_F(Zone, KeepsZeroedFramesForTables) {
  zone z(frames, 1, 100);
  const pfn_t pfn = z.rmqueue(0).pfn;
  z.give_zeroed(pfn);
  EXPECT_EQ(z.nr_free(), 100u);
  EXPECT_EQ(z.take_zeroed(), pfn);
}

TEST_F(Zone, FramesForTablesAreNeighbours) {
  zone z(frames, 1, 100);
  std::fill_n(frames, 101 * PAGE_SIZE, std::byte{1});
  const pfn_t first = z.take_zeroed();
  EXPECT_EQ(first % 16, 0u);
  for (pfn_t pfn = first; pfn < first + 16; ++pfn) {
    EXPECT_EQ(pfn == first ? first : z.take_zeroed(), pfn);
    EXPECT_EQ(std::count(frames + pfn * PAGE_SIZE, frames + (pfn + 1) * PAGE_SIZE, std::byte{0}), 4096);
  }
  EXPECT_EQ(z.nr_free(), 84u);
}

TEST_F(Zone, WithoutNeighboursThereAreNone) {
  zone z(frames, 1, 14);
  EXPECT_EQ(z.take_zeroed(), zone::NO_FRAME);
}

TEST_F(Zone, ClaimsWhatIsFreeInABlock) {
  zone z(frames, 1, 2047);
  std::vector<pfn_t> held;
  for (zone::block_found found = z.rmqueue(0); found.pfn != zone::NO_FRAME; found = z.rmqueue(0))
    held.push_back(found.pfn);
  for (const pfn_t pfn : held)
    if (pfn >= 512 && pfn < 1024 && pfn % 4 != 0) z.free_block(pfn, 0);
  z.drain_all_pages();
  EXPECT_EQ(z.nr_free_in(512), 384u);
  EXPECT_EQ(z.nr_free_in(1024), 0u);
  EXPECT_EQ(z.nr_free_in(2048), 0u) << "there is no such block";
  zone::claimed_frames claimed;
  z.claim_free(512, claimed);
  EXPECT_EQ(claimed.count(), 384u);
  EXPECT_FALSE(claimed.test(4));
  EXPECT_TRUE(claimed.test(5));
  EXPECT_EQ(z.rmqueue(0).pfn, zone::NO_FRAME);
  for (const pfn_t pfn : held)
    if (pfn >= 512 && pfn < 1024 && pfn % 4 == 0) z.free_block(pfn, 0);
  z.drain_all_pages();
  z.claim_free(512, claimed);
  EXPECT_EQ(claimed.count(), 512u);
  z.give_claimed(512, claimed);
  EXPECT_EQ(z.rmqueue(9).pfn, 512u) << "it is one block again";
}

TEST_F(Zone, SetsBlocksAsideForExploredAllocations) {
  zone z(frames, 512, 4096, 2);
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

TEST(FaultAttr, FailsEveryNth) {
  fault_attr fail;
  fail.fail_every(3);
  for (int round = 0; round < 2; ++round) {
    EXPECT_FALSE(fail.should_fail());
    EXPECT_FALSE(fail.should_fail());
    EXPECT_TRUE(fail.should_fail());
  }
  EXPECT_EQ(fail.failed(), 2u);
  fail.fail_every(0);
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
