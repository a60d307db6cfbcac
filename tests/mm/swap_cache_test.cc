// A page that has come back from the swap file keeps its slot while there is room: it is written again only
// if somebody has stored to it, and gives the slot up with whatever else becomes of it.
#include <cerrno>
#include <thread>

#include "full_disk.h"
#include "mm/host_io_queue.h"
#include "mm/madvise.h"
#include "mm/migrate.h"
#include "racewalk/userfaultfd.h"
#include "racewalk/writeback.h"
#include "swapped.h"

namespace racewalk::test {
namespace {

class SwapCache : public Swapped {
 protected:
  /// So many pages, swapped out and read again.
  vaddr_t pages_that_came_back(u64 pages) {
    const vaddr_t at = swapped_pages(pages);
    expect_content(at, pages);
    EXPECT_EQ(slots_cached(), pages);
    EXPECT_EQ(swapped(), 0);
    return at;
  }
  /// Pages [first, end), which have their numbers, are not read for that.
  void expect_in_memory(vaddr_t at, u64 first, u64 end) {
    system.reclaim().fail_swap_read().fail_every(1);
    for (u64 page = first; page < end; ++page)
      EXPECT_EQ(*cpu->load<u64>(at + page * PAGE_SIZE), page);
    system.reclaim().fail_swap_read().fail_every(0);
  }
  u64 written() { return system.reclaim().statistics().swapped_out; }
  pfn_t pfn_of(vaddr_t addr) { return space.pagemap(addr, 1).value()[0].pfn(); }
  bool is_soft_dirty(vaddr_t addr) { return space.pagemap(addr, 1).value()[0].soft_dirty(); }
};

TEST_F(SwapCache, what_nobody_stores_to_is_not_written_again) {
  swapon();
  const vaddr_t at = pages_that_came_back(8);
  const u64 used = used_frames();
  EXPECT_EQ(written(), 8U);
  for (int times = 0; times < 3; ++times) {
    pageout(at, 8);
    EXPECT_EQ(swapped(), 8);
    EXPECT_EQ(used_frames(), used - 8);
    expect_content(at, 8);
  }
  EXPECT_EQ(written(), 8U);
  EXPECT_EQ(slots_used(), 8U);
}

TEST_F(SwapCache, what_is_stored_to_is_written_again) {
  swapon();
  const vaddr_t at = pages_that_came_back(8);
  for (const u64 page : {1, 4, 7})
    ASSERT_TRUE(cpu->store<u64>(at + page * PAGE_SIZE, page).ok());
  pageout(at, 8);
  EXPECT_EQ(written(), 8U + 3U);
  EXPECT_EQ(slots_used(), 8U) << "where it was";
  for (const u64 page : {1, 4, 7})
    EXPECT_EQ(*cpu->load<u64>(at + page * PAGE_SIZE), page);
  expect_content(at, 1);
  expect_content(at + 5 * PAGE_SIZE, 2);
}

TEST_F(SwapCache, a_store_that_brings_it_back_leaves_nothing_behind) {
  swapon();
  const vaddr_t at = swapped_pages(4);
  fill(at, 4);
  EXPECT_EQ(slots_used(), 0U);
}

TEST_F(SwapCache, it_is_kept_while_no_more_than_half_of_the_slots_are_in_use) {
  swapon(16);
  const vaddr_t at = swapped_pages(16);
  expect_content(at, 16);
  EXPECT_EQ(slots_used(), 8U);
  EXPECT_EQ(slots_cached(), 8U);
}

TEST_F(SwapCache, a_full_file_has_room_as_long_as_pages_only_keep_their_place) {
  swapon(8);
  const vaddr_t back = pages_that_came_back(4);
  const vaddr_t at = map(9 * PAGE_SIZE);
  fill(at, 9);
  pageout(at, 9);
  EXPECT_EQ(swapped(), 8);
  EXPECT_EQ(slots_cached(), 0U);
  expect_content(back, 4);
  pageout(back, 4);
  EXPECT_EQ(swapped(), 8) << "there is no room";
  expect_content(at, 9);
  expect_content(back, 4);
}

TEST_F(SwapCache, what_is_in_use_does_not_keep_its_place_when_slots_are_few) {
  swapon(8);
  const vaddr_t back = pages_that_came_back(4);
  const vaddr_t at = map(4 * PAGE_SIZE);
  fill(at, 4);
  pageout(at, 4);
  EXPECT_EQ(slots_cached(), 4U);
  (void)system.reclaim().shrink(1);
  EXPECT_EQ(slots_cached(), 0U);
  expect_content(back, 4);
}

TEST_F(SwapCache, it_goes_with_the_last_mapping) {
  swapon();
  const vaddr_t at = pages_that_came_back(6);
  ASSERT_TRUE(space.munmap(at, 2 * PAGE_SIZE));
  EXPECT_EQ(slots_used(), 4U);
  ASSERT_EQ(vm_madvise(mm, at + 2 * PAGE_SIZE, 2 * PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_EQ(slots_used(), 2U);
  { const auto child = space.fork().value(); }
  EXPECT_EQ(slots_used(), 2U);
  const u64 used = used_frames();
  ASSERT_TRUE(space.munmap(at + 4 * PAGE_SIZE, 2 * PAGE_SIZE));
  EXPECT_EQ(slots_used(), 0U);
  EXPECT_LE(used_frames(), used - 2);
}

TEST_F(SwapCache, what_is_freed_lazily_is_not_what_the_file_has) {
  swapon();
  const vaddr_t at = pages_that_came_back(2);
  ASSERT_EQ(vm_madvise(mm, at, 2 * PAGE_SIZE, MADV_FREE), 0);
  EXPECT_EQ(slots_used(), 0U);
  ASSERT_TRUE(cpu->store<u64>(at, 7).ok());
  pageout(at, 2);
  EXPECT_EQ(*cpu->load<u64>(at), 7U);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 0U);
}

// ---- who else has it -------------------------------------------------------------------------------------

TEST_F(SwapCache, each_side_of_a_fork_stores_to_its_own) {
  swapon();
  const vaddr_t at = pages_that_came_back(3);
  ASSERT_TRUE(cpu->store<u64>(at + 2 * PAGE_SIZE, 40).ok()); // before
  auto child = space.fork().value();
  in(*child, [&] { ASSERT_TRUE(cpu->store<u64>(at, 41).ok()); });
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 42).ok());
  EXPECT_GE(system.reclaim().shrink(5), 5U);
  EXPECT_EQ(swapped() + swapped(*child), 6);
  expect_content(at, 1);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 42U);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), 40U);
  in(*child, [&] {
    EXPECT_EQ(*cpu->load<u64>(at), 41U);
    expect_content(at + PAGE_SIZE, 1);
    EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), 40U);
  });
}

