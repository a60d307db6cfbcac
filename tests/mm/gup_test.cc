#include "mm/gup.h"

#include <cerrno>
#include <thread>

#include "racewalk/file.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Gup : public World {
 protected:
  page* pages[600];
};

TEST_F(Gup, FastTakesOnlyWhatIsThere) {
  const vaddr_t at = map(8 * PAGE_SIZE);
  for (int i = 0; i < 3; ++i)
    touch(at + i * PAGE_SIZE);
  EXPECT_EQ(pin_user_pages_fast_only(mm, at, 8, FOLL_WRITE, pages), 3u);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(*static_cast<u64*>(page_address(pages[i])), at + i * PAGE_SIZE);
  unpin_user_pages(pages, 3);
}

TEST_F(Gup, FallsBackAndFaultsIn) {
  const vaddr_t at = map(8 * PAGE_SIZE);
  touch(at + 2 * PAGE_SIZE);
  EXPECT_EQ(pin_user_pages_fast(mm, at, 8, FOLL_WRITE, pages), 8);
  EXPECT_EQ(anon_pages(), 8);
  ASSERT_TRUE(cpu->store<u64>(at + 7 * PAGE_SIZE, 99).ok());
  EXPECT_EQ(*static_cast<u64*>(page_address(pages[7])), 99u);
  unpin_user_pages(pages, 8);
}

TEST_F(Gup, StopsAtWhatIsNotMapped) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  ASSERT_TRUE(space.munmap(at + 2 * PAGE_SIZE, PAGE_SIZE));
  EXPECT_EQ(pin_user_pages_fast(mm, at, 4, FOLL_WRITE, pages), 2);
  unpin_user_pages(pages, 2);
  EXPECT_EQ(pin_user_pages_fast(mm, at + 2 * PAGE_SIZE, 1, FOLL_WRITE, pages), -EFAULT);
}

TEST_F(Gup, RespectsRights) {
  const vaddr_t at = space.mmap(PAGE_SIZE, Access::read).value();
  EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE, pages), -EFAULT);
  EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_NONE, pages), 1);
  unpin_user_page(pages[0]);
  EXPECT_EQ(pin_user_pages_fast_only(mm, at, 1, FOLL_WRITE, pages), 0u);
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::none));
  EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_NONE, pages), -EFAULT);
}

TEST_F(Gup, ForceStoresToCopiesOnly) {
  const File file = File::in_memory(system, PAGE_SIZE).value();
  const vaddr_t shared = space.mmap(file, 0, PAGE_SIZE, Sharing::shared, Access::read).value();
  EXPECT_EQ(pin_user_pages_fast(mm, shared, 1, FOLL_WRITE | FOLL_FORCE, pages), -EFAULT);
  EXPECT_FALSE(can_write(shared));
  const vaddr_t own = space.mmap(file, 0, PAGE_SIZE, Sharing::private_copy, Access::read).value();
  ASSERT_EQ(pin_user_pages_fast(mm, own, 1, FOLL_WRITE | FOLL_FORCE, pages), 1);
  *static_cast<u64*>(page_address(pages[0])) = 7;
  unpin_user_page(pages[0]);
  EXPECT_EQ(cpu->load<u64>(own).value(), 7U);
  EXPECT_EQ(cpu->load<u64>(shared).value(), 0U);
}

TEST_F(Gup, RefusesAddressesThatCannotBe) {
  EXPECT_EQ(pin_user_pages_fast(mm, geometry().address_limit(), 1, FOLL_NONE, pages), -EINVAL);
  EXPECT_EQ(pin_user_pages_fast(mm, PAGE_SIZE, ~u64{0} >> 12, FOLL_NONE, pages), -EINVAL);
  EXPECT_EQ(pin_user_pages_fast(mm, 0, 1, FOLL_NONE, pages), -EFAULT);
}

TEST_F(Gup, PinsCountOnSmallFoliosInTheReferenceCount) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE, pages), 1);
  folio* folio = page_folio(pages[0]);
  EXPECT_EQ(folio_ref_count(folio), 1 + GUP_PIN_COUNTING_BIAS);
  EXPECT_TRUE(folio_maybe_dma_pinned(folio));
  page* second = nullptr;
  ASSERT_EQ(get_user_pages_fast(mm, at, 1, FOLL_NONE, &second), 1);
  EXPECT_EQ(folio_ref_count(folio), 2 + GUP_PIN_COUNTING_BIAS);
  unpin_user_page(pages[0]);
  EXPECT_FALSE(folio_maybe_dma_pinned(folio));
  put_page(second);
  EXPECT_EQ(folio_ref_count(folio), 1);
}

