// Pages that stand for others are found by who comes from them: they are moved, and go to the swap file and
// come back, for all who have them, wherever forks and mremap have taken them.
#include <thread>

#include "mm/ksm.h"
#include "mm/migrate.h"
#include "racewalk/page_merger.h"
#include "swapped.h"

namespace racewalk::test {
namespace {

class KsmRmap : public Swapped {
 protected:
  static constexpr u64 PAGES = 8;

  ~KsmRmap() override {
    if (merger) merger->forget(space);
  }

  /// PAGES pages that are one.
  vaddr_t merged_pages() {
    merger.emplace(system);
    merger->watch(space);
    const vaddr_t at = map(PAGES * PAGE_SIZE);
    space.madvise(at, PAGES * PAGE_SIZE, AddressSpace::Mergeable::yes).value();
    for (u64 i = 0; i < PAGES; ++i)
      EXPECT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, 42).ok());
    merge();
    EXPECT_EQ(sharing(), PAGES - 1);
    return at;
  }
  /// What has not changed between two passes is merged.
  void merge() {
    for (int pass = 0; pass < 3; ++pass)
      merger->scan(1'000'000);
  }
  u64 sharing() { return merger->statistics().pages_sharing; }
  void swap_out() { (void)system.reclaim().shrink(PAGES); }
  bool is_mapped(vaddr_t addr) { return space.pagemap(addr, 1).value()[0].present(); }
  pfn_t pfn_of(vaddr_t addr) { return space.pagemap(addr, 1).value()[0].pfn(); }
  u64 items_of(vaddr_t addr) {
    return folio_stable_node(page_folio(pfn_to_page(pfn_of(addr))))->nr_items.get();
  }
  void expect_42(vaddr_t at, u64 pages = PAGES) {
    for (u64 i = 0; i < pages; ++i)
      ASSERT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), 42U) << "page " << i;
  }

  std::optional<PageMerger> merger;
};

TEST_F(KsmRmap, one_slot_is_enough_and_what_comes_back_is_still_one) {
  swapon();
  const vaddr_t at = merged_pages();
  const u64 used = used_frames();
  swap_out();
  EXPECT_EQ(swapped(), static_cast<s64>(PAGES));
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(slots_used(), 1U);
  EXPECT_EQ(used_frames(), used - 1);
  expect_42(at);
  EXPECT_EQ(used_frames(), used);
  EXPECT_EQ(system.reclaim().statistics().swapped_in, 1U);
  EXPECT_EQ(slots_needed(), 0U);
  EXPECT_EQ(sharing(), PAGES - 1);
  swap_out(); // once more
  EXPECT_EQ(swapped(), static_cast<s64>(PAGES));
  expect_42(at);
}

TEST_F(KsmRmap, pages_that_keep_a_slot_are_merged_and_give_it_up) {
  swapon();
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  space.madvise(at, PAGES * PAGE_SIZE, AddressSpace::Mergeable::yes).value();
  for (u64 i = 0; i < PAGES; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, 42).ok());
  pageout(at, PAGES);
  expect_42(at);
  EXPECT_EQ(slots_cached(), PAGES);
  merger.emplace(system);
  merger->watch(space);
  merge();
  EXPECT_EQ(sharing(), PAGES - 1);
  EXPECT_EQ(slots_used(), 0U);
  swap_out();
  EXPECT_EQ(slots_used(), 1U);
  expect_42(at);
}

TEST_F(KsmRmap, a_store_takes_a_copy_of_what_comes_back) {
  swapon();
  const vaddr_t at = merged_pages();
  swap_out();
  for (u64 i = 0; i < PAGES; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE + 8, i).ok());
  expect_42(at);
  for (u64 i = 0; i < PAGES; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE + 8), i);
  EXPECT_EQ(sharing(), 0U);
  EXPECT_EQ(slots_used(), 0U);
  EXPECT_EQ(anon_pages(), static_cast<s64>(PAGES));
}

TEST_F(KsmRmap, more_are_merged_with_what_has_come_back) {
  swapon();
  const vaddr_t at = merged_pages();
  swap_out();
  const vaddr_t more = map(PAGE_SIZE);
  ASSERT_TRUE(space.madvise(more, PAGE_SIZE, AddressSpace::Mergeable::yes));
  ASSERT_TRUE(cpu->store<u64>(more, 42).ok());
  merge(); // not with a page that is away
  EXPECT_EQ(sharing(), 0U);
  expect_42(at);
  merge();
  EXPECT_EQ(sharing(), PAGES);
  EXPECT_EQ(pfn_of(more), pfn_of(at));
  swap_out();
  EXPECT_EQ(swapped(), static_cast<s64>(PAGES + 1));
  expect_42(more, 1);
}

TEST_F(KsmRmap, who_made_it_need_not_be_there) {
  swapon();
  const vaddr_t at = merged_pages();
  swap_out();
  merger.reset();
  expect_42(at);
  EXPECT_EQ(anon_pages(), static_cast<s64>(PAGES));
  swap_out();
  EXPECT_EQ(slots_used(), 1U);
  ASSERT_TRUE(space.munmap(at, PAGES * PAGE_SIZE));
  EXPECT_EQ(slots_used(), 0U);
}

