// clear_refs and pagemap: what a program learns about its pages.
#include "mm/task_mmu.h"

#include <barrier>
#include <cerrno>
#include <thread>
#include <vector>

#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

class TaskMmu : public World {
 protected:
  void clear() { ASSERT_EQ(clear_refs(mm, clear_refs_t::soft_dirty), 0); }
  u64 word(vaddr_t addr) {
    u64 w = 0;
    EXPECT_EQ(pagemap_read(mm, addr, 1, &w), 0);
    return w;
  }
  bool soft_dirty(vaddr_t addr) { return (word(addr) & PM_SOFT_DIRTY) != 0; }
  bool present(vaddr_t addr) { return (word(addr) & PM_PRESENT) != 0; }
  void use_huge_pages(vaddr_t at, u64 bytes) {
    ASSERT_TRUE(space.madvise(at, bytes, AddressSpace::HugePages::yes));
  }
};

TEST_F(TaskMmu, WhatIsMappedIsSoftDirtyUntilItIsCleared) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  touch(at);
  EXPECT_TRUE(soft_dirty(at));
  EXPECT_TRUE(soft_dirty(at + PAGE_SIZE)); // the area is new
  clear();
  EXPECT_FALSE(soft_dirty(at));
  EXPECT_FALSE(soft_dirty(at + PAGE_SIZE));
}

TEST_F(TaskMmu, StoresAreNoticedLoadsAreNot) {
  const vaddr_t at = map(8 * PAGE_SIZE);
  for (u64 i = 0; i < 4; ++i)
    touch(at + i * PAGE_SIZE);
  clear();
  touch(at + PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), at + 2 * PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + 5 * PAGE_SIZE), 0u); // first use: a page appears, and is not stored to
  touch(at + 6 * PAGE_SIZE);
  for (u64 i = 0; i < 8; ++i)
    EXPECT_EQ(soft_dirty(at + i * PAGE_SIZE), i == 1 || i == 6) << i;
  touch(at + 5 * PAGE_SIZE);
  EXPECT_TRUE(soft_dirty(at + 5 * PAGE_SIZE));
  clear();
  for (u64 i = 0; i < 8; ++i)
    EXPECT_FALSE(soft_dirty(at + i * PAGE_SIZE)) << i;
}

TEST_F(TaskMmu, AHugePageIsTrackedAsAWhole) {
  const vaddr_t at = map(4 * MIB);
  use_huge_pages(at, 4 * MIB);
  touch(at);
  touch(at + 2 * MIB);
  clear();
  EXPECT_FALSE(soft_dirty(at));
  touch(at + 77 * PAGE_SIZE);
  EXPECT_TRUE(soft_dirty(at));
  EXPECT_TRUE(soft_dirty(at + 511 * PAGE_SIZE));
  EXPECT_FALSE(soft_dirty(at + 2 * MIB));
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(TaskMmu, AHugePageThatIsSplitOrMovedKeepsItsMark) {
  const vaddr_t at = map(4 * MIB);
  use_huge_pages(at, 4 * MIB);
  touch(at);
  touch(at + 2 * MIB);
  clear();
  touch(at);
  for (const vaddr_t page : {at, at + 2 * MIB}) {
    ASSERT_EQ(migrate_page_at(mm, page), 0);
    EXPECT_EQ(soft_dirty(page), page == at);
    ASSERT_EQ(split_page_at(mm, page), 0);
    EXPECT_EQ(soft_dirty(page + PAGE_SIZE), page == at);
    ASSERT_EQ(migrate_page_at(mm, page + PAGE_SIZE), 0);
    EXPECT_EQ(soft_dirty(page + PAGE_SIZE), page == at);
    EXPECT_EQ(*cpu->load<u64>(page), page);
  }
  touch(at + 2 * MIB + PAGE_SIZE);
  EXPECT_TRUE(soft_dirty(at + 2 * MIB + PAGE_SIZE));
  EXPECT_FALSE(soft_dirty(at + 2 * MIB + 2 * PAGE_SIZE));
}

TEST_F(TaskMmu, RightsThatAreGivenBackDoNotHideStores) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  clear();
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read));
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read_write));
  EXPECT_FALSE(soft_dirty(at));
  touch(at);
  EXPECT_TRUE(soft_dirty(at));
}

TEST_F(TaskMmu, TheSameForAHugePage) {
  const vaddr_t at = map(2 * MIB);
  use_huge_pages(at, 2 * MIB);
  touch(at);
  clear();
  ASSERT_TRUE(space.mprotect(at, 2 * MIB, Access::read));
  ASSERT_TRUE(space.mprotect(at, 2 * MIB, Access::read_write));
  EXPECT_FALSE(soft_dirty(at));
  touch(at);
  EXPECT_TRUE(soft_dirty(at));
}

