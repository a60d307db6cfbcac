#include "mm/mmu_gather.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "machine/cpu.h"
#include "machine/tlbflush.h"
#include "mm/page_alloc.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

void reset_range(mmu_gather& tlb) {
  tlb.start = ~vaddr_t{0};
  tlb.end = 0;
  tlb.freed_tables = tlb.cleared_ptes = tlb.cleared_pmds = false;
}

void adjust_range(mmu_gather& tlb, vaddr_t addr, u64 size) {
  tlb.start = std::min(tlb.start, addr);
  tlb.end = std::max(tlb.end, addr + size);
}

/// Invalidates what was recorded since the last flush. Nothing recorded, nothing flushed (S2.7).
void tlb_flush_mmu_tlbonly(mmu_gather& tlb) {
  const bool recorded = tlb.freed_tables || tlb.cleared_ptes || tlb.cleared_pmds;
  if (!recorded && !(tlb.fullmm && policy().gather_flushes_unrecorded)) return;
  if (tlb.fullmm) {
    if (tlb.freed_tables || !arch().fullmm_skips_flush) flush_tlb_mm(tlb.mm.context);
  } else {
    const unsigned stride = tlb.cleared_ptes || !tlb.cleared_pmds ? PAGE_SHIFT : pmd_shift();
    flush_tlb_mm_range(tlb.mm.context, tlb.start, tlb.end, stride, tlb.freed_tables);
  }
  if (tlb.freed_tables) pmdp_get_lockless_sync();
  reset_range(tlb);
}

// ---- tables ----------------------------------------------------------------------------------------------

/// What is reclaimed has been in use: who comes by its PMD entry is in an RCU section, which no interrupt
/// waits for. What munmap frees, only walks with interrupts off can be in.
table_free_t table_free_rule(const mmu_gather& tlb) {
  if (policy().table_free != table_free_t::arch_default) return policy().table_free;
  return tlb.reclaim_pt || arch().table_free == table_free_rule_t::rcu ? table_free_t::rcu
                                                                       : table_free_t::at_once;
}

/// The page that an object inside a frame is in.
page* virt_to_page(const void* at) {
  const auto offset = static_cast<u64>(static_cast<const std::byte*>(at) - machine().frames());
  return pfn_to_page(offset >> PAGE_SHIFT);
}

void tlb_remove_table_free(rcu_head* head) {
  page* batch = virt_to_page(head);
  word_t* words = page_words(batch);
  const u64 nr = READ_ONCE(words[mmu_table_batch::NR]);
  for (u64 i = 0; i < nr; ++i)
    pagetable_free(pfn_to_page(READ_ONCE(words[mmu_table_batch::FIRST + i])));
  // it came with the tables, and goes back like them
  if (!explored()) std::memset(page_address(batch), 0, (mmu_table_batch::FIRST + nr) * sizeof(word_t));
  pagetable_free(batch);
}

void tlb_remove_table_rcu(rcu_head* head) {
  tlb_remove_table_free(head);
  pagetables_arrived();
}

/// Frees the tables of the batch, or sends them to be freed after a grace period; they have been flushed.
void tlb_table_flush(mmu_gather& tlb) {
  if (tlb.table_batch == nullptr) return;
  WRITE_ONCE(page_words(tlb.table_batch)[mmu_table_batch::NR], tlb.nr_tables);
  auto* batch = new (page_address(tlb.table_batch)) mmu_table_batch;
  tlb.table_batch = nullptr;
  tlb.nr_tables = 0;
  if (table_free_rule(tlb) == table_free_t::at_once) {
    tlb_remove_table_free(
        &batch->rcu); // the flush has interrupted every CPU that may have been walking the mm
    return;
  }
  // The grace period waits for every walk that may have read the entry before it was cleared: pairs with
  // lockless_walk's section in gup.cc.
  pagetables_deferred();
  call_rcu(&batch->rcu, tlb_remove_table_rcu);
}

