// The huge page of zeros: what is only read takes no memory, where a huge page is wanted.
#include <cerrno>

#include "mm/gup.h"
#include "mm/huge_memory.h"
#include "mm/khugepaged.h"
#include "mm/mempolicy.h"
#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "mm/task_mmu.h"
#include "world.h"

namespace racewalk::test {
namespace {

class HugeZeroPage : public World {
 protected:
  /// Memory that wants huge pages.
  vaddr_t advised(AddressSpace& in, u64 bytes = HUGE) {
    const vaddr_t at = in.mmap(bytes).value();
    EXPECT_EQ(vm_madvise(in.mm(), at, bytes, MADV_HUGEPAGE), 0);
    return at;
  }
  /// The same, read and not stored to.
  vaddr_t read_area() {
    const vaddr_t at = advised(space);
    EXPECT_EQ(read(at + 5 * PAGE_SIZE), 0U);
    EXPECT_TRUE(maps_huge_zeros(at));
    return at;
  }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  pmd_t huge_entry(vaddr_t addr) {
    const pmd_lookup at = find_pmd(mm, addr);
    return at.found ? pmdp_get(at.pmdp) : pmd_t{};
  }
  bool maps_huge_zeros(vaddr_t addr) { return is_huge_zero_pmd(huge_entry(addr)); }
  bool maps_small_zeros(vaddr_t addr) {
    pte_map_lock table(find_pmd(mm, addr).pmdp);
    const pte_t pte = table ? ptep_get(table.at(addr)) : pte_t{};
    return pte_present(pte) && is_zero_pfn(pte_pfn(pte));
  }
  bool maps_a_huge_page(vaddr_t addr) { return pmd_trans_huge(huge_entry(addr)) && !maps_huge_zeros(addr); }
  /// Nobody has stored to it.
  bool intact(vaddr_t addr) {
    const pmd_t pmd = huge_entry(addr);
    for (u64 i = 0; i < HUGE / sizeof(u64); i += 64)
      if (READ_ONCE(pfn_words(pmd_pfn(pmd))[i]) != 0) return false;
    return true;
  }
  TransparentHugePages::Statistics statistics() { return system.huge_pages().statistics(); }
};

TEST_F(HugeZeroPage, WhatIsOnlyReadTakesNoMemoryOfItsOwn) {
  const vaddr_t first = read_area();
  const u64 frames = used_frames();
  const vaddr_t second = read_area();
  EXPECT_LE(used_frames(), frames + 2) << "the table behind the entry, perhaps one above it";
  EXPECT_EQ(pmd_pfn(huge_entry(first)), pmd_pfn(huge_entry(second)));
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(statistics().zero_page_alloc, 1U);
  EXPECT_EQ(statistics().zero_page_mapped, 2U);
  EXPECT_EQ(statistics().fault_alloc, 0U);
}

TEST_F(HugeZeroPage, ItGoesWithTheLastSpaceThatHasReadIt) {
  const u64 before = used_frames();
  {
    AddressSpace other(system);
    cpu.switch_to(other);
    EXPECT_EQ(read(advised(other)), 0U);
    {
      AddressSpace third(system);
      cpu.switch_to(third);
      EXPECT_EQ(read(advised(third)), 0U);
      EXPECT_EQ(statistics().zero_page_alloc, 1U);
      cpu.switch_to(space);
    }
    cpu.switch_to(other);
    EXPECT_EQ(read(advised(other) + PAGE_SIZE), 0U);
    cpu.switch_to(space);
  }
  EXPECT_EQ(used_frames(), before);
  read_area();
  EXPECT_EQ(statistics().zero_page_alloc, 2U);
}

TEST_F(HugeZeroPage, AStoreGetsAHugePageOfItsOwn) {
  const vaddr_t other = read_area();
  const vaddr_t at = read_area();
  touch(at + 7 * PAGE_SIZE);
  EXPECT_TRUE(maps_a_huge_page(at));
  EXPECT_EQ(anon_pages(), 512);
  EXPECT_EQ(statistics().fault_alloc, 1U);
  EXPECT_EQ(read(at + 7 * PAGE_SIZE), at + 7 * PAGE_SIZE);
  EXPECT_EQ(read(at), 0U);
  EXPECT_TRUE(intact(other));
  ASSERT_TRUE(space.munmap(at, HUGE));
  ASSERT_TRUE(space.munmap(other, HUGE));
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(tables(), 1);
}

TEST_F(HugeZeroPage, AStoreThatFindsNoHugePageSplitsIt) {
  const vaddr_t at = read_area();
  system.fail_page_alloc().fail_nth(1);
  touch(at + PAGE_SIZE);
  EXPECT_FALSE(system.fail_page_alloc().pending());
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_TRUE(maps_small_zeros(at));
  EXPECT_EQ(read(at + PAGE_SIZE), at + PAGE_SIZE);
  EXPECT_EQ(statistics().split_pmd, 1U);
}

TEST_F(HugeZeroPage, WithoutMemoryForItTheSmallOneIsMapped) {
  touch(map(PAGE_SIZE)); // with the tables above
  unsigned small = 0;
  fail_each_allocation([&] {
    const vaddr_t at = advised(space);
    EXPECT_EQ(read(at), 0U);
    small += maps_small_zeros(at);
    EXPECT_EQ(vm_munmap(mm, at, HUGE), 0);
    return false;
  });
  EXPECT_EQ(small, 2U) << "once for want of a table, once of the page";
  EXPECT_EQ(statistics().zero_page_alloc_failed, 1U);
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(HugeZeroPage, WhetherItIsUsedIsASetting) {
  system.huge_pages().set_use_zero_page(false);
  const vaddr_t at = advised(space);
  EXPECT_EQ(read(at), 0U);
  EXPECT_TRUE(maps_a_huge_page(at));
  EXPECT_EQ(anon_pages(), 512);
}

TEST_F(HugeZeroPage, APartThatGoesSplitsIt) {
  const vaddr_t at = read_area();
  ASSERT_TRUE(space.munmap(at + PAGE_SIZE, PAGE_SIZE));
  EXPECT_TRUE(maps_small_zeros(at));
  EXPECT_FALSE(can_read(at + PAGE_SIZE));
  EXPECT_EQ(read(at + 2 * PAGE_SIZE), 0U);
  EXPECT_EQ(anon_pages(), 0);
}

TEST_F(HugeZeroPage, ItIsReadOnlyWhateverTheAreaIsGiven) {
  const vaddr_t at = read_area();
  ASSERT_TRUE(space.mprotect(at, HUGE, Access::none));
  EXPECT_FALSE(can_read(at));
  ASSERT_TRUE(space.mprotect(at, HUGE, Access::read_write));
  EXPECT_FALSE(pmd_write(huge_entry(at)));
  EXPECT_EQ(read(at), 0U);
  ASSERT_EQ(change_prot_numa(mm, at, at + HUGE), 0);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  EXPECT_FALSE(pmd_write(huge_entry(at)));
  EXPECT_TRUE(intact(at));
  touch(at);
  EXPECT_EQ(anon_pages(), 512);
}

TEST_F(HugeZeroPage, APinForReadingHasItAndKeepsIt) {
  page* pages[2] = {};
  {
    AddressSpace other(system);
    cpu.switch_to(other);
    const vaddr_t at = advised(other);
    EXPECT_EQ(read(at), 0U);
    ASSERT_EQ(pin_user_pages_fast(other.mm(), at + PAGE_SIZE, 2, FOLL_NONE, pages), 2);
    EXPECT_EQ(pages[0] + 1, pages[1]);
    cpu.switch_to(space);
  }
  EXPECT_EQ(READ_ONCE(page_words(pages[1])[0]), 0U);
  const u64 frames = used_frames();
  unpin_user_pages(pages, 2);
  EXPECT_EQ(used_frames(), frames - 512);
}

TEST_F(HugeZeroPage, APinForWritingOrForLongGetsAPageOfItsOwn) {
  const vaddr_t at = read_area();
  {
    const auto pinned = space.pin(at, 1, Access::read_write).value();
    pinned[0][0] = std::byte{1};
  }
  EXPECT_EQ(read(at), 1U);
  const vaddr_t another = read_area();
  page* kept = nullptr;
  ASSERT_EQ(pin_user_pages(mm, another, 1, FOLL_LONGTERM, &kept), 1);
  touch(another);
  EXPECT_EQ(READ_ONCE(page_words(kept)[0]), another) << "its holder sees what is stored later";
  unpin_user_page(kept);
}

TEST_F(HugeZeroPage, AForkLeavesItToFaults) {
  const vaddr_t at = read_area();
  const auto child = space.fork().value();
  EXPECT_EQ(get_mm_counter(child->mm(), MM_PGTABLES), 1);
  cpu.switch_to(*child);
  EXPECT_EQ(read(at), 0U);
  touch(at);
  cpu.switch_to(space);
  EXPECT_EQ(read(at), 0U);
  EXPECT_TRUE(maps_huge_zeros(at));
}

TEST_F(HugeZeroPage, WhatMovesAgesOrTracksPagesPassesItBy) {
  const vaddr_t at = read_area();
  EXPECT_EQ(migrate_page_at(mm, at), -ENOENT);
  EXPECT_EQ(split_page_at(mm, at), -ENOENT);
  for (const int advice : {MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_MERGEABLE, MADV_COLLAPSE})
    EXPECT_EQ(vm_madvise(mm, at, HUGE, advice), 0);
  EXPECT_EQ(clear_refs(mm, clear_refs_t::all), 0);
  EXPECT_TRUE(maps_huge_zeros(at));
  const bool tracked = clear_refs(mm, clear_refs_t::soft_dirty) == 0; // where there is a bit for it
  const auto page = space.pagemap(at + PAGE_SIZE, 1).value()[0];
  EXPECT_TRUE(page.present());
  EXPECT_FALSE(page.exclusive());
  EXPECT_EQ(page.pfn(), pmd_pfn(huge_entry(at)) + 1);
  touch(at);
  EXPECT_EQ(space.pagemap(at, 1).value()[0].soft_dirty(), tracked);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_DONTNEED), 0);
  EXPECT_EQ(read(at), 0U);
  EXPECT_TRUE(maps_huge_zeros(at));
}

TEST_F(HugeZeroPage, ItIsMoved) {
  const vaddr_t from = read_area();
  const vaddr_t to = advised(space);
  EXPECT_EQ(space.mremap_fixed(from, HUGE, HUGE, to).value(), to);
  EXPECT_TRUE(maps_huge_zeros(to));
  EXPECT_EQ(read(to), 0U);
  touch(to);
  EXPECT_EQ(anon_pages(), 512);
}

TEST_F(HugeZeroPage, OnceSplitACollapseTakesItForHoles) {
  const vaddr_t at = read_area();
  system.fail_page_alloc().fail_nth(1);
  touch(at);
  ASSERT_TRUE(maps_small_zeros(at + PAGE_SIZE));
  EXPECT_EQ(collapse_huge_page(mm, at, {.max_ptes_none = 510, .wanted_only = true}),
            scan_result::exceed_none_pte);
  EXPECT_EQ(collapse_huge_page(mm, at, {.max_ptes_none = 511, .wanted_only = true}), scan_result::succeed);
  EXPECT_EQ(read(at), at);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
}

} // namespace
} // namespace racewalk::test
