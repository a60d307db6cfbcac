// Flushes that are put off, and who has to flush for whom.
#include "mm/tlbbatch.h"

#include <latch>
#include <thread>

#include "mm/memory.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "world.h"

namespace racewalk::test {
namespace {

class TlbBatch : public World {
 protected:
  static constexpr s32 PENDING = 0x7fff;
  s32 pending() { return atomic_read(mm.tlb_flush_batched) & PENDING; }
  s32 flushed() { return atomic_read(mm.tlb_flush_batched) >> 16; }
  s64 flushes() { return atomic_read(mm.context.tlb_gen); }

  folio* folio_at(vaddr_t addr) {
    const pmd_t pmd = pmdp_get(find_pmd(mm, addr).pmdp);
    return page_folio(pfn_to_page(pte_pfn(ptep_get(pte_offset(pmd, addr)))));
  }

  /// Runs `body` while another CPU has the address space loaded.
  template <class F> void beside_another_cpu(F&& body) {
    std::latch loaded(1);
    std::latch done(1);
    std::thread other([&] {
      CpuSession session(system, 1, space);
      loaded.count_down();
      done.wait();
    });
    loaded.wait();
    body();
    done.count_down();
    other.join();
  }

  /// Takes the page's entry out, calls between(), and puts the entry back.
  template <class F> void unmapped(vaddr_t addr, tlbflush_unmap_batch& batch, F&& between) {
    folio* folio = folio_at(addr);
    folio_get(folio);
    folio_lock(folio);
    try_to_migrate(folio, split_entry::no, batch);
    between();
    try_to_unmap_flush(batch);
    remove_migration_ptes(&folio->page, &folio->page, 1);
    folio_unlock(folio);
    folio_put(folio);
  }
};

TEST_F(TlbBatch, AnUnmapIsFlushedAtOnceIfNobodyElseRunsInTheMm) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  tlbflush_unmap_batch batch;
  unmapped(at, batch, [&] { EXPECT_FALSE(batch.flush_required); });
  EXPECT_EQ(pending(), flushed());
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(TlbBatch, AnUnmapIsOwedUntilSomebodyFlushes) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  for (u64 i = 0; i < 4; ++i)
    touch(at + i * PAGE_SIZE);
  beside_another_cpu([&] {
    tlbflush_unmap_batch batch;
    unmapped(at, batch, [&] {
      EXPECT_TRUE(batch.flush_required);
      EXPECT_TRUE(batch.writable);
      EXPECT_NE(pending(), flushed());
      ASSERT_TRUE(space.mprotect(at + PAGE_SIZE, PAGE_SIZE, Access::read));
      EXPECT_EQ(pending(), flushed()); // mprotect() met it under the table's lock
    });
    EXPECT_FALSE(batch.flush_required);
  });
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(TlbBatch, WhatWasTakenOutIsFlushedOncePerBatch) {
  constexpr u64 PAGES = 16;
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  for (u64 i = 0; i < PAGES; ++i)
    touch(at + i * PAGE_SIZE);
  beside_another_cpu([&] {
    const pmd_lookup pmd = find_pmd(mm, at);
    tlbflush_unmap_batch batch;
    {
      pte_map_lock table(pmd.pmdp);
      for (u64 i = 0; i < PAGES; ++i) {
        const vaddr_t addr = at + i * PAGE_SIZE;
        const pte_t old = ptep_clear_batched(batch, mm, addr, table.at(addr));
        EXPECT_TRUE(pte_present(old));
        set_pte_at(addr, table.at(addr), old);
      }
      EXPECT_EQ(pending(), s32{PAGES});
      flush_tlb_batched_pending(mm);
      EXPECT_EQ(flushed(), s32{PAGES});
      const s64 before = flushes();
      flush_tlb_batched_pending(mm); // nothing has come since
      EXPECT_EQ(flushes(), before);
    }
    try_to_unmap_flush(batch);
  });
}

TEST_F(TlbBatch, TheCountBeginsAnewLongBeforeItRunsOver) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  beside_another_cpu([&] {
    atomic_set(mm.tlb_flush_batched, 0x4000 | 0x4000 << 16);
    tlbflush_unmap_batch batch;
    unmapped(at, batch, [&] {
      EXPECT_EQ(pending(), 1);
      EXPECT_EQ(flushed(), 0);
    });
  });
}

TEST_F(TlbBatch, CleanEntriesLetNoStoresThrough) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  {
    pte_map_lock table(find_pmd(mm, at).pmdp);
    set_pte_at(at, table.at(at), pte_mkclean(ptep_get(table.at(at))));
  }
  beside_another_cpu([&] {
    tlbflush_unmap_batch batch;
    unmapped(at, batch, [&] {
      EXPECT_FALSE(batch.writable);
      try_to_unmap_flush_dirty(batch);
      EXPECT_TRUE(batch.flush_required);
    });
  });
}

using Gather = TlbBatch;

TEST_F(Gather, FlushesNothingThatItHasNotRecorded) {
  mmu_gather tlb(mm);
  tlb_gather_mmu(tlb);
  EXPECT_TRUE(mm_tlb_flush_pending(mm));
  const s64 before = flushes();
  tlb_finish_mmu(tlb);
  EXPECT_EQ(flushes(), before);
  EXPECT_FALSE(mm_tlb_flush_pending(mm));
}

TEST_F(Gather, FlushesForAnotherThatIsUnderWay) {
  mmu_gather first(mm);
  mmu_gather second(mm);
  tlb_gather_mmu(first);
  tlb_gather_mmu(second);
  EXPECT_TRUE(mm_tlb_flush_nested(mm));
  const s64 before = flushes();
  tlb_finish_mmu(second);
  EXPECT_EQ(flushes(), before + 1);
  EXPECT_TRUE(mm_tlb_flush_pending(mm));
  tlb_finish_mmu(first);
  EXPECT_EQ(flushes(), before + 1);
  EXPECT_FALSE(mm_tlb_flush_pending(mm));
}

} // namespace
} // namespace racewalk::test