bool add_to_table_batch(mmu_gather& tlb, page* table) {
  if (tlb.table_batch == nullptr) {
    tlb.table_batch = policy().batch_page_available ? pagetable_alloc(GFP_NOWAIT) : nullptr;
    if (tlb.table_batch == nullptr) return false;
  }
  WRITE_ONCE(page_words(tlb.table_batch)[mmu_table_batch::FIRST + tlb.nr_tables], page_to_pfn(table));
  if (++tlb.nr_tables == mmu_table_batch::MAX_TABLES) {
    tlb_flush_mmu_tlbonly(tlb);
    tlb_table_flush(tlb);
  }
  return true;
}

/// Without a batch: flush, wait for every walk with interrupts off unless the flush has, free (M5 step 2).
void tlb_remove_table_one(mmu_gather& tlb, page* table) {
  if (policy().gather_flush_before_free) tlb_flush_mmu_tlbonly(tlb);
  if (tlb.reclaim_pt && table_free_rule(tlb) == table_free_t::rcu) return pte_free_defer(table);
  // Full barrier, then an interrupt that each walk holds back: a walk that read the entry before it was
  // cleared has ended when this returns. Pairs with lockless_walk's section in gup.cc.
  if (table_free_rule(tlb) != table_free_t::at_once) tlb_remove_table_sync_one();
  pagetable_free(table);
}

// ---- pages -----------------------------------------------------------------------------------------------

bool tlb_next_batch(mmu_gather& tlb) {
  page* backing = policy().batch_page_available ? alloc_page(GFP_NOWAIT) : nullptr;
  if (backing == nullptr) return false;
  auto* memory = static_cast<std::byte*>(page_address(backing));
  auto* batch = new (memory) mmu_gather_batch;
  batch->pages = reinterpret_cast<uintptr_t*>(memory + sizeof(mmu_gather_batch));
  batch->max = (PAGE_SIZE - sizeof(mmu_gather_batch)) / sizeof(uintptr_t);
  tlb.active->next = batch;
  tlb.active = batch;
  return true;
}

constexpr uintptr_t DELAYED = 1;
page* gathered_page(uintptr_t encoded) { return reinterpret_cast<page*>(encoded & ~DELAYED); }

/// Drops the references; their entries have been flushed.
void tlb_batch_pages_flush(mmu_gather& tlb) {
  for (mmu_gather_batch* batch = &tlb.local; batch != nullptr;) {
    for (unsigned i = 0; i < batch->nr; ++i)
      free_page_and_swap_cache(gathered_page(batch->pages[i]));
    mmu_gather_batch* next = batch->next;
    if (batch != &tlb.local) put_page(virt_to_page(batch));
    batch = next;
  }
  tlb.local.nr = 0;
  tlb.local.next = nullptr;
  tlb.active = &tlb.local;
}

void tlb_gather_init(mmu_gather& tlb, bool fullmm) {
  tlb.fullmm = fullmm;
  tlb.local.max = mmu_gather_batch::ON_STACK;
  tlb.local.pages = tlb.local_pages;
  tlb.active = &tlb.local;
  // Ordered by the page-table locks: who sees an entry that this gather changed, under the same lock, sees
  // the increment (M10).
  inc_tlb_flush_pending(tlb.mm);
  if (policy().gather_nested == nested_gather_t::tested_early) tlb.nested = mm_tlb_flush_nested(tlb.mm);
}

/// Another gather of this mm may have taken out entries that this one found gone, and not flushed them yet:
/// then this one flushes everything, walk caches included. Exact only after the entries were looked at, under
/// their lock (M10).
void flush_for_nested(mmu_gather& tlb) {
  switch (policy().gather_nested) {
  case nested_gather_t::ignored:
    return;
  case nested_gather_t::tested_early:
    if (!tlb.nested) return;
    break;
  case nested_gather_t::loses_tables:
    if (!mm_tlb_flush_nested(tlb.mm)) return;
    tlb.cleared_ptes |= tlb.freed_tables; // the range is kept, what it takes to flush it is not
    tlb.freed_tables = false;
    return;
  case nested_gather_t::flush_all:
    if (!mm_tlb_flush_nested(tlb.mm)) return;
    break;
  }
  tlb.fullmm = true;
  tlb.freed_tables = true;
}

} // namespace

void tlb_gather_mmu(mmu_gather& tlb) { tlb_gather_init(tlb, false); }
void tlb_gather_mmu_fullmm(mmu_gather& tlb) { tlb_gather_init(tlb, true); }