TEST_F(KsmRmap, children_lose_it_and_get_it_back) {
  swapon();
  const vaddr_t at = merged_pages();
  auto child = space.fork().value();
  swap_out();
  EXPECT_EQ(swapped() + swapped(*child), static_cast<s64>(2 * PAGES));
  auto grandchild = child->fork().value(); // of what is away
  in(*grandchild, [&] {
    expect_42(at);
    ASSERT_TRUE(cpu->store<u64>(at, 43).ok());
  });
  child.reset();
  expect_42(at);
  swap_out();
  EXPECT_EQ(swapped(), static_cast<s64>(PAGES));
  EXPECT_EQ(swapped(*grandchild), static_cast<s64>(PAGES)) << "its copy, and what it shares";
  in(*grandchild, [&] {
    EXPECT_EQ(*cpu->load<u64>(at), 43U);
    expect_42(at + PAGE_SIZE, PAGES - 1);
  });
  expect_42(at);
}

TEST_F(KsmRmap, who_had_it_before_it_stood_for_others_is_found) {
  merger.emplace(system);
  const vaddr_t at = map(2 * PAGE_SIZE);
  ASSERT_TRUE(space.madvise(at, 2 * PAGE_SIZE, AddressSpace::Mergeable::yes));
  for (u64 i = 0; i < 2; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, 42).ok());
  auto child = space.fork().value();
  merger->watch(*child);
  merge();
  ASSERT_EQ(sharing(), 2U) << "both of the child's, and one of the parent's";
  const pfn_t from = child->pagemap(at, 1).value()[0].pfn();
  const u64 same = pfn_of(at) == from ? 0 : 1;
  ASSERT_EQ(migrate_page_at(child->mm(), at), 0);
  EXPECT_NE(child->pagemap(at, 1).value()[0].pfn(), from);
  EXPECT_EQ(pfn_of(at + same * PAGE_SIZE), child->pagemap(at, 1).value()[0].pfn());
  merger->forget(*child);
  child.reset();
  expect_42(at, 2);
}

TEST_F(KsmRmap, it_is_found_where_mremap_has_taken_it) {
  swapon();
  const vaddr_t at = merged_pages();
  const vaddr_t far = space.mremap_fixed(at, 4 * PAGE_SIZE, 4 * PAGE_SIZE, vaddr_t{9} << 39).value();
  const vaddr_t near = space.mremap_fixed(far, PAGE_SIZE, PAGE_SIZE, far + MIB).value();
  swap_out();
  EXPECT_EQ(swapped(), static_cast<s64>(PAGES));
  const vaddr_t back = space.mremap_fixed(near, PAGE_SIZE, PAGE_SIZE, at).value();
  expect_42(back, 1);
  expect_42(far + PAGE_SIZE, 3);
  expect_42(at + 4 * PAGE_SIZE, 4);
  EXPECT_EQ(slots_needed(), 0U);
  EXPECT_EQ(sharing(), PAGES - 1);
}

TEST_F(KsmRmap, it_moves_for_all_who_have_it) {
  const vaddr_t at = merged_pages();
  const auto child = space.fork().value();
  const pfn_t from = pfn_of(at);
  ASSERT_EQ(migrate_page_at(mm, at + 3 * PAGE_SIZE), 0);
  EXPECT_NE(pfn_of(at), from);
  EXPECT_EQ(child->pagemap(at, 1).value()[0].pfn(), pfn_of(at));
  EXPECT_EQ(sharing(), 2 * PAGES - 1);
  expect_42(at);
  in(*child, [&] { expect_42(at); });
  ASSERT_TRUE(cpu->store<u64>(at, 43).ok());
  merge();
  EXPECT_EQ(sharing(), 2 * PAGES - 2) << "and is still what others are merged with";
  ASSERT_TRUE(cpu->store<u64>(at, 42).ok());
  merge();
  EXPECT_EQ(sharing(), 2 * PAGES - 1);
}

TEST_F(KsmRmap, what_is_not_mergeable_any_more_parts_from_what_is_away) {
  swapon();
  const vaddr_t at = merged_pages();
  swap_out();
  system.reclaim().fail_swap_read().fail_every(1);
  EXPECT_EQ(vm_madvise(mm, at, PAGES * PAGE_SIZE, MADV_UNMERGEABLE), -EIO);
  system.reclaim().fail_swap_read().fail_every(0);
  ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, AddressSpace::Mergeable::no));
  EXPECT_EQ(swapped(), 0);
  EXPECT_EQ(sharing(), 0U);
  expect_42(at);
  EXPECT_NE(pfn_of(at), pfn_of(at + PAGE_SIZE));
}

TEST_F(KsmRmap, what_cannot_be_read_stands_for_nobody) {
  swapon();
  const vaddr_t at = merged_pages();
  swap_out();
  system.reclaim().fail_swap_read().fail_every(1);
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::sigbus);
  EXPECT_EQ(merger->statistics().pages_shared, 0U);
  system.reclaim().fail_swap_read().fail_every(0);
  expect_42(at);
  EXPECT_EQ(sharing(), PAGES - 1);
}

