// TLB shootdown: after a flush has returned, no CPU uses a translation of the range that was read before the
// caller's change of the page table.
//
// The caller changes entries first. `freed_tables` says that table pages were unhooked as well, so
// paging-structure caches must go too, also on CPUs that hold the mm lazily. Interrupts must be on; a
// spinlock may be held. By arch().flush_kind a shootdown interrupts its targets, and thereby waits for their
// sections with interrupts off, or is broadcast and waits only for accesses.
#pragma once

#include "arch/arch.h"
#include "machine/mm_context.h"

namespace racewalk::inline RACEWALK_BACKEND {

inline constexpr vaddr_t TLB_FLUSH_ALL = ~vaddr_t{0};

/// Flushes [start, end); `stride_shift` is log2 of what each flushed leaf maps. end == TLB_FLUSH_ALL:
/// everything.
void flush_tlb_mm_range(mm_context& mm, vaddr_t start, vaddr_t end, unsigned stride_shift, bool freed_tables);
/// The whole address space, paging-structure caches included.
void flush_tlb_mm(mm_context& mm);
/// The page that holds `addr`; tables stay.
void flush_tlb_page(mm_context& mm, vaddr_t addr);
/// A range of pages, or of tables: paging-structure caches included.
void flush_tlb_range(mm_context& mm, vaddr_t start, vaddr_t end);

/// Whose translations one thread has made stale and not flushed yet.
struct arch_tlbflush_unmap_batch {
  static constexpr unsigned MAX_MMS = 4;
  cpumask_bits mask = 0; ///< CPUs that may hold them
  unsigned nr_mms = 0;
  u64 ctx_ids[MAX_MMS] = {};
};
/// Whether it pays to flush the mm later: another CPU may hold its translations.
[[nodiscard]] bool arch_tlbbatch_should_defer(const mm_context& mm);
/// The caller has changed an entry of the mm, and arch_tlbbatch_flush() will flush it. The mm may be gone by
/// then. A batch that has no room is flushed at once.
void arch_tlbbatch_add_pending(arch_tlbflush_unmap_batch& batch, mm_context& mm);
/// After it has returned no CPU uses a translation from before the changes that were added.
void arch_tlbbatch_flush(arch_tlbflush_unmap_batch& batch);

/// Interrupts every CPU and waits: no walk with interrupts off that began before the call is still under way.
/// Not a grace period, but enough for tables that only such walks reach.
void tlb_remove_table_sync_one();

/// Takes the CPUs that hold the mm lazily out of its mask, so that later shootdowns pass them by.
void exit_flush_lazy_tlbs(mm_context& mm);

} // namespace racewalk::inline RACEWALK_BACKEND
