#include "mm/fork.h"

#include <thread>

#include "mm/khugepaged.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Fork : public World {
 protected:
  std::unique_ptr<AddressSpace> fork() { return space.fork().value(); }
  /// What a CPU that runs in `other` reads at `addr`.
  u64 read_in(AddressSpace& other, vaddr_t addr) {
    cpu.switch_to(other);
    const u64 word = *cpu->load<u64>(addr);
    cpu.switch_to(space);
    return word;
  }
  void write_in(AddressSpace& other, vaddr_t addr, u64 word) {
    cpu.switch_to(other);
    ASSERT_TRUE(cpu->store<u64>(addr, word).ok());
    cpu.switch_to(space);
  }
  vaddr_t map_huge(u64 bytes) {
    const vaddr_t at = map(bytes);
    EXPECT_TRUE(space.madvise(at, bytes, AddressSpace::HugePages::yes));
    return at;
  }
  page* page_of(AddressSpace& other, vaddr_t addr) {
    page* found = nullptr;
    EXPECT_EQ(get_user_pages_fast(other.mm(), addr, 1, FOLL_NONE, &found), 1);
    put_page(found);
    return found;
  }
  static s64 anon_pages_of(AddressSpace& other) { return get_mm_counter(other.mm(), MM_ANONPAGES); }
  static u64 chains(const mmap_region& region) {
    u64 n = 0;
    for (const anon_vma_chain* c = region.chains; c != nullptr; c = c->next_of_region)
      ++n;
    return n;
  }
};

TEST_F(Fork, ShowsTheSameMemoryUntilEitherStores) {
  const vaddr_t at = map(16 * PAGE_SIZE);
  for (int i = 0; i < 8; ++i)
    touch(at + i * PAGE_SIZE);
  const u64 before = used_frames();
  const auto child = fork();
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(read_in(*child, at + i * PAGE_SIZE), at + i * PAGE_SIZE);
  EXPECT_EQ(read_in(*child, at + 8 * PAGE_SIZE), 0u);
  EXPECT_EQ(anon_pages_of(*child), 8);
  EXPECT_LE(used_frames(), before + 4) << "a root and three tables";
  write_in(*child, at, 1);
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 2).ok());
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(read_in(*child, at), 1u);
  EXPECT_EQ(read_in(*child, at + PAGE_SIZE), at + PAGE_SIZE);
}

TEST_F(Fork, GivesEverythingBack) {
  const u64 before = used_frames();
  {
    const vaddr_t at = map_huge(4 * MIB);
    touch(at);
    touch(at + 2 * MIB);
    const auto child = fork();
    write_in(*child, at, 1);
    const auto grandchild = child->fork().value();
    write_in(*grandchild, at + 2 * MIB, 2);
    ASSERT_TRUE(space.munmap(at, 4 * MIB));
    EXPECT_EQ(read_in(*grandchild, at), 1u);
  }
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Fork, TheLastOneKeepsThePage) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const page* page = page_of(space, at);
  {
    const auto child = fork();
    EXPECT_EQ(page_of(*child, at), page);
    EXPECT_FALSE(PageAnonExclusive(page));
  }
  ASSERT_TRUE(cpu->store<u64>(at, 1).ok());
  EXPECT_EQ(page_of(space, at), page) << "nobody else has it: why copy?";
  EXPECT_TRUE(PageAnonExclusive(page));
}

TEST_F(Fork, ACopyIsMadeOncePerPage) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = fork();
  const page* shared = page_of(space, at);
  ASSERT_TRUE(cpu->store<u64>(at, 1).ok());
  const page* own = page_of(space, at);
  EXPECT_NE(own, shared);
  write_in(*child, at, 2);
  EXPECT_EQ(page_of(*child, at), shared) << "it is the child's alone by then";
  ASSERT_TRUE(cpu->store<u64>(at, 3).ok());
  EXPECT_EQ(page_of(space, at), own);
}

TEST_F(Fork, HugePagesAreSharedWholeAndCopiedInPart) {
  const vaddr_t at = map_huge(2 * MIB);
  for (u64 i = 0; i < hpage_pmd_nr(); ++i)
    touch(at + i * PAGE_SIZE);
  const auto child = fork();
  EXPECT_TRUE(pmd_trans_huge(pmdp_get(find_pmd(child->mm(), at).pmdp)));
  write_in(*child, at + 7 * PAGE_SIZE, 1);
  EXPECT_FALSE(pmd_trans_huge(pmdp_get(find_pmd(child->mm(), at).pmdp)));
  EXPECT_TRUE(pmd_trans_huge(pmdp_get(find_pmd(mm, at).pmdp)));
  for (u64 i = 0; i < hpage_pmd_nr(); ++i) {
    const vaddr_t addr = at + i * PAGE_SIZE;
    EXPECT_EQ(*cpu->load<u64>(addr), addr);
    EXPECT_EQ(read_in(*child, addr), i == 7 ? 1 : addr);
  }
}

