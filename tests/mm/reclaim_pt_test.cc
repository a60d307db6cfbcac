// MADV_DONTNEED takes away the tables that it has emptied.
#include <atomic>
#include <thread>

#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

class ReclaimPt : public World {
 protected:
  /// Small pages behind so many tables.
  vaddr_t behind_tables(u64 n) {
    const vaddr_t at = map(n * HUGE);
    for (vaddr_t a = at; a < at + n * HUGE; a += HUGE / 4)
      touch(a);
    EXPECT_TRUE(has_table(at));
    return at;
  }
  bool has_table(vaddr_t at) {
    const pmd_lookup found = find_pmd(mm, at);
    return found.found && pmd_is_table(pmdp_get(found.pmdp));
  }
  int give_back(vaddr_t at, u64 bytes) { return vm_madvise(mm, at, bytes, MADV_DONTNEED); }
};

TEST_F(ReclaimPt, WhatIsEmptyGoes) {
  const vaddr_t at = behind_tables(4);
  const s64 before = tables();
  const u64 frames = used_frames();
  ASSERT_EQ(give_back(at, 3 * HUGE), 0);
  EXPECT_EQ(tables(), before - 3);
  EXPECT_EQ(used_frames(), frames - 3 * 4 - 3);
  EXPECT_FALSE(has_table(at));
  EXPECT_TRUE(has_table(at + 3 * HUGE));
  EXPECT_EQ(*cpu->load<u64>(at), 0U);
  touch(at + PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
}

TEST_F(ReclaimPt, ARangeThatIsNotAWholeTablesLeavesIt) {
  const vaddr_t at = behind_tables(2);
  const s64 before = tables();
  ASSERT_EQ(give_back(at + PAGE_SIZE, 2 * HUGE - 2 * PAGE_SIZE), 0);
  EXPECT_EQ(tables(), before);
  ASSERT_EQ(give_back(at, HUGE), 0) << "it has been empty but for one page";
  EXPECT_EQ(tables(), before - 1);
}

TEST_F(ReclaimPt, ATableThatTwoAreasShareStays) {
  const vaddr_t at = behind_tables(1);
  ASSERT_EQ(vm_mprotect(mm, at, HUGE / 2, PROT_READ), 0);
  ASSERT_EQ(give_back(at, HUGE), 0);
  EXPECT_TRUE(has_table(at)) << "each area has a part of it";
}

TEST_F(ReclaimPt, WithoutMemoryForABatchItGoesAllTheSame) {
  const vaddr_t at = behind_tables(3);
  const s64 before = tables();
  EXPECT_EQ(fail_each_allocation([&] { return give_back(at, 3 * HUGE) != 0; }), 0U);
  EXPECT_EQ(tables(), before - 3);
  for (u64 n = 1; n < 4; ++n) { // and with each allocation failing in turn while there are tables to take
    for (vaddr_t a = at; a < at + 3 * HUGE; a += HUGE)
      touch(a);
    system.fail_page_alloc().fail_nth(n);
    EXPECT_EQ(give_back(at, 3 * HUGE), 0);
    system.fail_page_alloc().fail_nth(0);
    EXPECT_EQ(tables(), before - 3);
  }
  ASSERT_EQ(vm_munmap(mm, at, 3 * HUGE), 0);
  EXPECT_EQ(anon_pages(), 0);
}

TEST_F(ReclaimPt, NoStoreThatComesAfterwardsIsLost) {
  constexpr u64 ROUNDS = 3000;
  const vaddr_t at = behind_tables(1);
  std::atomic<bool> done = false;
  std::thread neighbour([&] {
    CpuSession other(system, 1, space);
    // its half of the table comes and goes, and with it the table
    while (!done) {
      EXPECT_TRUE(other->store<u64>(at + HUGE / 2, 1).ok());
      EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_DONTNEED), 0);
    }
  });
  u64 kept = 0;
  for (u64 n = 1; n <= ROUNDS; ++n) {
    ASSERT_TRUE(cpu->store<u64>(at, n).ok());
    const u64 now = *cpu->load<u64>(at);
    ASSERT_TRUE(now == n || now == 0) << "neither what was stored nor given back";
    kept += now == n;
  }
  done = true;
  neighbour.join();
  EXPECT_GT(kept, 0U);
  ASSERT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(anon_pages(), 0) << "a page went with its table";
  EXPECT_EQ(tables(), 1);
}

} // namespace
} // namespace racewalk::test
