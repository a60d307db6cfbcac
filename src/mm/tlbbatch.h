// Unmaps whose TLB flush is put off, so that one flush serves many (M12; Linux has these in mm/rmap.c).
//
//   tlbflush_unmap_batch batch;
//     under each entry's ptl: ptep_clear_batched(batch, mm, addr, ptep)
//   try_to_unmap_flush(batch)      before the pages are freed, reused or copied
//
// Until then CPUs go on using translations of entries that are gone. Who promises more, and finds an entry
// gone that he would have changed and flushed, flushes for whoever took it out: flush_tlb_batched_pending(),
// under the entry's ptl and before looking at it.
//
// Invariant: mm->tlb_flush_batched says whether an entry is gone whose flush is owed. It has two halves: how
// often one was taken out, and up to which of these a flush has reached. They change under different ptls; so
// a flush advances the second only if the first has not moved since it was read.
#pragma once

#include "machine/tlbflush.h"
#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What one thread has taken out and not flushed yet.
struct tlbflush_unmap_batch {
  arch_tlbflush_unmap_batch arch;
  bool flush_required = false;
  bool writable = false; ///< stores may go through what is not flushed
};

/// Takes an entry out and returns it. Where other CPUs may hold it in a TLB its flush is put off, else it is
/// flushed. Caller holds the ptl.
[[nodiscard]] pte_t ptep_clear_batched(tlbflush_unmap_batch& batch, mm_struct& mm, vaddr_t addr,
                                       const ptep_t& ptep);

/// An entry of the mm is not young any more: with the batch's flush, TLBs forget that it was. (No promise is
/// made to others: who finds it old does not flush for that.)
inline void flush_young_later(tlbflush_unmap_batch& batch, mm_struct& mm) {
  arch_tlbbatch_add_pending(batch.arch, mm.context);
  batch.flush_required = true;
}

/// Flushes what was put off. Interrupts are on.
void try_to_unmap_flush(tlbflush_unmap_batch& batch);
/// The same only if stores may still come: before what is written is taken for what there is.
void try_to_unmap_flush_dirty(tlbflush_unmap_batch& batch);

/// Flushes what others have taken out and not flushed yet. Caller holds a ptl; no CPU then uses a translation
/// of an entry under it that is gone.
void flush_tlb_batched_pending(mm_struct& mm);

} // namespace racewalk::inline RACEWALK_BACKEND
