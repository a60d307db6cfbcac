// Taking mappings away: unhook, invalidate, free, in that order and in batches (M9, M5).
//
//   tlb_gather_mmu(&tlb, mm)
//     take entries out, each with tlb_remove_tlb_entry() and its page with tlb_remove_page()
//     unhook tables, each with tlb_remove_table()
//   tlb_finish_mmu(&tlb)
//
// Invariant: when a page or a table goes back to the allocator, no CPU has a translation or a walk-cache
// entry that leads to it, and no lockless walk that found it is under way. For pages the flush suffices,
// because such a walk takes its reference and then looks at the entry again; for tables see
// tlb_remove_table().
//
// A gather lives on the stack of one thread. It allocates what it can and copes where it cannot, so that it
// never fails.
#pragma once

#include "machine/machine.h"
#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Pages whose entries are gone and whose references are to be dropped after the flush. The first batch is on
/// the stack, more of them fill a page each.
struct mmu_gather_batch {
  static constexpr unsigned ON_STACK = 8;
  mmu_gather_batch* next = nullptr;
  unsigned nr = 0;
  unsigned max = 0;
  uintptr_t* pages = nullptr; ///< pointers to page, each with whether its rmap removal is delayed in bit 0
};

/// Whether a page still counts as mapped until its entry has been flushed.
enum class delay_rmap : u8 { no, yes };

/// Tables that are unhooked and flushed and wait for a grace period. Fills a page: the rest of its words are
/// the number of tables, when that is final, and the tables' frame numbers.
struct mmu_table_batch {
  static constexpr unsigned NR =
      (sizeof(rcu_head) + sizeof(word_t) - 1) / sizeof(word_t); ///< the word of the number
  static constexpr unsigned FIRST = NR + 1;
  static constexpr unsigned MAX_TABLES = PAGE_SIZE / sizeof(word_t) - FIRST;
  rcu_head rcu;
};

struct mmu_gather {
  mm_struct& mm;
  vaddr_t start = ~vaddr_t{0}; ///< of what was recorded since the last flush
  vaddr_t end = 0;
  bool fullmm = false;       ///< the mm is dying: the range does not matter
  bool nested = false;       ///< under nested_gather_t::tested_early: what was found at the beginning
  bool freed_tables = false; ///< walk caches must go too
  bool cleared_ptes = false;
  bool cleared_pmds = false;
  bool reclaim_pt = false; ///< tables that become empty go, too; others may be reading them (M6)
  bool keeps_anon = false; ///< entries of anonymous pages stay: a hole is punched into a file (even_cows)

  page* table_batch = nullptr;        ///< the page of the batch that tables are added to
  unsigned nr_tables = 0;             ///< in it
  mmu_gather_batch* active = nullptr; ///< the batch that pages are added to
  mmu_gather_batch local;
  uintptr_t local_pages[mmu_gather_batch::ON_STACK];

  explicit mmu_gather(mm_struct& m) : mm(m) {}
  mmu_gather(const mmu_gather&) = delete;
  mmu_gather& operator=(const mmu_gather&) = delete;
};

/// Begins; before any page-table lock is taken for the change (M10).
void tlb_gather_mmu(mmu_gather& tlb);
/// As tlb_gather_mmu, for an mm that nobody will run in again.
void tlb_gather_mmu_fullmm(mmu_gather& tlb);
/// Flushes and frees all that was gathered.
void tlb_finish_mmu(mmu_gather& tlb);
/// Flushes and frees all that was gathered so far. No page-table lock may be held.
void tlb_flush_mmu(mmu_gather& tlb);

/// A PTE was taken out or lost a right. Caller holds the ptl.
void tlb_remove_tlb_entry(mmu_gather& tlb, vaddr_t addr);
/// A huge PMD was taken out or lost a right. Caller holds the pml.
void tlb_remove_pmd_tlb_entry(mmu_gather& tlb, vaddr_t addr);

/// Hands over the reference that a removed entry had. Returns true if the batch is full: the caller drops its
/// lock and calls tlb_flush_mmu() before it goes on.
[[nodiscard]] bool tlb_remove_page(mmu_gather& tlb, page* page, delay_rmap delay = delay_rmap::no);

/// Flushes, and removes the delayed rmaps of what was gathered since the last time. Caller holds the ptl of
/// their entries.
void tlb_flush_rmaps(mmu_gather& tlb);

/// Hands over a table that was unhooked and covered [addr, addr + size). It is freed when no lockless walk
/// can still be in it: after a grace period or, where the architecture's flush interrupts every walker, after
/// the flush.
void tlb_remove_table(mmu_gather& tlb, page* table, vaddr_t addr, u64 size);

/// Frees a table that was unhooked and flushed, and in which nobody stores any more, after a grace period:
/// who reads it is in an RCU section (M6). May sleep.
void pte_free_defer(page* table);

/// Whether anybody has changed entries of the mm that it has not flushed yet. Exact for entries under a
/// page-table lock that the caller holds or has held since (M10).
///
/// Acquire: who finds that nothing is pending, and reads the page, reads what CPUs have stored by the
/// translations that were flushed. Pairs with dec_tlb_flush_pending().
inline bool mm_tlb_flush_pending(const mm_struct& mm, site s = RW_HERE) {
  return smp_load_acquire(mm.tlb_flush_pending, s) > 0;
}
/// Entries of the mm are about to change, and will be flushed; before any page-table lock is taken for it.
inline void inc_tlb_flush_pending(mm_struct& mm, site s = RW_HERE) {
  policy().flush_pending_counts ? atomic_inc(mm.tlb_flush_pending, s)
                                : atomic_set(mm.tlb_flush_pending, 1, s);
}
/// They have been flushed; only that orders this: who reads 0 may rely on clean TLBs.
inline void dec_tlb_flush_pending(mm_struct& mm, site s = RW_HERE) {
  policy().flush_pending_counts ? atomic_dec(mm.tlb_flush_pending, s)
                                : atomic_set(mm.tlb_flush_pending, 0, s);
}
inline bool mm_tlb_flush_nested(const mm_struct& mm, site s = RW_HERE) {
  return atomic_read(mm.tlb_flush_pending, s) > 1;
}

/// Waits until no lockless walk of the mm that began before the caller's change is under way, as
/// policy().serialize_mode says: by default not at all, since tables are freed by the rules above (M7, mail
/// 1).
void serialize_against_pte_lookup(mm_struct& changed, serialize_mode_t how = policy().serialize_mode);

} // namespace racewalk::inline RACEWALK_BACKEND