TEST_F(SwapCache, a_store_copies_what_another_has_still_in_the_file) {
  swapon();
  const vaddr_t at = swapped_pages(1);
  auto child = space.fork().value();
  expect_content(at, 1);
  EXPECT_EQ(slots_needed(), 1U);
  ASSERT_TRUE(cpu->store<u64>(at, 43).ok());
  EXPECT_EQ(slots_used(), 1U);
  in(*child, [&] { expect_content(at, 1); });
  EXPECT_EQ(*cpu->load<u64>(at), 43U);
}

TEST_F(SwapCache, the_last_to_have_it_stores_without_a_copy) {
  swapon();
  const vaddr_t at = swapped_pages(1);
  auto child = space.fork().value();
  expect_content(at, 1);
  in(*child, [&] { expect_content(at, 1); });
  const pfn_t frame = pfn_of(at);
  child.reset();
  EXPECT_EQ(slots_cached(), 1U);
  ASSERT_TRUE(cpu->store<u64>(at, 43).ok());
  EXPECT_EQ(pfn_of(at), frame);
  EXPECT_EQ(slots_used(), 0U);
}

TEST_F(SwapCache, who_comes_from_it_finds_its_only_user) {
  swapon();
  const vaddr_t at = swapped_pages(2);
  const auto child = space.fork().value();
  ASSERT_TRUE(space.munmap(at, 2 * PAGE_SIZE));
  in(*child, [&] { // alone: from now on it is looked for there
    expect_content(at, 2);
    ASSERT_TRUE(cpu->store<u64>(at, 44).ok());
  });
  for (int times = 0; times < 3; ++times) {
    EXPECT_GE(system.reclaim().shrink(2), 2U);
    EXPECT_EQ(swapped(*child), 2);
    in(*child, [&] {
      EXPECT_EQ(*cpu->load<u64>(at), 44U);
      expect_content(at + PAGE_SIZE, 1);
    });
  }
}

// ---- what else is done to it -----------------------------------------------------------------------------

TEST_F(SwapCache, a_page_that_moves_takes_its_slot_along) {
  swapon();
  const vaddr_t at = pages_that_came_back(3);
  ASSERT_TRUE(cpu->store<u64>(at, 45).ok());
  for (u64 i = 0; i < 2; ++i) {
    const pfn_t frame = pfn_of(at + i * PAGE_SIZE);
    EXPECT_EQ(migrate_page_at(mm, at + i * PAGE_SIZE), 0);
    EXPECT_NE(pfn_of(at + i * PAGE_SIZE), frame);
  }
  EXPECT_EQ(slots_cached(), 3U);
  const u64 before = written();
  pageout(at, 3);
  EXPECT_EQ(swapped(), 3);
  EXPECT_EQ(written(), before + 1) << "the one that was stored to";
  EXPECT_EQ(*cpu->load<u64>(at), 45U);
  expect_content(at + PAGE_SIZE, 2);
}