TEST_F(TaskMmu, AnAreaThatGrowsIsNewAgain) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  clear();
  ASSERT_TRUE(space.mmap_fixed(at + 2 * PAGE_SIZE, PAGE_SIZE));
  EXPECT_EQ(mm.existing_region(at)->areas.find_vma(at)->vm_end.get(), at + 3 * PAGE_SIZE);
  EXPECT_TRUE(soft_dirty(at));
  EXPECT_TRUE(soft_dirty(at + 2 * PAGE_SIZE));
}

TEST_F(TaskMmu, APinnedPageStaysWritableAndMarked) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  touch(at + PAGE_SIZE);
  const PinnedPages pin = space.pin(at, 1).value();
  clear();
  EXPECT_TRUE(soft_dirty(at));
  EXPECT_FALSE(soft_dirty(at + PAGE_SIZE));
}

TEST_F(TaskMmu, PagemapTellsFrames) {
  const vaddr_t at = map(3 * PAGE_SIZE);
  touch(at);
  touch(at + 2 * PAGE_SIZE);
  u64 words[5];
  ASSERT_EQ(pagemap_read(mm, at - PAGE_SIZE, 5, words), 0);
  EXPECT_EQ(words[0], 0u); // nothing is mapped there
  for (const unsigned i : {1U, 3U}) {
    EXPECT_TRUE((words[i] & PM_PRESENT) != 0);
    EXPECT_TRUE((words[i] & PM_MMAP_EXCLUSIVE) != 0);
    EXPECT_EQ(words[i] & (PM_SWAP | PM_FILE), 0u);
    const auto* memory = static_cast<const u64*>(page_address(pfn_to_page(words[i] & PM_PFRAME)));
    EXPECT_EQ(*memory, at + (i - 1) * PAGE_SIZE);
  }
  EXPECT_EQ(words[2] & ~PM_SOFT_DIRTY, 0u);
}

TEST_F(TaskMmu, PagemapRefusesWhatCannotBe) {
  u64 word = 0;
  EXPECT_EQ(pagemap_read(mm, 1, 1, &word), -EINVAL);
  EXPECT_EQ(pagemap_read(mm, geometry().address_limit(), 1, &word), -EINVAL);
  EXPECT_EQ(pagemap_read(mm, 0, ~u64{0}, &word), -EINVAL);
  EXPECT_EQ(pagemap_read(mm, geometry().address_limit(), 0, &word), 0);
}

TEST_F(TaskMmu, ClearingReferencesMakesPagesOld) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto young = [&] {
    const pmd_t pmd = pmdp_get(find_pmd(mm, at).pmdp);
    return pte_young(ptep_get(pte_offset(pmd, at)));
  };
  EXPECT_TRUE(young());
  ASSERT_EQ(clear_refs(mm, clear_refs_t::all), 0);
  EXPECT_FALSE(young());
  EXPECT_TRUE(soft_dirty(at));
}

TEST_F(TaskMmu, ThePublicFaceSaysTheSame) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  ASSERT_TRUE(space.clear_refs());
  touch(at);
  const auto pages = space.pagemap(at, 2).value();
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_TRUE(pages[0].present() && pages[0].soft_dirty() && pages[0].exclusive());
  EXPECT_EQ(pages[0].pfn(), word(at) & PM_PFRAME);
  EXPECT_FALSE(pages[1].present() || pages[1].soft_dirty() || pages[1].swapped());
  EXPECT_EQ(space.pagemap(at + 1, 1).error(), std::errc::invalid_argument);
}

// An image that is brought up to date by the pages that are soft-dirty alone is what memory is.
TEST_F(TaskMmu, IncrementsAddUpToWhatMemoryIs) {
  constexpr u64 PAGES = 64;
  constexpr int ROUNDS = 50;
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  std::barrier pause(2);
  std::thread writer([&] {
    CpuSession session(system, 1, space);
    u64 n = 0;
    for (int round = 0; round < ROUNDS; ++round) {
      for (int i = 0; i < 20; ++i, n += 7)
        EXPECT_TRUE(session->store<u64>(at + n % PAGES * PAGE_SIZE, n).ok());
      pause.arrive_and_wait(); // the checkpoint
      pause.arrive_and_wait();
    }
  });
  std::vector<u64> image(PAGES);
  u64 words[PAGES];
  for (int round = 0; round < ROUNDS; ++round) {
    pause.arrive_and_wait();
    ASSERT_EQ(pagemap_read(mm, at, PAGES, words), 0);
    clear();
    for (u64 i = 0; i < PAGES; ++i)
      if ((words[i] & PM_SOFT_DIRTY) != 0) image[i] = *cpu->load<u64>(at + i * PAGE_SIZE);
    for (u64 i = 0; i < PAGES; ++i)
      EXPECT_EQ(image[i], *cpu->load<u64>(at + i * PAGE_SIZE)) << round << ' ' << i;
    pause.arrive_and_wait();
  }
  writer.join();
}

} // namespace
} // namespace racewalk::test
