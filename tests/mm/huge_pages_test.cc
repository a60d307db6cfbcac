// Huge pages by themselves: the modes, and khugepaged, which finds what it can collapse.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include "mm/filemap.h"
#include "mm/huge_memory.h"
#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "racewalk/file.h"
#include "world.h"

namespace racewalk::test {
namespace {

using Enabled = TransparentHugePages::Enabled;
using Defrag = TransparentHugePages::Defrag;

class HugePagesTest : public World {
 protected:
  TransparentHugePages& thp = system.huge_pages();

  int advise(vaddr_t at, int advice) { return vm_madvise(mm, at, HUGE, advice); }
  /// A PMD's range with so many pages touched, all of them small.
  vaddr_t small_pages(u64 pages = 512) {
    const Enabled mode = thp.enabled();
    thp.set_enabled(Enabled::never);
    const vaddr_t at = map(HUGE);
    touch_all(at, pages * PAGE_SIZE);
    thp.set_enabled(mode);
    return at;
  }
  static bool in_one_folio(const File& file) {
    folio* first = filemap_get_folio(file.opening().mapping(), 0);
    const bool large = folio_test_large(first);
    folio_put(first);
    return large;
  }
  /// Waits for what khugepaged does.
  template <class F> static bool happens(F&& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  /// All that khugepaged does now is done.
  bool looks_at_everything() {
    const u64 before = thp.statistics().full_scans;
    return happens([&] {
      thp.wake_khugepaged();
      return thp.statistics().full_scans >= before + 2;
    });
  }
};

TEST_F(HugePagesTest, AFaultUsesThemAsTheModeSays) {
  const auto huge_on_touch = [&](Enabled mode, int advice) {
    thp.set_enabled(mode);
    const vaddr_t at = map(2 * HUGE);
    EXPECT_EQ(advice == 0 ? 0 : vm_madvise(mm, at, 2 * HUGE, advice), 0);
    touch(at);
    const bool huge = is_huge(at);
    EXPECT_EQ(vm_munmap(mm, at, 2 * HUGE), 0);
    return huge;
  };
  EXPECT_TRUE(huge_on_touch(Enabled::always, 0));
  EXPECT_TRUE(huge_on_touch(Enabled::always, MADV_HUGEPAGE));
  EXPECT_FALSE(huge_on_touch(Enabled::always, MADV_NOHUGEPAGE));
  EXPECT_FALSE(huge_on_touch(Enabled::madvise, 0));
  EXPECT_TRUE(huge_on_touch(Enabled::madvise, MADV_HUGEPAGE));
  EXPECT_FALSE(huge_on_touch(Enabled::never, 0));
  EXPECT_FALSE(huge_on_touch(Enabled::never, MADV_HUGEPAGE));
  EXPECT_EQ(thp.statistics().fault_alloc, 3u);
}

TEST_F(HugePagesTest, OfTwoAdvicesTheLastCounts) {
  const vaddr_t at = map(HUGE);
  EXPECT_EQ(advise(at, MADV_NOHUGEPAGE), 0);
  EXPECT_EQ(advise(at, MADV_HUGEPAGE), 0);
  touch(at);
  EXPECT_TRUE(is_huge(at));
}

TEST_F(HugePagesTest, WhatIsToHaveNoneIsNotCollapsedEither) {
  const vaddr_t at = small_pages();
  ASSERT_EQ(advise(at, MADV_NOHUGEPAGE), 0);
  EXPECT_EQ(advise(at, MADV_COLLAPSE), -EINVAL);
  ASSERT_EQ(advise(at, MADV_HUGEPAGE), 0);
  thp.set_enabled(Enabled::never);
  EXPECT_EQ(advise(at, MADV_COLLAPSE), 0) << "who asks gets one in any mode";
}

TEST_F(HugePagesTest, KhugepagedCollapsesWhatWantsIt) {
  const vaddr_t wanted = small_pages();
  const vaddr_t other = small_pages();
  ASSERT_EQ(advise(wanted, MADV_HUGEPAGE), 0);
  thp.start_khugepaged();
  ASSERT_TRUE(happens([&] { return is_huge(wanted); }));
  ASSERT_TRUE(looks_at_everything());
  EXPECT_FALSE(is_huge(other));
  for (vaddr_t a = wanted; a < wanted + HUGE; a += PAGE_SIZE)
    ASSERT_EQ(*cpu->load<u64>(a), a);
  EXPECT_EQ(thp.statistics().pages_collapsed, 1u);

  thp.set_enabled(Enabled::always);
  ASSERT_TRUE(looks_at_everything());
  EXPECT_TRUE(is_huge(other));
  EXPECT_EQ(anon_pages(), 2 * hpage_pmd_nr());
}

TEST_F(HugePagesTest, KhugepagedCollapsesFilesThatAreMadeOfMemory) {
  const File file = File::in_memory(system, HUGE).value();
  const vaddr_t here = space.mmap(file, 0, HUGE).value();
  const vaddr_t unwanted = space.mmap(file, 0, HUGE).value();
  for (vaddr_t a = here; a < here + HUGE; a += PAGE_SIZE)
    touch(a);
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_FALSE(in_one_folio(file)) << "nobody wants it";
  ASSERT_EQ(advise(here, MADV_HUGEPAGE), 0);
  ASSERT_TRUE(looks_at_everything());
  EXPECT_TRUE(in_one_folio(file));
  EXPECT_EQ(thp.statistics().pages_collapsed, 1u);
  for (u64 i = 0; i < HUGE; i += PAGE_SIZE)
    ASSERT_EQ(*cpu->load<u64>(unwanted + i), here + i);
  EXPECT_TRUE(is_huge(unwanted)) << "the file has it, and a fault maps what there is";
}

TEST_F(HugePagesTest, KhugepagedTakesTheTableThatMapsAFilesHugePagePageByPage) {
  const File file = File::in_memory(system, HUGE).value();
  const vaddr_t shared = space.mmap(file, 0, HUGE).value();
  touch(shared);
  ASSERT_EQ(advise(shared, MADV_COLLAPSE), 0);
  const vaddr_t own = space.mmap(file, 0, HUGE, Sharing::private_copy).value();
  touch(own); // a copy, for which the area gets a table
  ASSERT_EQ(vm_madvise(mm, own, PAGE_SIZE, MADV_DONTNEED), 0);
  ASSERT_EQ(*cpu->load<u64>(own), shared);
  ASSERT_FALSE(is_huge(own));
  ASSERT_EQ(advise(own, MADV_HUGEPAGE), 0);
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_EQ(*cpu->load<u64>(own), shared);
  EXPECT_TRUE(is_huge(own));
}

TEST_F(HugePagesTest, KhugepagedLeavesAFileAloneWhosePagesAreInUse) {
  const File file = File::in_memory(system, HUGE).value();
  const vaddr_t at = space.mmap(file, 0, HUGE).value();
  touch(at);
  thp.set_enabled(Enabled::always);
  auto pin = space.pin(at, 1).value();
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_FALSE(in_one_folio(file));
  EXPECT_EQ(*reinterpret_cast<const u64*>(pin[0].data()), at);
}

TEST_F(HugePagesTest, KhugepagedLeavesAloneWhatTheModeDoesNotWant) {
  const vaddr_t at = small_pages();
  ASSERT_EQ(advise(at, MADV_HUGEPAGE), 0);
  thp.set_enabled(Enabled::never);
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_FALSE(is_huge(at));
  EXPECT_EQ(thp.statistics().pages_collapsed, 0u);
}

TEST_F(HugePagesTest, HolesAreFilledUpToWhatIsTuned) {
  TransparentHugePages::Tuning how = thp.khugepaged_tuning();
  how.max_ptes_none = 100;
  thp.tune_khugepaged(how).value();
  thp.set_enabled(Enabled::always);
  const vaddr_t fuller = small_pages(412);
  const vaddr_t emptier = small_pages(411);
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_TRUE(is_huge(fuller));
  EXPECT_FALSE(is_huge(emptier));
  how.max_ptes_none = 511;
  thp.tune_khugepaged(how).value();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_TRUE(is_huge(emptier));
}

TEST_F(HugePagesTest, OneGoLooksAtSoManyPages) {
  TransparentHugePages::Tuning how = thp.khugepaged_tuning();
  how.pages_to_scan = 1;
  thp.tune_khugepaged(how).value();
  thp.set_enabled(Enabled::always);
  const vaddr_t at = map(4 * HUGE);
  thp.set_enabled(Enabled::never);
  for (vaddr_t a = at; a < at + 4 * HUGE; a += HUGE)
    touch(a);
  thp.set_enabled(Enabled::always);
  khugepaged_scan& scan = machine().thp->khugepaged;
  for (u64 go = 1; go <= 4; ++go) {
    EXPECT_TRUE(scan.do_scan(machine().thp->mms, {}));
    EXPECT_EQ(scan.pages_collapsed(), go);
  }
  EXPECT_EQ(scan.full_scans(), 0u);
  EXPECT_TRUE(scan.do_scan(machine().thp->mms, {}));
  EXPECT_EQ(scan.full_scans(), 1u);
}

TEST_F(HugePagesTest, NumbersThatCannotBeAreRefused) {
  const TransparentHugePages::Tuning before = thp.khugepaged_tuning();
  EXPECT_EQ(before.pages_to_scan, 4096u);
  EXPECT_EQ(before.max_ptes_none, 511u);
  const auto refused = [&](auto change) {
    TransparentHugePages::Tuning how = before;
    change(how);
    const auto done = thp.tune_khugepaged(how);
    return !done && done.error() == std::errc::invalid_argument;
  };
  EXPECT_TRUE(refused([](auto& how) { how.max_ptes_none = 512; }));
  EXPECT_TRUE(refused([](auto& how) { how.max_ptes_shared = 512; }));
  EXPECT_TRUE(refused([](auto& how) { how.pages_to_scan = 0; }));
  EXPECT_TRUE(refused([](auto& how) { how.scan_sleep = std::chrono::milliseconds(-1); }));
  EXPECT_TRUE(refused([](auto& how) { how.alloc_sleep = std::chrono::milliseconds(-1); }));
  EXPECT_EQ(thp.khugepaged_tuning().max_ptes_none, before.max_ptes_none);
}

TEST_F(HugePagesTest, KhugepagedStartsAndStopsAsOftenAsOneLikes) {
  EXPECT_FALSE(thp.khugepaged_runs());
  thp.stop_khugepaged();
  thp.start_khugepaged();
  thp.start_khugepaged();
  EXPECT_TRUE(thp.khugepaged_runs());
  thp.stop_khugepaged();
  EXPECT_FALSE(thp.khugepaged_runs());
  thp.set_enabled(Enabled::always);
  const vaddr_t at = small_pages();
  const u64 scans = thp.statistics().full_scans;
  thp.wake_khugepaged();
  EXPECT_EQ(thp.statistics().full_scans, scans);
  EXPECT_FALSE(is_huge(at));
  thp.start_khugepaged();
  EXPECT_TRUE(happens([&] { return is_huge(at); }));
}

TEST_F(HugePagesTest, WhereAFaultDefersKhugepagedMakesRoom) {
  const vaddr_t partly = huge_page();
  ASSERT_EQ(vm_madvise(mm, partly, PAGE_SIZE, MADV_DONTNEED), 0);
  ASSERT_EQ(advise(partly, MADV_NOHUGEPAGE), 0); // else it is collapsed
  TransparentHugePages::Tuning how = thp.khugepaged_tuning();
  how.scan_sleep = std::chrono::hours(24);
  thp.tune_khugepaged(how).value();
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_EQ(thp.statistics().split_page, 0u) << "there is memory";
  const auto fall_back = [&](Defrag mode) {
    thp.set_defrag(mode);
    const vaddr_t at = map(HUGE);
    ASSERT_EQ(advise(at, MADV_HUGEPAGE), 0);
    system.fail_page_alloc().fail_nth(1);
    touch(at);
  };
  fall_back(Defrag::never);
  ASSERT_TRUE(looks_at_everything());
  EXPECT_EQ(thp.statistics().split_page, 0u);
  fall_back(Defrag::defer);
  EXPECT_TRUE(happens([&] { return thp.statistics().split_page == 1; })) << "khugepaged was not woken";
  EXPECT_EQ(thp.statistics().fault_fallback, 2u);
}

TEST_F(HugePagesTest, WhatAForkSharesIsCopiedUpToWhatIsTuned) {
  const vaddr_t at = small_pages();
  ASSERT_EQ(advise(at, MADV_HUGEPAGE), 0);
  const auto child = space.fork().value();
  touch(at); // 511 are left
  TransparentHugePages::Tuning how = thp.khugepaged_tuning();
  how.max_ptes_shared = 510;
  thp.tune_khugepaged(how).value();
  thp.start_khugepaged();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_FALSE(is_huge(at));
  how.max_ptes_shared = 511;
  thp.tune_khugepaged(how).value();
  ASSERT_TRUE(looks_at_everything());
  EXPECT_TRUE(is_huge(at) || is_huge(child->mm(), at)) << "whichever came first has its own pages";
  cpu.switch_to(*child);
  for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
    ASSERT_EQ(*cpu->load<u64>(a), a);
  cpu.switch_to(space);
}

TEST_F(HugePagesTest, WithoutAHugePageKhugepagedWaitsLonger) {
  TransparentHugePages::Tuning how = thp.khugepaged_tuning();
  how.scan_sleep = std::chrono::milliseconds(0);
  how.alloc_sleep = std::chrono::hours(24);
  thp.tune_khugepaged(how).value();
  const vaddr_t at = small_pages();
  ASSERT_EQ(advise(at, MADV_HUGEPAGE), 0);
  system.fail_page_alloc().fail_nth(1);
  EXPECT_FALSE(machine().thp->khugepaged.do_scan(machine().thp->mms, {}));
  EXPECT_EQ(thp.statistics().collapse_alloc_failed, 1u);
  EXPECT_FALSE(is_huge(at));
  EXPECT_TRUE(machine().thp->khugepaged.do_scan(machine().thp->mms, {}));
  (void)machine().thp->khugepaged.do_scan(machine().thp->mms, {});
  EXPECT_TRUE(is_huge(at));
}

TEST_F(HugePagesTest, APartlyUnmappedHugePageIsSplitWhenAsked) {
  const vaddr_t at = huge_page();
  const u64 before = used_frames();
  ASSERT_EQ(vm_madvise(mm, at + 256 * PAGE_SIZE, 256 * PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_EQ(used_frames(), before) << "the huge page is one";
  EXPECT_EQ(thp.statistics().deferred_split_page, 1u);
  EXPECT_EQ(thp.split_deferred(), 1u);
  EXPECT_EQ(used_frames(), before - 256);
  for (vaddr_t a = at; a < at + 256 * PAGE_SIZE; a += PAGE_SIZE)
    ASSERT_EQ(*cpu->load<u64>(a), a);
  EXPECT_EQ(thp.split_deferred(), 0u);
  EXPECT_EQ(thp.statistics().split_page, 1u);
}

TEST_F(HugePagesTest, WhatIsInUseGoesOnWaiting) {
  const vaddr_t at = huge_page();
  {
    const PinnedPages pinned = space.pin(at, 1).value();
    ASSERT_EQ(vm_madvise(mm, at + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED), 0);
    EXPECT_EQ(thp.split_deferred(), 0u);
  }
  EXPECT_EQ(thp.split_deferred(), 1u);
}

TEST_F(HugePagesTest, WhatIsFreedDoesNotWait) {
  const u64 before = used_frames();
  const vaddr_t at = huge_page();
  const vaddr_t other = huge_page();
  ASSERT_EQ(vm_madvise(mm, at, PAGE_SIZE, MADV_DONTNEED), 0);
  ASSERT_EQ(vm_madvise(mm, other, PAGE_SIZE, MADV_DONTNEED), 0);
  ASSERT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(thp.split_deferred(), 1u);
  ASSERT_EQ(vm_munmap(mm, other, HUGE), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(HugePagesTest, WhatIsMovedGoesOnWaiting) {
  const vaddr_t at = huge_page();
  ASSERT_EQ(vm_madvise(mm, at, PAGE_SIZE, MADV_DONTNEED), 0);
  ASSERT_EQ(migrate_page_at(mm, at + PAGE_SIZE), 0);
  EXPECT_EQ(thp.split_deferred(), 1u);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
}

TEST_F(HugePagesTest, AFaultFindsTheMemoryThatHugePagesHoldInVain) {
  constexpr u64 HUGE_PAGES = 28; // of 32 that there are frames for
  const vaddr_t at = map(HUGE_PAGES * HUGE);
  ASSERT_EQ(vm_madvise(mm, at, HUGE_PAGES * HUGE, MADV_HUGEPAGE), 0);
  for (vaddr_t a = at; a < at + HUGE_PAGES * HUGE; a += HUGE) {
    touch(a);
    ASSERT_TRUE(is_huge(a));
    ASSERT_EQ(vm_madvise(mm, a + PAGE_SIZE, HUGE - PAGE_SIZE, MADV_DONTNEED), 0);
  }
  const vaddr_t small = map(20 * HUGE);
  for (vaddr_t a = small; a < small + 20 * HUGE; a += PAGE_SIZE)
    touch(a);
  for (vaddr_t a = at; a < at + HUGE_PAGES * HUGE; a += HUGE)
    EXPECT_EQ(*cpu->load<u64>(a), a);
}

TEST_F(HugePagesTest, AHugePageIsNotWorthWaitingForTables) {
  std::vector<page*> held;
  while (page* block = alloc_pages(hpage_pmd_order(), GFP_KERNEL))
    held.push_back(block);
  pagetables_deferred(); // as if one were on its way back
  {
    const rcu_guard section; // who waited for it here would wait for himself, which is INV-LIVE
    EXPECT_EQ(alloc_pages(hpage_pmd_order(), GFP_KERNEL), nullptr);
  }
  pagetables_arrived();
  for (page* block : held)
    put_page(block);
}

/// All memory in small pages, of which every other one is given back.
class FragmentedMemory : public HugePagesTest {
 protected:
  void SetUp() override {
    thp.set_enabled(Enabled::never);
    at_ = map(BYTES);
    for (vaddr_t a = at_; a < at_ + BYTES; a += PAGE_SIZE)
      touch(a);
    rest_ = map(8 * MIB);
    for (vaddr_t a = rest_; can_write(a); a += PAGE_SIZE) {
    }
    for (vaddr_t a = at_; a < at_ + BYTES; a += 2 * PAGE_SIZE)
      ASSERT_EQ(vm_madvise(mm, a, PAGE_SIZE, MADV_DONTNEED), 0);
    system.settle();
    thp.set_enabled(Enabled::madvise);
  }
  void expect_content() {
    for (vaddr_t a = at_ + PAGE_SIZE; a < at_ + BYTES; a += 2 * PAGE_SIZE)
      ASSERT_EQ(*cpu->load<u64>(a), a);
  }

  static constexpr u64 BYTES = 56 * MIB;
  vaddr_t at_ = 0;
  vaddr_t rest_ = 0;
};

TEST_F(FragmentedMemory, PagesMoveToMakeRoomForAHugeOne) {
  const vaddr_t at = map(4 * HUGE);
  ASSERT_EQ(vm_madvise(mm, at, 4 * HUGE, MADV_HUGEPAGE), 0);
  thp.set_defrag(Defrag::never);
  touch(at);
  EXPECT_FALSE(is_huge(at));
  EXPECT_EQ(thp.statistics().compact_success, 0u);
  thp.set_defrag(Defrag::madvise);
  for (unsigned i = 1; i < 4; ++i) {
    touch(at + i * HUGE);
    EXPECT_TRUE(is_huge(at + i * HUGE));
  }
  EXPECT_GT(thp.statistics().compact_success, 0u);
  EXPECT_GT(thp.statistics().compact_pages_moved, 0u);
  expect_content();
}

TEST_F(FragmentedMemory, ACollapseMakesRoomToo) {
  EXPECT_EQ(vm_madvise(mm, at_, HUGE, MADV_COLLAPSE), 0);
  EXPECT_TRUE(is_huge(at_));
  EXPECT_EQ(thp.statistics().compact_success, 1u);
  expect_content();
}

TEST_F(FragmentedMemory, PinnedPagesStayWhereTheyAre) {
  const u64 before = used_frames();
  std::vector<PinnedPages> pinned;
  for (vaddr_t a = at_ + PAGE_SIZE; a < at_ + BYTES; a += 32 * PAGE_SIZE)
    pinned.push_back(space.pin(a, 1).value());
  EXPECT_EQ(vm_madvise(mm, at_, HUGE, MADV_COLLAPSE), -ENOMEM);
  EXPECT_EQ(thp.statistics().compact_fail, 1u);
  expect_content();
  EXPECT_EQ(used_frames(), before) << "what was taken out of the allocator is back";
}

TEST_F(FragmentedMemory, AFailureIsRememberedForAWhile) {
  const PinnedPages pinned = space.pin(rest_, 1).value();
  std::vector<PinnedPages> more;
  for (vaddr_t a = at_ + PAGE_SIZE; a < at_ + BYTES; a += 32 * PAGE_SIZE)
    more.push_back(space.pin(a, 1).value());
  for (int n = 0; n < 6; ++n)
    EXPECT_EQ(vm_madvise(mm, at_, HUGE, MADV_COLLAPSE), -ENOMEM);
  EXPECT_EQ(thp.statistics().compact_fail, 2u) << "the first time, and after two";
}

TEST_F(FragmentedMemory, PagesMoveWhileTheyAreUsed) {
  std::atomic<bool> stop{false};
  std::atomic<u64> wrong{0};
  std::jthread user([&] {
    CpuSession mine(system, 1, space);
    while (!stop)
      for (vaddr_t a = at_ + PAGE_SIZE; a < at_ + BYTES; a += 2 * PAGE_SIZE)
        if (const auto word = mine->fetch_add<u64>(a, 0); !word || *word != a) ++wrong;
  });
  for (int n = 0; n < 20; ++n) {
    const vaddr_t at = map(2 * HUGE);
    ASSERT_EQ(vm_madvise(mm, at, 2 * HUGE, MADV_HUGEPAGE), 0);
    (void)can_write(at);
    (void)can_write(at + HUGE);
    // small pages again, in pieces
    ASSERT_EQ(vm_munmap(mm, at, 2 * HUGE), 0);
  }
  stop = true;
  user.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(thp.statistics().compact_success, 0u);
  expect_content();
}

TEST_F(HugePagesTest, AddressSpacesComeAndGoWhileItLooks) {
  TransparentHugePages::Tuning how = thp.khugepaged_tuning();
  how.scan_sleep = std::chrono::milliseconds(0);
  thp.tune_khugepaged(how).value();
  thp.start_khugepaged();
  thp.set_enabled(Enabled::never); // on touch
  std::atomic<u64> wrong{0};
  const auto live_and_die = [&](unsigned id) {
    for (int n = 0; n < 60; ++n) {
      AddressSpace other(system);
      const vaddr_t at = other.mmap(HUGE).value();
      {
        CpuSession mine(system, id, other);
        for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
          if (!mine->store<u64>(a, a)) ++wrong;
        thp.set_enabled(Enabled::always);
        for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
          if (const auto word = mine->load<u64>(a); !word || *word != a) ++wrong;
        thp.set_enabled(Enabled::never);
      }
    }
  };
  {
    std::jthread one(live_and_die, 1);
    std::jthread two(live_and_die, 2);
  }
  thp.stop_khugepaged();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(used_frames(), 1u) << "the root table of the space that is left";
}

} // namespace
} // namespace racewalk::test
