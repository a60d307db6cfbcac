// Equal pages that become one, and part again.
#include "mm/ksm.h"

#include <sys/mman.h>

#include <thread>

#include "mm/gup.h"
#include "mm/pgalloc.h"
#include "racewalk/page_merger.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Ksm : public World {
 protected:
  static constexpr u64 ALL = 1'000'000;

  Ksm() { merger.watch(space); }
  ~Ksm() override { merger.forget(space); }

  /// Pages that may be merged, each full of `word(page)`.
  template <class Word> vaddr_t pages(u64 count, Word word, AddressSpace& in, Cpu& by) {
    const vaddr_t at = in.mmap(count * PAGE_SIZE).value();
    in.madvise(at, count * PAGE_SIZE, AddressSpace::Mergeable::yes).value();
    for (u64 i = 0; i < count; ++i)
      for (u64 w = 0; w < PAGE_SIZE; w += 8)
        EXPECT_TRUE(by.store<u64>(at + i * PAGE_SIZE + w, word(i)).ok());
    return at;
  }
  template <class Word> vaddr_t pages(u64 count, Word word) { return pages(count, word, space, *cpu); }
  /// What has not changed between two passes is merged.
  void merge() {
    for (int pass = 0; pass < 3; ++pass)
      merger.scan(ALL);
  }
  pfn_t pfn_of(vaddr_t addr) { return space.pagemap(addr, 1).value()[0].pfn(); }
  u64 sharing() { return merger.statistics().pages_sharing; }

  PageMerger merger{system};
};

TEST_F(Ksm, EqualPagesBecomeOneAndDifferentOnesDoNot) {
  const u64 before = used_frames();
  const vaddr_t at = pages(64, [](u64 i) { return i % 4; });
  const u64 full = used_frames();
  ASSERT_GE(full, before + 64);
  merge();
  EXPECT_EQ(merger.statistics().pages_shared, 4u);
  EXPECT_EQ(sharing(), 60u);
  EXPECT_EQ(used_frames(), full - 60);
  for (u64 i = 0; i < 64; ++i) {
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE + 8 * i), i % 4);
    EXPECT_EQ(pfn_of(at + i * PAGE_SIZE), pfn_of(at + i % 4 * PAGE_SIZE));
  }
  EXPECT_EQ(anon_pages(), 64);
}

TEST_F(Ksm, AStoreTakesACopy) {
  const vaddr_t at = pages(3, [](u64) { return 7; });
  merge();
  ASSERT_EQ(sharing(), 2u);
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 8).ok());
  EXPECT_EQ(sharing(), 1u);
  EXPECT_EQ(*cpu->load<u64>(at), 7u);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 8u);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE + 8), 7u);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), 7u);
}

TEST_F(Ksm, TheLastToUseAPageCopiesItTooAndItIsGivenUp) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  merge();
  const u64 used = used_frames();
  for (u64 i = 0; i < 2; ++i)
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, i).ok());
  EXPECT_EQ(used_frames(), used + 1);
  EXPECT_EQ(merger.statistics().pages_shared, 0u);
}

TEST_F(Ksm, PagesOfDifferentSpacesBecomeOne) {
  AddressSpace other(system);
  const vaddr_t at = pages(1, [](u64) { return 5; });
  cpu.switch_to(other);
  const vaddr_t there = pages(
      1, [](u64) { return 5; }, other, *cpu);
  merger.watch(other);
  merge();
  EXPECT_EQ(sharing(), 1u);
  EXPECT_EQ(other.pagemap(there, 1).value()[0].pfn(), pfn_of(at));
  ASSERT_TRUE(cpu->store<u64>(there, 6).ok());
  cpu.switch_to(space);
  EXPECT_EQ(*cpu->load<u64>(at), 5u);
  merger.forget(other);
}

TEST_F(Ksm, WhatChangesAllTheTimeIsLeftAlone) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  for (u64 n = 0; n < 4; ++n) {
    for (u64 i = 0; i < 2; ++i)
      ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, n).ok());
    merger.scan(ALL);
  }
  EXPECT_EQ(sharing(), 0u);
}

