// What huge page-table entries need of the tables around them (Linux's mm/pgtable-generic.c).
//
// Behind each huge entry of anonymous memory a PTE table is deposited, so that splitting the entry never has
// to allocate. The deposited tables of a PMD table are a list through their struct pages' private_, which is
// 0 in every table that is not on one; it changes under the pml. A deposited table is not reachable: it goes
// back to the allocator at once when the entry goes. So who deposits a table that was in use sees to it first
// that no lockless walk is in it any more (S1.2).
#pragma once

#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Keeps a table for the huge entry that is about to be put in. Caller holds the pml.
void pgtable_trans_huge_deposit(const pmdp_t& pmdp, page* table);
/// Takes back a table that was kept for a huge entry, as it was deposited: with all its entries none. Caller
/// holds the pml.
[[nodiscard]] page* pgtable_trans_huge_withdraw(const pmdp_t& pmdp);

/// Unhooks the table of [addr, addr + pmd_size()) and removes every translation through it, those of walk
/// caches included; a lockless walk may still be in it. Returns the entry, which leads to the table. Caller
/// holds the pml.
pmd_t pmdp_collapse_flush(mm_struct& mm, vaddr_t addr, const pmdp_t& pmdp);

/// Waits for lockless walkers that may have read half of an entry that has been taken away, before another
/// one stands there. To be called by who took it away without a flush that interrupts them (S3.8).
void pmdp_get_lockless_sync();

/// May a TLB hold an entry that was this? Also while somebody who took rights away from it has not flushed
/// yet (M11). Caller holds the ptl.
[[nodiscard]] bool pte_accessible(const mm_struct& mm, pte_t pte);

/// Takes an entry out and flushes it. Caller holds the ptl.
[[nodiscard]] pte_t ptep_clear_flush(mm_struct& mm, vaddr_t addr, const ptep_t& ptep);

/// Replaces a live entry by change(entry), a pte_t to pte_t, and returns what it was, with the A and D that
/// hardware had set by then; as policy().ptep_modify says. Who comes upon it meanwhile without the ptl may
/// find none, and must take the ptl and look again. Caller holds the ptl.
template <class Change> pte_t ptep_modify(vaddr_t addr, const ptep_t& ptep, Change change) {
  switch (policy().ptep_modify) {
  case ptep_modify_t::atomic: {
    const pte_t old = update_entry(ptep, [&](u64 e, level_t) { return change(pte_t{e}).val; });
    page_table_check_pte_clear(old);
    page_table_check_pte_put(change(old));
    return old;
  }
  case ptep_modify_t::plain: {
    const pte_t old = ptep_get(ptep);
    set_pte_at(addr, ptep, change(old));
    return old;
  }
  case ptep_modify_t::through_none:
    break;
  }
  const pte_t old = ptep_modify_prot_start(addr, ptep);
  ptep_modify_prot_commit(addr, ptep, change(old));
  return old;
}

} // namespace racewalk::inline RACEWALK_BACKEND