void tlb_flush_mmu(mmu_gather& tlb) {
  if (policy().gather_flush_before_free) tlb_flush_mmu_tlbonly(tlb);
  tlb_table_flush(tlb);
  tlb_batch_pages_flush(tlb);
  if (!policy().gather_flush_before_free) tlb_flush_mmu_tlbonly(tlb);
}

void tlb_finish_mmu(mmu_gather& tlb) {
  flush_for_nested(tlb);
  tlb_flush_mmu(tlb);
  dec_tlb_flush_pending(tlb.mm);
}

void tlb_remove_tlb_entry(mmu_gather& tlb, vaddr_t addr) {
  adjust_range(tlb, addr, PAGE_SIZE);
  tlb.cleared_ptes = true;
}

void tlb_remove_pmd_tlb_entry(mmu_gather& tlb, vaddr_t addr) {
  adjust_range(tlb, addr, pmd_size());
  tlb.cleared_pmds = true;
}

bool tlb_remove_page(mmu_gather& tlb, page* page, delay_rmap delay) {
  mmu_gather_batch& batch = *tlb.active;
  batch.pages[batch.nr++] = reinterpret_cast<uintptr_t>(page) | (delay == delay_rmap::yes ? DELAYED : 0);
  return batch.nr == batch.max && !tlb_next_batch(tlb);
}

void tlb_flush_rmaps(mmu_gather& tlb) {
  tlb_flush_mmu_tlbonly(tlb);
  for (mmu_gather_batch* batch = &tlb.local; batch != nullptr; batch = batch->next)
    for (unsigned i = 0; i < batch->nr; ++i)
      if ((batch->pages[i] & DELAYED) != 0) {
        batch->pages[i] &= ~DELAYED;
        folio_remove_rmap_pte(gathered_page(batch->pages[i]));
      }
}

void tlb_remove_table(mmu_gather& tlb, page* table, vaddr_t addr, u64 size) {
  adjust_range(tlb, addr, size);
  tlb.freed_tables = true;
  if (table_free_rule(tlb) == table_free_t::sync_ipi || !add_to_table_batch(tlb, table))
    tlb_remove_table_one(tlb, table);
}

void pte_free_defer(page* table) {
  page* backing = policy().batch_page_available ? pagetable_alloc(GFP_NOWAIT) : nullptr;
  if (backing == nullptr) { // no room to wait in: wait here
    synchronize_rcu();
    pagetable_free(table);
    return;
  }
  word_t* words = page_words(backing);
  WRITE_ONCE(words[mmu_table_batch::FIRST], page_to_pfn(table));
  WRITE_ONCE(words[mmu_table_batch::NR], 1);
  auto* batch = new (page_address(backing)) mmu_table_batch;
  pagetables_deferred();
  call_rcu(&batch->rcu, tlb_remove_table_rcu); // pairs with the RCU section of pte_map
}

namespace {

mm_struct& serialized_mm(mm_struct& mm) {
  if (policy().serialize_mm == whose_mm_t::own) return mm;
  mm_context* current = this_cpu().current_mm();
  return current == nullptr ? mm : mm_of(*current);
}

} // namespace

void serialize_against_pte_lookup(mm_struct& changed, serialize_mode_t how) {
  if (how == serialize_mode_t::none) return;
  mm_struct& mm = serialized_mm(changed);
  // The changed entry, then the mask or the count: pairs with the barrier between setting the CPU's bit
  // (switch_mm) or raising the count (lockless_walk) and reading the entry. Store buffering: without it both
  // may miss the other (S1.5, S1.9).
  if (policy().serialize_barrier) smp_mb();
  switch (how) {
  case serialize_mode_t::none:
    break;
  case serialize_mode_t::wait_count:
    while (const s32 walkers = atomic_read(mm.lockless_walkers))
      wait_while(mm.lockless_walkers, ~0, walkers);
    break;
  case serialize_mode_t::ipi_if_count:
    if (atomic_read(mm.lockless_walkers) == 0) break;
    [[fallthrough]];
  case serialize_mode_t::ipi:
    // nothing to run there: what counts is that interrupts are on
    smp_call_function_many(READ_ONCE(mm.context.cpumask), nullptr, nullptr, 0);
    break;
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
