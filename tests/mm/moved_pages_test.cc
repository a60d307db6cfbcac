// Who comes from a folio finds its entries wherever mremap has moved them: vm_pgoff and the folio's index
// stay, and the regions where pages go are linked to where they come from.
#include <sys/mman.h>

#include <cerrno>

#include "host_file.h"
#include "mm/anon_vma.h"
#include "mm/khugepaged.h"
#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "mm/vma.h"
#include "racewalk/page_merger.h"

namespace racewalk::test {
namespace {

class MovedPages : public HostFile {
 protected:
  static constexpr u64 PAGES = 4;
  static constexpr u64 BYTES = PAGES * PAGE_SIZE;
  static constexpr vaddr_t elsewhere = u64{9} << 39; ///< another region

  void swapon() { ASSERT_TRUE(system.reclaim().swapon(directory + "/swap", 4096 * PAGE_SIZE)); }
  vaddr_t touched(u64 bytes = BYTES) {
    const vaddr_t at = map(bytes);
    touch_all(at, bytes);
    return at;
  }
  /// In the region that it is in, among nothing else.
  vaddr_t place_near(vaddr_t at) { return (at & ~((u64{1} << 39) - 1)) + (u64{1} << 33); }
  vaddr_t moved(vaddr_t at, vaddr_t to, u64 bytes = BYTES) {
    EXPECT_EQ(space.mremap_fixed(at, bytes, bytes, to).value(), to);
    return to;
  }
  void expect_content(vaddr_t at, vaddr_t written_at, u64 bytes = BYTES) {
    for (u64 done = 0; done < bytes; done += PAGE_SIZE)
      ASSERT_EQ(*cpu->load<u64>(at + done), written_at + done) << done;
  }
  s64 swapped() { return get_mm_counter(mm, MM_SWAPENTS); }
  void expect_reclaim_finds(vaddr_t at, vaddr_t written_at) {
    ASSERT_EQ(vm_madvise(mm, at, BYTES, MADV_PAGEOUT), 0);
    EXPECT_EQ(swapped(), s64{PAGES});
    EXPECT_EQ(anon_pages(), 0);
    expect_content(at, written_at);
    EXPECT_EQ(swapped(), 0);
    EXPECT_TRUE(can_write(at));
  }
};

TEST_F(MovedPages, ReclaimFindsThem) {
  swapon();
  const vaddr_t from = touched();
  vaddr_t at = moved(from, place_near(from));
  expect_reclaim_finds(at, from);
  at = moved(at, elsewhere);
  expect_reclaim_finds(at, from);
  at = moved(at, from);
  expect_reclaim_finds(at, from);
}

TEST_F(MovedPages, SwappedOnesAreFoundOnceTheyAreBack) {
  swapon();
  const vaddr_t from = touched();
  ASSERT_EQ(vm_madvise(mm, from, BYTES, MADV_PAGEOUT), 0);
  const vaddr_t at = moved(from, elsewhere);
  EXPECT_EQ(swapped(), s64{PAGES});
  expect_content(at, from);
  expect_reclaim_finds(at, from);
}

TEST_F(MovedPages, TheyCanBeMovedToOtherFrames) {
  const vaddr_t from = touched();
  vaddr_t at = moved(from, place_near(from));
  for (const vaddr_t to : {elsewhere, elsewhere + HUGE, from}) {
    const u64 frame = space.pagemap(at, 1).value()[0].pfn();
    ASSERT_EQ(migrate_page_at(mm, at), 0);
    EXPECT_NE(space.pagemap(at, 1).value()[0].pfn(), frame);
    expect_content(at, from);
    at = moved(at, to);
  }
  expect_content(at, from);
}

TEST_F(MovedPages, AHugePageIsSplitAndMoved) {
  const vaddr_t from = huge_page();
  const vaddr_t at = moved(from, elsewhere, HUGE);
  ASSERT_TRUE(is_huge(at));
  ASSERT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_TRUE(is_huge(at));
  ASSERT_EQ(split_page_at(mm, at + PAGE_SIZE), 0);
  EXPECT_FALSE(is_huge(at));
  expect_content(at, from, HUGE);
  // and of one that is mapped page by page, as it does not fit there
  const vaddr_t another = huge_page();
  const vaddr_t unfit = moved(another, elsewhere + 4 * HUGE + PAGE_SIZE, HUGE);
  ASSERT_EQ(split_page_at(mm, unfit), 0);
  ASSERT_EQ(migrate_page_at(mm, unfit + 5 * PAGE_SIZE), 0);
  expect_content(unfit, another, HUGE);
}

TEST_F(MovedPages, ACollapseWhereTheyAreIsFoundToo) {
  const vaddr_t from = touched(HUGE);
  const vaddr_t at = moved(from, elsewhere, HUGE);
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  ASSERT_TRUE(is_huge(at));
  ASSERT_EQ(split_page_at(mm, at), 0);
  ASSERT_EQ(migrate_page_at(mm, at + PAGE_SIZE), 0);
  expect_content(at, from, HUGE);
}

TEST_F(MovedPages, EqualOnesBecomeOne) {
  PageMerger merger{system};
  merger.watch(space);
  const vaddr_t from = map(BYTES);
  space.madvise(from, BYTES, AddressSpace::Mergeable::yes).value();
  for (u64 i = 0; i < BYTES; i += 8)
    ASSERT_TRUE(cpu->store<u64>(from + i, 7).ok());
  const vaddr_t at = moved(from, elsewhere);
  for (int pass = 0; pass < 3; ++pass)
    merger.scan(1'000'000);
  EXPECT_EQ(merger.statistics().pages_sharing, PAGES - 1);
  ASSERT_TRUE(cpu->store<u64>(at, 8).ok());
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 7U);
  merger.forget(space);
}

TEST_F(MovedPages, BothSidesOfAForkAreFound) {
  swapon();
  const vaddr_t from = touched();
  const vaddr_t at = moved(from, elsewhere);
  const auto child = space.fork().value();
  const vaddr_t back = moved(at, place_near(from)); // the child still has it elsewhere
  EXPECT_GE(system.reclaim().shrink(PAGES), PAGES);
  EXPECT_EQ(swapped() + get_mm_counter(child->mm(), MM_SWAPENTS), s64{2 * PAGES});
  expect_content(back, from);
  cpu.switch_to(*child);
  expect_content(elsewhere, from);
  ASSERT_TRUE(cpu->store<u64>(elsewhere, 1).ok());
  cpu.switch_to(space);
  EXPECT_EQ(*cpu->load<u64>(back), from);
}

TEST_F(MovedPages, APrivateCopyOfAFileIsFound) {
  swapon();
  const long mapped = vm_mmap(mm, 0, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  ASSERT_GT(mapped, 0);
  file& shmem = *mm.existing_region(static_cast<vaddr_t>(mapped))
                     ->areas.find_vma(static_cast<vaddr_t>(mapped))
                     ->vm_file.get();
  const vaddr_t from = static_cast<vaddr_t>(
      do_mmap(mm, 0, 2 * PAGE_SIZE, 0, {.flags = VM_READ | VM_WRITE, .backing = &shmem, .pgoff = 2}));
  touch(from);
  touch(from + PAGE_SIZE);
  vaddr_t at = from;
  for (const vaddr_t to : {place_near(from), elsewhere}) {
    ASSERT_EQ(migrate_page_at(mm, at), 0);
    at = moved(at, to, 2 * PAGE_SIZE);
  }
  ASSERT_EQ(vm_madvise(mm, at, 2 * PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(swapped(), 2);
  expect_content(at, from, 2 * PAGE_SIZE);
}

TEST_F(MovedPages, AreasAreJoinedWhereTheirPagesContinue) {
  const vaddr_t from = touched();
  const vaddr_t to = place_near(from);
  moved(from, to, PAGE_SIZE);
  moved(from + 2 * PAGE_SIZE, to + PAGE_SIZE, PAGE_SIZE);
  EXPECT_NE(mm.existing_region(to)->areas.find_vma(to)->vm_end.get(), to + 2 * PAGE_SIZE)
      << "what comes second is not the next page";
  moved(from + PAGE_SIZE, to + PAGE_SIZE, PAGE_SIZE);
  EXPECT_EQ(mm.existing_region(to)->areas.find_vma(to)->vm_end.get(), to + 2 * PAGE_SIZE);
  EXPECT_EQ(vm_mremap(mm, to, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 0), static_cast<long>(to));
  EXPECT_EQ(mm.existing_region(to)->areas.find_vma(to)->vm_end.get(), to + 3 * PAGE_SIZE);
}

TEST_F(MovedPages, TheRegionThatIsMovedToIsVisitedLater) {
  const vaddr_t from = touched();
  mmap_region& here = *mm.existing_region(from);
  const auto order = [&] {
    const anon_vma_chain* first = here.anon->first;
    return first->region == &here ? 1 : 2; // is this region the first?
  };
  EXPECT_EQ(order(), 1);
  moved(from, elsewhere);
  EXPECT_EQ(order(), 1);
  EXPECT_EQ(here.anon->last->region, mm.existing_region(elsewhere));
  moved(elsewhere, from);
  EXPECT_EQ(order(), 2);
  EXPECT_EQ(here.anon->last->region, &here);
}

TEST_F(MovedPages, ALinkThatFindsNoMemoryLeavesThemWhereTheyAre) {
  const vaddr_t from = touched();
  EXPECT_GT(fail_each_allocation(system.failslab(),
                                 [&] { return !space.mremap_fixed(from, BYTES, BYTES, elsewhere); }),
            0U);
  expect_content(elsewhere, from);
  ASSERT_EQ(migrate_page_at(mm, elsewhere), 0);
}

} // namespace
} // namespace racewalk::test