TEST_F(Fork, AHugePageThatIsOnesOwnAgainStaysWhole) {
  const vaddr_t at = map_huge(2 * MIB);
  touch(at);
  { const auto child = fork(); }
  ASSERT_TRUE(cpu->store<u64>(at, 1).ok());
  EXPECT_TRUE(pmd_trans_huge(pmdp_get(find_pmd(mm, at).pmdp)));
}

TEST_F(Fork, PinnedPagesStayTheParents) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  for (int i = 0; i < 4; ++i)
    touch(at + i * PAGE_SIZE);
  const auto pinned = space.pin(at + PAGE_SIZE, 1).value();
  const page* page = page_of(space, at + PAGE_SIZE);
  const auto child = fork();
  EXPECT_TRUE(PageAnonExclusive(page));
  EXPECT_NE(page_of(*child, at + PAGE_SIZE), page);
  pinned[0][0] = std::byte{42}; // a device
  EXPECT_EQ(*cpu->load<std::uint8_t>(at + PAGE_SIZE), 42);
  EXPECT_EQ(read_in(*child, at + PAGE_SIZE), at + PAGE_SIZE);
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 43).ok());
  EXPECT_EQ(pinned[0][0], std::byte{43}) << "the store goes where the device looks";
}

TEST_F(Fork, APinnedPageOfAHugeOneStaysTheParents) {
  const vaddr_t at = map_huge(2 * MIB);
  touch(at + 5 * PAGE_SIZE);
  const auto pinned = space.pin(at + 5 * PAGE_SIZE, 1).value();
  const auto child = fork();
  ASSERT_TRUE(cpu->store<u64>(at + 5 * PAGE_SIZE, 43).ok());
  EXPECT_EQ(pinned[0][0], std::byte{43});
  EXPECT_EQ(read_in(*child, at + 5 * PAGE_SIZE), at + 5 * PAGE_SIZE);
}

TEST_F(Fork, APinToReadUnshares) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = fork();
  const auto pinned = child->pin(at, 1, Access::read).value();
  write_in(*child, at, 7);
  EXPECT_EQ(pinned[0][0], std::byte{7}) << "the pin and the program see the same page";
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(Fork, APinToReadUnsharesPartOfAHugePage) {
  const vaddr_t at = map_huge(2 * MIB);
  touch(at + 3 * PAGE_SIZE);
  const auto child = fork();
  const auto pinned = child->pin(at + 3 * PAGE_SIZE, 1, Access::read).value();
  write_in(*child, at + 3 * PAGE_SIZE, 7);
  EXPECT_EQ(pinned[0][0], std::byte{7});
  EXPECT_EQ(*cpu->load<u64>(at + 3 * PAGE_SIZE), at + 3 * PAGE_SIZE);
}

TEST_F(Fork, AReferenceToReadDoesNot) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = fork();
  EXPECT_EQ(page_of(*child, at), page_of(space, at));
}

TEST_F(Fork, RightsFollowTheArea) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  const auto child = fork();
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read));
  EXPECT_FALSE(can_write(at));
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read_write));
  ASSERT_TRUE(cpu->store<u64>(at, 9).ok());
  EXPECT_EQ(read_in(*child, at), at) << "giving the right to store back does not give the page";
}

TEST_F(Fork, AForcedWriteGoesToACopy) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read));
  const auto child = fork();
  page* got = nullptr;
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE, &got), -EFAULT);
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE | FOLL_FORCE, &got), 1);
  WRITE_ONCE(page_words(got)[0], u64{1});
  unpin_user_page(got);
  EXPECT_EQ(*cpu->load<u64>(at), 1u);
  EXPECT_EQ(read_in(*child, at), at);
  EXPECT_FALSE(can_write(at));
}

TEST_F(Fork, SharedPagesMove) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = fork();
  const auto grandchild = child->fork().value();
  const page* before = page_of(space, at);
  ASSERT_EQ(migrate_page_at(child->mm(), at), 0);
  const page* after = page_of(space, at);
  EXPECT_NE(after, before);
  EXPECT_EQ(page_of(*child, at), after);
  EXPECT_EQ(page_of(*grandchild, at), after);
  write_in(*grandchild, at, 5);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(read_in(*child, at), at);
}