TEST_F(Ksm, OnlyWhatIsMergeableIsMerged) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  ASSERT_TRUE(space.madvise(at, PAGE_SIZE, AddressSpace::Mergeable::no));
  merge();
  EXPECT_EQ(sharing(), 0u);
}

TEST_F(Ksm, APinnedPageIsLeftAlone) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  const PinnedPages pin = space.pin(at, 1).value();
  merge();
  EXPECT_EQ(sharing(), 0u);
  pin[0][0] = std::byte{9};
  EXPECT_EQ(*cpu->load<u8>(at), 9);
}

TEST_F(Ksm, APinOfAMergedPageGetsACopy) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  merge();
  ASSERT_EQ(sharing(), 1u);
  const PinnedPages pin = space.pin(at, 1).value();
  pin[0][0] = std::byte{9};
  EXPECT_EQ(*cpu->load<u8>(at), 9);
  EXPECT_EQ(*cpu->load<u8>(at + PAGE_SIZE), 7);
}

TEST_F(Ksm, WhatIsNotMergeableAnyMorePartsAgain) {
  const vaddr_t at = pages(4, [](u64) { return 7; });
  merge();
  ASSERT_EQ(sharing(), 3u);
  ASSERT_TRUE(space.madvise(at, 4 * PAGE_SIZE, AddressSpace::Mergeable::no));
  EXPECT_EQ(sharing(), 0u);
  for (u64 i = 1; i < 4; ++i)
    EXPECT_NE(pfn_of(at), pfn_of(at + i * PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at + 3 * PAGE_SIZE), 7u);
}

TEST_F(Ksm, PartingMayFailForWantOfMemory) {
  const vaddr_t at = pages(4, [](u64) { return 7; });
  merge();
  ASSERT_EQ(sharing(), 3u);
  system.fail_page_alloc().fail_nth(1);
  EXPECT_EQ(vm_madvise(mm, at, 4 * PAGE_SIZE, MADV_UNMERGEABLE), -ENOMEM);
  system.fail_page_alloc().fail_nth(0);
  for (u64 i = 0; i < 4; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), 7u);
}

TEST_F(Ksm, AMergedPageIsNotFreedLazily) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  merge();
  ASSERT_EQ(sharing(), 1u);
  ASSERT_EQ(vm_madvise(mm, at, 2 * PAGE_SIZE, MADV_FREE), 0);
  ASSERT_EQ(vm_madvise(mm, at, 2 * PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(*cpu->load<u64>(at), 7u);
  EXPECT_EQ(sharing(), 1u);
}

TEST_F(Ksm, AChildHasItsParentsMergedPages) {
  const vaddr_t at = pages(2, [](u64) { return 7; });
  merge();
  {
    const auto child = space.fork().value();
    EXPECT_EQ(sharing(), 3u);
    cpu.switch_to(*child);
    ASSERT_TRUE(cpu->store<u64>(at, 8).ok());
    cpu.switch_to(space);
  }
  EXPECT_EQ(*cpu->load<u64>(at), 7u);
  EXPECT_EQ(sharing(), 1u);
}

// Programs store and compare while a thread merges what they have in common.
TEST_F(Ksm, NothingIsLostWhileAThreadMerges) {
  constexpr u64 PAGES = 32;
  constexpr u64 ROUNDS = 4000;
  const vaddr_t at = pages(PAGES, [](u64) { return 0; });
  merger.start(PAGES, std::chrono::milliseconds(0));
  u64 written[PAGES] = {};
  u64 state = 1;
  for (u64 n = 0; n < ROUNDS; ++n) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const u64 i = (state >> 33) % PAGES;
    ASSERT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), written[i]) << n;
    written[i] = (state >> 60) % 2;
    ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE, written[i]).ok());
  }
  std::thread([this] { merger.stop(); }).join();
  for (u64 i = 0; i < PAGES; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), written[i]);
}

} // namespace
} // namespace racewalk::test
