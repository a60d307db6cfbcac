// Splitting, moving and giving back: the content stays where it should, the accounts balance, and what cannot
// be done leaves all as it was.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "mm/gup.h"
#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Migrate : public World {
 protected:
  page* page_at(vaddr_t at) {
    const pmd_t pmd = pmdp_get(find_pmd(mm, at).pmdp);
    if (pmd_trans_huge(pmd)) return pfn_to_page(pmd_pfn(pmd) + pte_index(at));
    return pfn_to_page(pte_pfn(ptep_get(pte_offset(pmd, at))));
  }
  void expect_content(vaddr_t at) {
    for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
      ASSERT_EQ(*cpu->load<u64>(a), a);
  }
};

TEST_F(Migrate, ASmallPageMovesWithItsContent) {
  const u64 before = used_frames();
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const page* old = page_at(at);
  EXPECT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_NE(page_at(at), old);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_TRUE(can_write(at));
  EXPECT_TRUE(PageAnonExclusive(page_at(at)));
  EXPECT_EQ(anon_pages(), 1);
  ASSERT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Migrate, MovePagesSaysWhatCameOfEach) {
  const vaddr_t at = map(3 * PAGE_SIZE);
  touch(at);
  touch(at + PAGE_SIZE);
  const page* free_one = page_at(at);
  const page* pinned_one = page_at(at + PAGE_SIZE);
  const PinnedPages pinned = space.pin(at + PAGE_SIZE, 1).value();
  const std::vector<vaddr_t> which = {at + 8, at + PAGE_SIZE, at + 2 * PAGE_SIZE, ~vaddr_t{0}};
  const std::vector<std::errc> expected = {std::errc{}, std::errc::resource_unavailable_try_again,
                                           std::errc::no_such_file_or_directory, std::errc::bad_address};
  EXPECT_EQ(space.move_pages(which), expected);
  EXPECT_NE(page_at(at), free_one);
  EXPECT_EQ(page_at(at + PAGE_SIZE), pinned_one);
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(Migrate, AHugePageMovesInOnePiece) {
  const u64 before = used_frames();
  const vaddr_t at = huge_page();
  const page* old = page_at(at);
  EXPECT_EQ(migrate_page_at(mm, at + 5 * PAGE_SIZE), 0);
  EXPECT_TRUE(is_huge(at));
  EXPECT_NE(page_at(at), old);
  expect_content(at);
  EXPECT_EQ(anon_pages(), hpage_pmd_nr());
  ASSERT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Migrate, RightsAreThoseOfTheArea) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_TRUE(can_read(at));
  EXPECT_FALSE(can_write(at));
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_NONE), 0);
  EXPECT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_FALSE(can_read(at));
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(Migrate, WhatIsPinnedStays) {
  for (const vaddr_t at : {huge_page(), map(HUGE)}) {
    touch_all(at);
    page* pinned = nullptr;
    ASSERT_EQ(pin_user_pages_fast(mm, at + PAGE_SIZE, 1, FOLL_WRITE, &pinned), 1);
    EXPECT_EQ(migrate_page_at(mm, at + PAGE_SIZE), -EAGAIN);
    EXPECT_EQ(page_at(at + PAGE_SIZE), pinned);
    EXPECT_EQ(split_page_at(mm, at + PAGE_SIZE), folio_test_large(page_folio(pinned)) ? -EAGAIN : 0);
    WRITE_ONCE(page_words(pinned)[0], at + PAGE_SIZE);
    expect_content(at);
    unpin_user_page(pinned);
    EXPECT_EQ(migrate_page_at(mm, at + PAGE_SIZE), 0);
    expect_content(at);
  }
}

TEST_F(Migrate, NothingThereIsAnError) {
  EXPECT_EQ(migrate_page_at(mm, 0), -ENOENT);
  const vaddr_t at = map(PAGE_SIZE);
  EXPECT_EQ(migrate_page_at(mm, at), -ENOENT);
  EXPECT_EQ(split_page_at(mm, at), -ENOENT);
}

TEST_F(Migrate, WithoutFramesAllIsAsBefore) {
  const vaddr_t at = huge_page();
  const page* old = page_at(at);
  const unsigned failures = fail_each_allocation([&] {
    const int error = migrate_page_at(mm, at);
    if (error == 0) return false;
    EXPECT_EQ(error, -ENOMEM);
    EXPECT_EQ(page_at(at), old);
    return true;
  });
  EXPECT_EQ(failures, 1u);
  expect_content(at);
}