TEST_F(Gup, PinsCountExactlyOnLargeFolios) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  touch(at);
  ASSERT_EQ(pin_user_pages_fast(mm, at + PAGE_SIZE, 511, FOLL_WRITE, pages), 511);
  folio* folio = page_folio(pages[0]);
  EXPECT_EQ(folio_page(folio, 1), pages[0]);
  EXPECT_EQ(folio->page._pincount.raw().load(), 511);
  EXPECT_EQ(folio_ref_count(folio), 512);
  unpin_user_pages(pages, 511);
  EXPECT_FALSE(folio_maybe_dma_pinned(folio));
  EXPECT_EQ(folio_ref_count(folio), 1);
}

TEST_F(Gup, PinsPagesOfACutHugePage) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  touch(at + 5 * PAGE_SIZE);
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  ASSERT_EQ(pin_user_pages_fast(mm, at + 5 * PAGE_SIZE, 4, FOLL_WRITE, pages), 4);
  EXPECT_EQ(*static_cast<u64*>(page_address(pages[0])), at + 5 * PAGE_SIZE);
  EXPECT_EQ(page_folio(pages[0]), page_folio(pages[3]));
  unpin_user_pages(pages, 4);
}

TEST_F(Gup, CrossesTables) {
  const vaddr_t at = map(6 * MIB);
  const vaddr_t start = at + 2 * MIB - 3 * PAGE_SIZE;
  for (int i = 0; i < 600; ++i)
    touch(start + i * PAGE_SIZE);
  ASSERT_EQ(pin_user_pages_fast_only(mm, start, 600, FOLL_WRITE, pages), 600u);
  for (int i = 0; i < 600; ++i)
    EXPECT_EQ(*static_cast<u64*>(page_address(pages[i])), start + i * PAGE_SIZE);
  unpin_user_pages(pages, 600);
}

TEST_F(Gup, APinOutlivesTheMapping) {
  const u64 before = used_frames();
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  auto pin = space.pin(at, 1).value();
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  const vaddr_t other = map(4 * MIB);
  for (u64 addr = other; addr < other + 4 * MIB; addr += PAGE_SIZE)
    touch(addr);
  EXPECT_EQ(*reinterpret_cast<u64*>(pin[0].data()), at) << "the frame was not given to anyone";
  ASSERT_TRUE(space.munmap(other, 4 * MIB));
  EXPECT_EQ(used_frames(), before + 1);
  { PinnedPages gone = std::move(pin); }
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Gup, AnyAllocationMayFail) {
  const vaddr_t at = map(MIB);
  const unsigned failures = fail_each_allocation([&] {
    const long got = pin_user_pages_fast(mm, at, 2, FOLL_WRITE, pages);
    if (got > 0) unpin_user_pages(pages, static_cast<u64>(got));
    if (got < 0) {
      EXPECT_EQ(got, -ENOMEM);
    }
    return got != 2;
  });
  EXPECT_GE(failures, 3u);
}

TEST_F(Gup, SlowPathPinsTheSamePages) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  ASSERT_EQ(pin_user_pages(mm, at, 4, FOLL_WRITE, pages), 4);
  page* fast[4];
  ASSERT_EQ(pin_user_pages_fast_only(mm, at, 4, FOLL_WRITE, fast), 4u);
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(fast[i], pages[i]);
  unpin_user_pages(pages, 4);
  unpin_user_pages(fast, 4);
}

// ptrace() writes where the program may not: that gives the program no right to.
TEST_F(Gup, AForcedWriteLetsNobodyElseStore) {
  for (const auto huge : {AddressSpace::HugePages::no, AddressSpace::HugePages::yes}) {
    const vaddr_t at = (map(4 * MIB) + 2 * MIB - 1) & pmd_mask();
    ASSERT_TRUE(space.madvise(at, 2 * MIB, huge));
    ASSERT_TRUE(space.mprotect(at, 2 * MIB, Access::read));
    page* pinned = nullptr;
    ASSERT_EQ(pin_user_pages(mm, at, 1, FOLL_WRITE | FOLL_FORCE, &pinned), 1);
    WRITE_ONCE(page_words(pinned)[0], 7);
    unpin_user_page(pinned);
    EXPECT_FALSE(can_write(at));
    EXPECT_EQ(*cpu->load<u64>(at), 7U);
  }
}

} // namespace
} // namespace racewalk::test