TEST_F(SwapCache, a_huge_page_takes_the_place_of_pages_that_keep_theirs) {
  swapon();
  const vaddr_t at = space.mmap_fixed(HUGE * 512, HUGE).value();
  fill(at, hpage_pmd_nr());
  pageout(at, hpage_pmd_nr());
  expect_content(at, hpage_pmd_nr());
  EXPECT_EQ(slots_cached(), hpage_pmd_nr());
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  EXPECT_TRUE(is_huge(at));
  EXPECT_EQ(slots_used(), 0U);
  expect_content(at, hpage_pmd_nr());
}

TEST_F(SwapCache, a_huge_page_leaves_others_what_they_have_in_the_file) {
  swapon();
  const vaddr_t at = space.mmap_fixed(HUGE * 512, HUGE).value();
  fill(at, hpage_pmd_nr());
  pageout(at, hpage_pmd_nr());
  auto child = space.fork().value();
  expect_content(at, hpage_pmd_nr());
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  EXPECT_EQ(slots_needed(), hpage_pmd_nr());
  ASSERT_TRUE(cpu->store<u64>(at, 46).ok());
  in(*child, [&] { expect_content(at, hpage_pmd_nr()); });
}

TEST_F(SwapCache, what_a_device_stores_is_written) {
  swapon();
  const vaddr_t at = pages_that_came_back(1);
  {
    PinnedPages pin = space.pin(at, 1).value();
    pageout(at, 1);
    EXPECT_EQ(anon_pages(), 1);
    pin[0][0] = std::byte{47};
  }
  pageout(at, 1);
  EXPECT_EQ(swapped(), 1);
  EXPECT_EQ(*cpu->load<u8>(at), 47);
}

TEST_F(SwapCache, marks_of_its_entry_stay) {
  swapon();
  const vaddr_t at = pages_that_came_back(1);
  ASSERT_TRUE(space.clear_refs());
  for (int times = 0; times < 2; ++times) {
    pageout(at, 1);
    EXPECT_FALSE(is_soft_dirty(at));
    expect_content(at, 1);
    EXPECT_FALSE(is_soft_dirty(at));
  }
  EXPECT_EQ(written(), 1U);
  touch(at);
  EXPECT_TRUE(is_soft_dirty(at));
  pageout(at, 1);
  EXPECT_EQ(written(), 2U) << "the fault that noticed the store has not lost it";
}

TEST_F(SwapCache, what_userfaultfd_protects_keeps_its_slot_until_it_is_stored_to) {
  if (!pte_has_uffd_wp()) GTEST_SKIP() << "the architecture has no bit for it";
  swapon();
  const vaddr_t at = pages_that_came_back(1);
  Userfaultfd uffd(space);
  ASSERT_TRUE(uffd.register_range(at, PAGE_SIZE, Userfaultfd::WRITE_PROTECT));
  ASSERT_TRUE(uffd.write_protect(at, PAGE_SIZE));
  pageout(at, 1);
  expect_content(at, 1);
  EXPECT_EQ(written(), 1U);
  u64 heard = 0;
  std::thread handler([&] {
    while (const auto fault = uffd.read()) {
      ++heard;
      uffd.write_unprotect(fault->address, PAGE_SIZE).value();
    }
  });
  ASSERT_TRUE(cpu->store<u64>(at, 48).ok());
  uffd.close();
  handler.join();
  EXPECT_EQ(heard, 1U);
  pageout(at, 1);
  EXPECT_EQ(*cpu->load<u64>(at), 48U);
}

// ---- the file --------------------------------------------------------------------------------------------

TEST_F(SwapCache, swapoff_leaves_nothing_of_it) {
  swapon();
  const vaddr_t at = pages_that_came_back(6);
  pageout(at, 2);
  const auto child = space.fork().value();
  expect_content(at, 1); // and the child has not brought it back
  ASSERT_TRUE(system.reclaim().swapoff());
  std::filesystem::remove(swap_path());
  expect_content(at, 6);
  swapon();
  EXPECT_GE(system.reclaim().shrink(6), 6U);
  EXPECT_EQ(slots_used(), 6U);
  expect_content(at, 6);
}

TEST_F(SwapCache, what_cannot_be_written_again_stays) {
  swapon();
  const vaddr_t at = pages_that_came_back(4);
  for (u64 i = 0; i < 4; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, i).ok());
  system.reclaim().fail_swap_write().fail_every(1);
  const u64 used = used_frames();
  pageout(at, 4);
  EXPECT_EQ(used_frames(), used);
  for (u64 i = 0; i < 4; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), i);
  pageout(at, 4);
  system.reclaim().fail_swap_write().fail_every(0);
  pageout(at, 4);
  EXPECT_GE(system.reclaim().shrink(4), 4U);
  EXPECT_EQ(used_frames(), used - 4);
  for (u64 i = 0; i < 4; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), i);
}

