// References, pins, the folio lock, writeback and rmap, on pages that the tests hold themselves.
#include <csetjmp>
#include <thread>

#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "mm/rmap.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Page : public World {
 protected:
  folio* alloc(unsigned order = 0) { return page_folio(alloc_pages(order, GFP_ZERO)); }
};

TEST_F(Page, ComesWithOneReferenceAndZeroed) {
  folio* f = alloc();
  EXPECT_EQ(folio_ref_count(f), 1);
  EXPECT_FALSE(folio_test_large(f));
  const auto* bytes = static_cast<const char*>(page_address(&f->page));
  EXPECT_TRUE(std::all_of(bytes, bytes + PAGE_SIZE, [](char c) { return c == 0; }));
  folio_put(f);
}

TEST_F(Page, TailsOfALargeFolioLeadToItsHead) {
  folio* f = alloc(3);
  EXPECT_TRUE(folio_test_large(f));
  EXPECT_EQ(folio_nr_pages(f), 8u);
  for (u64 i = 0; i < 8; ++i)
    EXPECT_EQ(page_folio(folio_page(f, i)), f);
  page* tail = folio_page(f, 5);
  folio_put(f);
  // the same frames, one by one, are small folios of their own
  system.settle();
  std::vector<folio*> all;
  for (page* p = alloc_page(GFP_KERNEL); p != nullptr; p = alloc_page(GFP_KERNEL)) {
    EXPECT_EQ(&page_folio(p)->page, p);
    all.push_back(page_folio(p));
  }
  EXPECT_EQ(&page_folio(tail)->page, tail);
  for (folio* one : all)
    folio_put(one);
}

TEST_F(Page, OfWhichNobodyHoldsAReferenceCannotBeGot) {
  folio* f = alloc();
  EXPECT_TRUE(folio_try_get(f));
  folio_put(f);
  folio_put(f);
  EXPECT_FALSE(folio_try_get(f));
}

TEST_F(Page, FreezesOnlyForItsOnlyHolder) {
  folio* f = alloc();
  folio_get(f);
  EXPECT_FALSE(folio_ref_freeze(f, 1));
  folio_put(f);
  EXPECT_TRUE(folio_ref_freeze(f, 1));
  EXPECT_FALSE(folio_try_get(f));
  folio_ref_unfreeze(f, 1);
  EXPECT_TRUE(folio_try_get(f));
  folio_put_refs(f, 2);
}

TEST_F(Page, PinsAreRefusedBeyondTheSign) {
  folio* f = alloc();
  atomic_set(f->page._refcount, -1000);
  EXPECT_FALSE(folio_try_add_pins(f, 1));
  atomic_set(f->page._refcount, 1);
  folio_put(f);
}

TEST_F(Page, ManyReferencesLookLikeAPin) {
  folio* f = alloc();
  folio_ref_add(f, GUP_PIN_COUNTING_BIAS - 2);
  EXPECT_FALSE(folio_maybe_dma_pinned(f));
  folio_get(f);
  EXPECT_TRUE(folio_maybe_dma_pinned(f)) << "allowed: a false positive costs a copy";
  folio_put_refs(f, GUP_PIN_COUNTING_BIAS);
  folio* large = alloc(2);
  folio_ref_add(large, 5000);
  EXPECT_FALSE(folio_maybe_dma_pinned(large)) << "large folios count exactly";
  folio_put_refs(large, 5001);
}

TEST_F(Page, LockExcludes) {
  folio* f = alloc();
  u64 counter = 0;
  const auto count = [&] {
    for (int i = 0; i < 20000; ++i) {
      folio_lock(f);
      ++counter;
      folio_unlock(f);
    }
  };
  {
    std::jthread other(count);
    count();
  }
  EXPECT_EQ(counter, 40000u);
  EXPECT_TRUE(folio_trylock(f));
  EXPECT_FALSE(folio_trylock(f));
  folio_unlock(f);
  folio_put(f);
}

TEST_F(Page, WritebackIsWaitedFor) {
  folio* f = alloc();
  ASSERT_EQ(folio_begin_writeback(f), writeback_decision::unpinned);
  EXPECT_TRUE(folio_test_writeback(f));
  std::atomic<bool> ended{false};
  std::jthread waiter([&] {
    folio_wait_writeback(f);
    EXPECT_TRUE(ended);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ended = true;
  folio_end_writeback(f);
  waiter.join();
  folio_put(f);
}

TEST_F(Page, WritebackIsToldOfPins) {
  folio* f = alloc();
  ASSERT_EQ(get_page_pin(f), pin_result::pinned);
  EXPECT_EQ(folio_begin_writeback(f), writeback_decision::pinned);
  folio_end_writeback(f);
  folio_put_pins(f, 1);
  EXPECT_EQ(folio_begin_writeback(f), writeback_decision::unpinned);
  folio_end_writeback(f);
  folio_put(f);
}

class Rmap : public World {
 protected:
  folio* folio_at(vaddr_t addr) {
    page* page = nullptr;
    EXPECT_EQ(get_user_pages_fast(mm, addr, 1, FOLL_NONE, &page), 1);
    return page_folio(page);
  }
  bool mkclean(folio* f) {
    folio_lock(f);
    const bool cleaned = folio_mkclean(f);
    folio_unlock(f);
    return cleaned;
  }
};

TEST_F(Rmap, MkcleanMakesTheNextStoreFault) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  folio* f = folio_at(at);
  EXPECT_TRUE(mkclean(f));
  EXPECT_FALSE(mkclean(f)) << "nothing was stored since";
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_FALSE(mkclean(f));
  touch(at);
  EXPECT_TRUE(mkclean(f));
  folio_put(f);
}

TEST_F(Rmap, MkcleanReachesHugePages) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  touch(at + MIB);
  folio* f = folio_at(at);
  EXPECT_TRUE(mkclean(f));
  EXPECT_FALSE(mkclean(f));
  touch(at + 300 * PAGE_SIZE);
  EXPECT_TRUE(mkclean(f));
  EXPECT_EQ(*cpu->load<u64>(at + MIB), at + MIB);
  folio_put(f);
}

TEST_F(Rmap, MkcleanReachesThePagesOfACutHugePage) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  touch(at);
  ASSERT_TRUE(space.munmap(at + MIB, PAGE_SIZE));
  folio* f = folio_at(at);
  EXPECT_TRUE(mkclean(f));
  EXPECT_FALSE(mkclean(f));
  touch(at + 3 * PAGE_SIZE);
  EXPECT_TRUE(mkclean(f));
  folio_put(f);
}

TEST_F(Rmap, MkcleanOfWhatIsNotMappedDoesNothing) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  folio* f = folio_at(at);
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  EXPECT_FALSE(mkclean(f));
  folio_put(f);
}

using PageDeathTest = Page;

TEST_F(PageDeathTest, ReportsBrokenInvariants) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  folio* f = alloc();
  EXPECT_DEATH(folio_unlock(f), "INV-REF");
  EXPECT_DEATH(folio_put_refs(f, 2), "INV-REF");
  EXPECT_DEATH(folio_put_pins(f, 1), "INV-REF");
  EXPECT_DEATH(folio_end_writeback(f), "INV-DIRTY");
  EXPECT_DEATH(
      {
        folio_lock(f);
        folio_put(f);
      },
      "INV-REF");
  folio_put(f);
}

} // namespace
} // namespace racewalk::test