TEST_F(Fork, SharedHugePagesMoveAndSplit) {
  const vaddr_t at = map_huge(2 * MIB);
  for (u64 i = 0; i < hpage_pmd_nr(); ++i)
    touch(at + i * PAGE_SIZE);
  const auto child = fork();
  ASSERT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_EQ(page_of(*child, at), page_of(space, at));
  write_in(*child, at, 5); // takes its entry apart
  ASSERT_EQ(split_page_at(mm, at + PAGE_SIZE), 0);
  EXPECT_FALSE(folio_test_large(page_folio(page_of(*child, at + PAGE_SIZE))));
  for (u64 i = 0; i < hpage_pmd_nr(); ++i) {
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), at + i * PAGE_SIZE);
    EXPECT_EQ(read_in(*child, at + i * PAGE_SIZE), i == 0 ? 5 : at + i * PAGE_SIZE);
  }
}

TEST_F(Fork, ACollapseCopiesWhatIsShared) {
  const vaddr_t at = (map(4 * MIB) + ~pmd_mask()) & pmd_mask();
  touch(at);
  const auto child = fork();
  ASSERT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), 0);
  ASSERT_TRUE(cpu->store<u64>(at, 1).ok());
  EXPECT_EQ(read_in(*child, at), at);
}

TEST_F(Fork, WriteProtectingAFolioReachesEveryone) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = fork();
  folio* folio = page_folio(page_of(space, at));
  ASSERT_TRUE(folio_trylock(folio));
  EXPECT_TRUE(folio_mkclean(folio)) << "the entries were dirty";
  EXPECT_FALSE(folio_mkclean(folio));
  folio_unlock(folio);
}

TEST_F(Fork, AnyAllocationMayFail) {
  const vaddr_t huge = map_huge(2 * MIB);
  touch(huge);
  const vaddr_t at = map(MIB);
  touch(at);
  touch(at + PAGE_SIZE);
  const auto pinned = space.pin(at, 1).value();
  const u64 before = used_frames();
  const unsigned failures = fail_each_allocation([&] {
    bool failed = false;
    {
      const auto child = space.fork();
      failed = !child;
      EXPECT_TRUE(!failed || child.error() == std::errc::not_enough_memory);
    }
    EXPECT_EQ(used_frames(), before);
    return failed;
  });
  EXPECT_GE(failures, 6u) << "a root, two or three tables above, two below, a copy of the pinned page";
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 5).ok());
  EXPECT_EQ(*cpu->load<u64>(huge), huge);
  ASSERT_TRUE(cpu->store<u64>(at, 3).ok());
  EXPECT_EQ(pinned[0][0], std::byte{3});
}

TEST_F(Fork, ACopyForWhichThereIsNoMemoryIsNotMade) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = fork();
  system.fail_page_alloc().fail_nth(1);
  EXPECT_EQ(cpu->store<u64>(at, 1).error(), fault_result::oom);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  ASSERT_TRUE(cpu->store<u64>(at, 1).ok());
}

TEST_F(Fork, ALineOfForksKeepsWalksShort) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  std::unique_ptr<AddressSpace> last = fork();
  for (int generation = 0; generation < 50; ++generation)
    last = last->fork().value();
  EXPECT_LE(chains(*last->mm().existing_region(at)), 4u);
  EXPECT_EQ(read_in(*last, at), at);
  ASSERT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_EQ(page_of(*last, at), page_of(space, at));
}

TEST_F(Fork, ThreadsThatStoreMeanwhileLoseNothing) {
  constexpr u64 PAGES = 64;
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  for (u64 i = 0; i < PAGES; ++i)
    touch(at + i * PAGE_SIZE);
  std::atomic<bool> over{false};
  std::jthread writer([&] {
    CpuSession other(system, 1, space);
    for (u64 n = 1; !over; ++n)
      for (u64 i = 0; i < PAGES; ++i) {
        const vaddr_t word = at + i * PAGE_SIZE + 8;
        ASSERT_TRUE(other->store<u64>(word, n).ok());
        ASSERT_EQ(*other->load<u64>(word), n) << "its last store is lost";
      }
  });
  for (int round = 0; round < 50; ++round) {
    const auto child = fork();
    u64 first[PAGES];
    for (u64 i = 0; i < PAGES; ++i)
      first[i] = read_in(*child, at + i * PAGE_SIZE + 8);
    for (u64 i = 0; i < PAGES; ++i) {
      EXPECT_EQ(read_in(*child, at + i * PAGE_SIZE + 8), first[i]) << "the child sees the parent's stores";
      // pages are stored to in order, so those of one round are the first ones
      EXPECT_LE(first[i], first[i == 0 ? 0 : i - 1]);
    }
  }
  over = true;
}

} // namespace
} // namespace racewalk::test