// Three runs of neighbours in one call.
TEST_F(SwapCache, of_runs_that_go_together_the_one_that_fails_stays) {
  swapon();
  const vaddr_t at = pages_that_came_back(12);
  const auto stored = [](u64 page) { return page % 4 != 3; };
  for (u64 page = 0; page < 12; ++page) {
    if (!stored(page)) continue;
    ASSERT_TRUE(cpu->store<u64>(at + page * PAGE_SIZE, page).ok());
  }
  const u64 used = used_frames();
  const u64 before = written();
  system.fail_io().fail_nth(2);
  pageout(at, 12);
  EXPECT_EQ(system.fail_io().failed(), 1U);
  EXPECT_EQ(written(), before + 6);
  EXPECT_EQ(used_frames(), used - 9);
  expect_in_memory(at, 4, 7);
  pageout(at, 12);
  EXPECT_EQ(written(), before + 9) << "dirty still";
  EXPECT_EQ(used_frames(), used - 12);
  for (u64 page = 0; page < 12; ++page)
    EXPECT_EQ(*cpu->load<u64>(at + page * PAGE_SIZE), stored(page) ? page : at + page * PAGE_SIZE);
}

TEST_F(SwapCache, runs_go_in_a_transfer_each) {
  swapon();
  Writeback writeback(system);
  const vaddr_t at = pages_that_came_back(9);
  EXPECT_EQ(writeback.statistics().writes, 1U);
  for (const u64 page : {0, 1, 4, 7, 8})
    ASSERT_TRUE(cpu->store<u64>(at + page * PAGE_SIZE, page).ok());
  pageout(at, 9);
  EXPECT_EQ(writeback.statistics().writes, 1U + 3U);
  for (const u64 page : {0, 1, 4, 7, 8})
    EXPECT_EQ(*cpu->load<u64>(at + page * PAGE_SIZE), page);
}

TEST_F(SwapCache, of_a_transfer_that_ends_early_the_rest_stays) {
  swapon();
  const vaddr_t at = pages_that_came_back(9); // in slots 1 to 9
  for (u64 page = 0; page < 9; ++page) {
    if (page == 3) continue;
    ASSERT_TRUE(cpu->store<u64>(at + page * PAGE_SIZE, page).ok());
  }
  const u64 used = used_frames();
  const u64 before = written();
  {
    const full_disk disk(7 * PAGE_SIZE); // the second run begins in slot 5
    pageout(at, 9);
  }
  EXPECT_EQ(written(), before + 5);
  EXPECT_EQ(used_frames(), used - 6);
  expect_in_memory(at, 6, 9);
  pageout(at, 9);
  EXPECT_EQ(written(), before + 8);
  EXPECT_EQ(used_frames(), used - 9);
  for (u64 page = 0; page < 9; ++page)
    EXPECT_EQ(*cpu->load<u64>(at + page * PAGE_SIZE), page == 3 ? at + 3 * PAGE_SIZE : page);
}

TEST_F(SwapCache, what_cannot_be_read_is_there_for_the_next_who_asks) {
  swapon();
  const vaddr_t at = pages_that_came_back(2);
  pageout(at, 2);
  system.reclaim().fail_swap_read().fail_nth(1);
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::sigbus);
  expect_content(at, 2);
  EXPECT_EQ(slots_cached(), 2U);
  EXPECT_EQ(written(), 2U);
}

// ---- many at once ----------------------------------------------------------------------------------------

// Two CPUs count in the same pages while a third swaps them out and reads them, so that stores meet pages
// that keep their slots; slots are few, so that they are taken from such pages, too.
TEST_F(SwapCache, no_store_is_lost) {
  constexpr u64 PAGES = 16;
  for (const u64 slots : {PAGES - 4, 4 * PAGES}) {
    swapon(slots);
    const vaddr_t at = map(PAGES * PAGE_SIZE);
    expect_no_store_lost(at, PAGES, 100, [&](u64 n) {
      pageout(at, PAGES);
      for (u64 i = 0; i < PAGES; ++i)
        ASSERT_TRUE(can_read(at + i * PAGE_SIZE));
      (void)system.reclaim().shrink(PAGES);
      if (n % 10 == 0) (void)space.fork();
      if (n % 5 == 0) (void)migrate_page_at(mm, at + n % PAGES * PAGE_SIZE);
    });
    system.settle();
    EXPECT_EQ(slots_used(), 0U);
    ASSERT_TRUE(system.reclaim().swapoff());
  }
}

} // namespace
} // namespace racewalk::test
