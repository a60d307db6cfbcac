#include "mm/tlbbatch.h"

#include "mm/pgtable_generic.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

// The halves of mm->tlb_flush_batched.
constexpr unsigned FLUSHED_SHIFT = 16;
constexpr s32 PENDING_MASK = (1 << (FLUSHED_SHIFT - 1)) - 1;
/// Begin anew here: far enough from where the half would run over for everybody who is about to count.
constexpr s32 PENDING_LARGE = PENDING_MASK / 2;

/// An entry is gone, or about to be, and its flush is owed. Under the ptl, after the entry was taken out: who
/// finds it gone under the same ptl sees that, and a flush that began before does not count for it (H7d).
void count_pending(mm_struct& mm) {
  if (!policy().batched_pending_counts) {
    atomic_set(mm.tlb_flush_batched, 1);
    return;
  }
  s32 batch = atomic_read(mm.tlb_flush_batched);
  while ((batch & PENDING_MASK) > PENDING_LARGE)
    // one pending and none flushed: at worst one flush too many
    if (try_cmpxchg(mm.tlb_flush_batched, batch, 1, order::relaxed)) return;
  atomic_inc(mm.tlb_flush_batched);
}

/// Every translation of the mm from before, whoever made it stale.
void arch_flush_tlb_batched_pending(mm_struct& mm) {
  if (policy().batched_flush == batched_flush_t::barrier && !arch().flush_is_rendezvous())
    // a DSB: pairs with invalidations that this CPU has sent; the one that matters is another's (H7)
    smp_mb();
  else
    flush_tlb_mm(mm.context);
}

} // namespace

pte_t ptep_clear_batched(tlbflush_unmap_batch& batch, mm_struct& mm, vaddr_t addr, const ptep_t& ptep) {
  if (!arch_tlbbatch_should_defer(mm.context)) return ptep_clear_flush(mm, addr, ptep);
  if (!policy().batched_pending_after_clear) count_pending(mm);
  const pte_t old = ptep_get_and_clear(addr, ptep);
  if (!pte_accessible(mm, old)) return old;
  arch_tlbbatch_add_pending(batch.arch, mm.context);
  batch.flush_required = true;
  batch.writable |= pte_dirty(old);
  if (policy().batched_pending_after_clear) count_pending(mm);
  return old;
}

void try_to_unmap_flush(tlbflush_unmap_batch& batch) {
  if (!batch.flush_required) return;
  arch_tlbbatch_flush(batch.arch);
  batch = {};
}

void try_to_unmap_flush_dirty(tlbflush_unmap_batch& batch) {
  if (batch.writable) try_to_unmap_flush(batch);
}

void flush_tlb_batched_pending(mm_struct& mm) {
  s32 batch = atomic_read(mm.tlb_flush_batched);
  const s32 pending = batch & PENDING_MASK;
  if (pending == batch >> FLUSHED_SHIFT) return;
  arch_flush_tlb_batched_pending(mm);
  if (!policy().batched_pending_counts)
    atomic_set(mm.tlb_flush_batched, 0); // also for what came meanwhile, under another ptl (H7b)
  else                                   // fails if more has come since it was read: that is still owed
    (void)try_cmpxchg(mm.tlb_flush_batched, batch, pending | pending << FLUSHED_SHIFT);
}

} // namespace racewalk::inline RACEWALK_BACKEND