TEST_F(KsmRmap, swapoff_brings_it_back) {
  swapon();
  const vaddr_t at = merged_pages();
  swap_out();
  ASSERT_TRUE(system.reclaim().swapoff());
  EXPECT_EQ(sharing(), PAGES - 1);
  expect_42(at);
}

TEST_F(KsmRmap, what_was_freed_lazily_is_kept_for_others) {
  swapon();
  merger.emplace(system);
  merger->watch(space);
  const vaddr_t at = map(2 * PAGE_SIZE);
  ASSERT_TRUE(space.madvise(at, 2 * PAGE_SIZE, AddressSpace::Mergeable::yes));
  for (u64 i = 0; i < 2; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, 42).ok());
  merger->scan(1'000'000);
  ASSERT_EQ(vm_madvise(mm, at + PAGE_SIZE, PAGE_SIZE, MADV_FREE), 0); // the second becomes what both have
  merge();
  ASSERT_EQ(sharing(), 1U);
  swap_out();
  EXPECT_EQ(swapped(), 2);
  expect_42(at, 2);
}

TEST_F(KsmRmap, places_that_it_has_left_are_forgotten) {
  const vaddr_t at = merged_pages();
  for (int n = 0; n < 20; ++n) {
    const vaddr_t more = map(PAGE_SIZE);
    ASSERT_TRUE(space.madvise(more, PAGE_SIZE, AddressSpace::Mergeable::yes));
    ASSERT_TRUE(cpu->store<u64>(more, 42).ok());
    merge();
    ASSERT_EQ(pfn_of(more), pfn_of(at));
    ASSERT_TRUE(space.munmap(more, PAGE_SIZE));
  }
  merge();
  EXPECT_EQ(items_of(at), PAGES);
}

TEST_F(KsmRmap, without_memory_for_it_nothing_is_merged_and_nothing_lost) {
  swapon();
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  const vaddr_t equal = map(PAGES * PAGE_SIZE);
  for (const vaddr_t first : {at, equal}) {
    ASSERT_TRUE(space.madvise(first, PAGES * PAGE_SIZE, AddressSpace::Mergeable::yes));
    for (u64 i = 0; i < PAGES; ++i)
      ASSERT_TRUE(cpu->store<u64>(first + i * PAGE_SIZE, i).ok());
  }
  merger.emplace(system);
  merger->watch(space);
  system.failslab().fail_every(1);
  merge();
  EXPECT_EQ(sharing(), 0U);
  system.failslab().fail_every(3);
  merge();
  system.failslab().fail_every(0);
  const u64 some = sharing();
  EXPECT_GT(some, 0U);
  swap_out();
  for (u64 i = 0; i < PAGES; ++i) {
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), i);
    EXPECT_EQ(*cpu->load<u64>(equal + i * PAGE_SIZE), i);
  }
}

// A program stores and compares while a thread merges its pages, another moves them, and this one swaps them
// out and forks.
TEST_F(KsmRmap, nothing_is_lost_while_they_merge_move_and_go) {
  constexpr u64 MANY = 32;
  swapon();
  merger.emplace(system);
  merger->watch(space);
  const vaddr_t at = map(MANY * PAGE_SIZE);
  ASSERT_TRUE(space.madvise(at, MANY * PAGE_SIZE, AddressSpace::Mergeable::yes));
  for (u64 i = 0; i < MANY; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, 0).ok());
  merger->start(MANY, std::chrono::milliseconds(0));
  std::atomic<bool> done{false};
  std::thread mover([&] {
    CpuSession session(system, 1, space);
    for (u64 n = 0; !done; ++n)
      (void)migrate_page_at(mm, at + n % MANY * PAGE_SIZE);
  });
  std::thread program([&] {
    CpuSession session(system, 2, space);
    u64 written[MANY] = {};
    u64 state = 1;
    for (u64 n = 0; n < 4000; ++n) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      const u64 i = (state >> 33) % MANY;
      ASSERT_EQ(*session->load<u64>(at + i * PAGE_SIZE), written[i]) << n;
      if (n % 4 != 0) continue;
      written[i] = (state >> 60) % 2;
      ASSERT_TRUE(session->store<u64>(at + i * PAGE_SIZE, written[i]).ok());
    }
  });
  for (int n = 0; n < 60; ++n) {
    (void)system.reclaim().shrink(MANY);
    if (n % 10 != 0) continue;
    const auto child = space.fork().value();
    in(*child, [&] {
      for (u64 i = 0; i < MANY; ++i)
        ASSERT_LE(*cpu->load<u64>(at + i * PAGE_SIZE), 1U);
    });
  }
  program.join();
  done = true;
  mover.join();
  std::thread([this] { merger->stop(); }).join();
  ASSERT_TRUE(space.munmap(at, MANY * PAGE_SIZE));
  system.settle();
  EXPECT_EQ(slots_used(), 0U);
}

} // namespace
} // namespace racewalk::test
