// The page of zeros: what is only read takes no memory.
#include <cerrno>

#include "mm/gup.h"
#include "mm/khugepaged.h"
#include "mm/mempolicy.h"
#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "mm/task_mmu.h"
#include "world.h"

namespace racewalk::test {
namespace {

class ZeroPage : public World {
 protected:
  static constexpr u64 PAGES = 8;

  /// Pages that have been read, and not stored to.
  vaddr_t read_pages(u64 pages = PAGES) {
    const vaddr_t at = map(pages * PAGE_SIZE);
    for (u64 i = 0; i < pages; ++i)
      EXPECT_EQ(read(at + i * PAGE_SIZE), 0U);
    return at;
  }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  bool maps_zeros(vaddr_t addr) {
    const pte_t pte = entry(addr);
    return pte_present(pte) && is_zero_pfn(pte_pfn(pte));
  }
  pte_t entry(vaddr_t addr) {
    pte_map_lock table(find_pmd(mm, addr).pmdp);
    return table ? ptep_get(table.at(addr)) : pte_t{};
  }
  /// Nothing has been stored to it, whoever has it mapped.
  static bool intact() {
    const page* zeros = pfn_to_page(ZERO_PFN);
    for (u64 i = 0; i < PAGE_SIZE / sizeof(word_t); ++i)
      if (READ_ONCE(page_words(zeros)[i]) != 0) return false;
    return atomic_read(zeros->_refcount) == 1 && atomic_read(zeros->_mapcount) == -1;
  }
  void TearDown() override { EXPECT_TRUE(intact()); }
};

TEST_F(ZeroPage, WhatIsOnlyReadTakesNoMemory) {
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  touch(at); // with the tables
  const u64 frames = used_frames();
  for (u64 i = 1; i < PAGES; ++i)
    EXPECT_EQ(read(at + i * PAGE_SIZE), 0U);
  EXPECT_EQ(used_frames(), frames);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_TRUE(maps_zeros(at + PAGE_SIZE));
}

TEST_F(ZeroPage, AStoreGetsAPageOfItsOwn) {
  const vaddr_t at = read_pages();
  touch(at);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(read(at), at);
  EXPECT_EQ(read(at + 8), 0U);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  EXPECT_TRUE(maps_zeros(at + PAGE_SIZE));
  ASSERT_TRUE(space.munmap(at, PAGES * PAGE_SIZE));
  EXPECT_EQ(anon_pages(), 0);
}

TEST_F(ZeroPage, AStoreThatFindsNoMemoryChangesNothing) {
  const vaddr_t at = read_pages(1);
  EXPECT_GT(fail_each_allocation([&] { return !cpu->store<u64>(at, 1).ok(); }), 0U);
  EXPECT_EQ(read(at), 1U);
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(ZeroPage, AllSpacesHaveTheSame) {
  AddressSpace other(system);
  const vaddr_t here = read_pages(1);
  const vaddr_t there = other.mmap(PAGE_SIZE).value();
  cpu.switch_to(other);
  EXPECT_EQ(read(there), 0U);
  cpu.switch_to(space);
  const auto mine = space.pagemap(here, 1).value()[0];
  const auto theirs = other.pagemap(there, 1).value()[0];
  EXPECT_TRUE(mine.present());
  EXPECT_EQ(mine.pfn(), theirs.pfn());
  EXPECT_FALSE(mine.exclusive());
}

TEST_F(ZeroPage, APinForReadingHasIt) {
  const vaddr_t at = read_pages(2);
  {
    const auto pinned = space.pin(at, 2, Access::read).value();
    EXPECT_EQ(pinned[1].data(), static_cast<std::byte*>(page_address(pfn_to_page(ZERO_PFN))));
    touch(at);
  }
  EXPECT_EQ(read(at), at);
  page* got = nullptr;
  ASSERT_EQ(get_user_pages_fast(mm, at + PAGE_SIZE, 1, FOLL_NONE, &got), 1);
  put_page(got);
}

TEST_F(ZeroPage, APinForWritingOrForLongGetsAPageOfItsOwn) {
  const vaddr_t at = read_pages(2);
  {
    const auto pinned = space.pin(at, 1, Access::read_write).value();
    pinned[0][0] = std::byte{1};
  }
  EXPECT_EQ(read(at), 1U);
  page* kept = nullptr;
  ASSERT_EQ(pin_user_pages(mm, at + PAGE_SIZE, 1, FOLL_LONGTERM, &kept), 1);
  touch(at + PAGE_SIZE);
  EXPECT_EQ(READ_ONCE(page_words(kept)[0]), at + PAGE_SIZE) << "its holder sees what is stored later";
  unpin_user_page(kept);
}

TEST_F(ZeroPage, AForkLeavesItToFaults) {
  const vaddr_t at = read_pages(2);
  touch(at);
  const auto child = space.fork().value();
  EXPECT_EQ(get_mm_counter(child->mm(), MM_ANONPAGES), 1);
  cpu.switch_to(*child);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  touch(at + PAGE_SIZE);
  cpu.switch_to(space);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
}

TEST_F(ZeroPage, ItIsReadOnlyWhateverTheAreaIsGiven) {
  const vaddr_t at = read_pages(2);
  ASSERT_TRUE(space.mprotect(at, 2 * PAGE_SIZE, Access::none));
  EXPECT_FALSE(can_read(at));
  ASSERT_TRUE(space.mprotect(at, 2 * PAGE_SIZE, Access::read_write));
  EXPECT_EQ(read(at), 0U);
  touch(at);
  ASSERT_EQ(change_prot_numa(mm, at, at + 2 * PAGE_SIZE), 0);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  touch(at + PAGE_SIZE);
  EXPECT_EQ(anon_pages(), 2);
}

TEST_F(ZeroPage, WhatMovesAgesOrTracksPagesPassesItBy) {
  const vaddr_t at = read_pages();
  EXPECT_EQ(migrate_page_at(mm, at), -ENOENT);
  EXPECT_EQ(split_page_at(mm, at), -ENOENT);
  for (const int advice : {MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_MERGEABLE})
    EXPECT_EQ(vm_madvise(mm, at, PAGES * PAGE_SIZE, advice), 0);
  EXPECT_EQ(clear_refs(mm, clear_refs_t::all), 0);
  const bool tracked = clear_refs(mm, clear_refs_t::soft_dirty) == 0; // where there is a bit for it
  EXPECT_TRUE(maps_zeros(at));
  touch(at);
  EXPECT_EQ(space.pagemap(at, 1).value()[0].soft_dirty(), tracked);
  EXPECT_EQ(vm_madvise(mm, at, PAGES * PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_TRUE(pte_none(entry(at + PAGE_SIZE)));
}

TEST_F(ZeroPage, ItIsMoved) {
  const vaddr_t at = read_pages(2);
  touch(at);
  const vaddr_t to = map(2 * PAGE_SIZE);
  EXPECT_EQ(space.mremap_fixed(at, 2 * PAGE_SIZE, 2 * PAGE_SIZE, to).value(), to);
  EXPECT_EQ(read(to), at);
  EXPECT_TRUE(maps_zeros(to + PAGE_SIZE));
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(ZeroPage, ACollapseTakesItForAHole) {
  const vaddr_t at = read_pages(512);
  for (u64 i = 0; i < 512; i += 4)
    touch(at + i * PAGE_SIZE);
  const auto collapse = [&](unsigned max_none) {
    return collapse_huge_page(mm, at, {.max_ptes_none = max_none, .wanted_only = false});
  };
  EXPECT_EQ(collapse(383), scan_result::exceed_none_pte);
  EXPECT_EQ(hpage_collapse_scan_pmd(mm, at, {.max_ptes_none = 383, .wanted_only = false}),
            scan_result::exceed_none_pte);
  EXPECT_EQ(collapse(384), scan_result::succeed);
  EXPECT_EQ(anon_pages(), 512);
  for (u64 i = 0; i < 512; ++i)
    ASSERT_EQ(read(at + i * PAGE_SIZE), i % 4 == 0 ? at + i * PAGE_SIZE : 0U);
  touch(at + PAGE_SIZE);
  ASSERT_TRUE(space.munmap(at, 2 * MIB));
  EXPECT_EQ(anon_pages(), 0);
}

} // namespace
} // namespace racewalk::test
