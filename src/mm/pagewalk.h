// Down an address space's tables to its PMD entries, past what has no tables (Linux's mm/pagewalk.c).
#pragma once

#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Calls visit(pmdp, from, to) for each PMD entry that a PMD table holds, with the part of [start, end) that
/// it covers, in order; what the entry is, visit() finds out. Each level is read once and without locks: the
/// caller holds the region's mmap_lock, which keeps these tables where they are.
template <class F> void walk_pmd_entries(const mm_struct& mm, vaddr_t start, vaddr_t end, F&& visit) {
  for (vaddr_t addr = start; addr < end;) {
    const pgdp_t pgdp = pgd_offset(mm, addr);
    const pgd_t pgd = pgdp_get(pgdp);
    const vaddr_t pgd_end = pgd_addr_end(addr, end);
    if (!pgd_present(pgd)) addr = pgd_end;
    while (addr < pgd_end) {
      const pudp_t pudp = pud_offset(pgdp, pgd, addr);
      const pud_t pud = pudp_get(pudp);
      const vaddr_t pud_end = pud_addr_end(addr, pgd_end);
      if (!pud_present(pud)) addr = pud_end;
      for (vaddr_t next; addr < pud_end; addr = next) {
        next = pmd_addr_end(addr, pud_end);
        visit(pmd_offset(pudp, pud, addr), addr, next);
      }
    }
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