TEST_F(Migrate, ASplitFolioIsSoManyPages) {
  const u64 before = used_frames();
  const vaddr_t at = huge_page();
  EXPECT_EQ(split_page_at(mm, at), 0);
  EXPECT_FALSE(is_huge(at));
  for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE) {
    page* page = page_at(a);
    ASSERT_EQ(&page_folio(page)->page, page);
    ASSERT_FALSE(folio_test_large(page_folio(page)));
    ASSERT_FALSE(PageLocked(page));
    ASSERT_TRUE(PageAnonExclusive(page));
    ASSERT_EQ(folio_ref_count(page_folio(page)), 1);
    ASSERT_EQ(folio_mapcount(page_folio(page)), 1);
  }
  expect_content(at);
  // each page goes by itself now, and moves by itself
  const u64 used = used_frames();
  ASSERT_EQ(vm_madvise(mm, at, PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_EQ(used_frames(), used - 1);
  EXPECT_EQ(migrate_page_at(mm, at + PAGE_SIZE), 0);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
  ASSERT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Migrate, ASplitFreesWhatIsNotMappedAnyMore) {
  const vaddr_t at = huge_page();
  ASSERT_EQ(vm_madvise(mm, at, HUGE / 2, MADV_DONTNEED), 0);
  EXPECT_FALSE(is_huge(at));
  EXPECT_EQ(anon_pages(), hpage_pmd_nr() / 2);
  const u64 used = used_frames();
  EXPECT_EQ(split_page_at(mm, at + HUGE / 2), 0);
  EXPECT_EQ(used_frames(), used - hpage_pmd_nr() / 2);
  for (vaddr_t a = at + HUGE / 2; a < at + HUGE; a += PAGE_SIZE)
    ASSERT_EQ(*cpu->load<u64>(a), a);
}

TEST_F(Migrate, DontneedGivesBackPartsOfHugePages) {
  const vaddr_t at = huge_page();
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_NOHUGEPAGE), 0);
  ASSERT_EQ(vm_madvise(mm, at + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 0u);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), at + 2 * PAGE_SIZE);
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_DONTNEED), 0);
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
  ASSERT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_DONTNEED), -ENOMEM) << "a part is not mapped";
  EXPECT_EQ(vm_madvise(mm, at + 1, HUGE, MADV_DONTNEED), -EINVAL);
}

/// Everything at once on the same addresses: every update counts, every frame comes back.
TEST_F(Migrate, NoUpdateIsLostToACollapseASplitOrAMove) {
  const u64 before = used_frames();
  const vaddr_t at = map(HUGE);
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_HUGEPAGE), 0);
  touch_all(at);
  std::atomic<bool> stop{false};
  std::atomic<u64> added{0};
  std::thread writer([&] {
    CpuSession other(system, 1, space);
    u64 n = 0;
    for (; !stop.load(std::memory_order_relaxed); ++n)
      ASSERT_TRUE(other->fetch_add<u64>(at + (n * 7 % 512) * PAGE_SIZE + 8, 1).ok());
    added = n;
  });
  std::thread pinner([&] {
    CpuSession other(system, 2, space);
    for (u64 n = 0; !stop.load(std::memory_order_relaxed); ++n) {
      page* page = nullptr;
      const vaddr_t addr = at + (n * 13 % 512) * PAGE_SIZE;
      if (pin_user_pages_fast(mm, addr, 1, FOLL_WRITE, &page) != 1) continue;
      EXPECT_EQ(READ_ONCE(page_words(page)[0]), addr);
      unpin_user_page(page);
    }
  });
  unsigned done[3] = {};
  // the others may be off the CPU while they hold a page: until each has succeeded
  for (unsigned i = 0; i < 60 || std::ranges::min(done) == 0; ++i) {
    done[0] += vm_madvise(mm, at, HUGE, MADV_COLLAPSE) == 0;
    done[1] += migrate_page_at(mm, at + i % 512 * PAGE_SIZE) == 0;
    done[2] += split_page_at(mm, at) == 0;
    done[1] += migrate_page_at(mm, at + i % 512 * PAGE_SIZE) == 0;
    std::this_thread::yield();
  }
  stop = true;
  writer.join();
  pinner.join();
  u64 sum = 0;
  for (unsigned i = 0; i < 512; ++i)
    sum += *cpu->load<u64>(at + i * PAGE_SIZE + 8);
  EXPECT_EQ(sum, added);
  expect_content(at);
  ASSERT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(used_frames(), before);
}

} // namespace
} // namespace racewalk::test
