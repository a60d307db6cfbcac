#include "mm/mprotect.h"

#include "mm/huge_memory.h"
#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

void change_pte_range(mmu_gather& tlb, pmd_t pmd, vaddr_t addr, vaddr_t end, pgprot_t prot) {
  pte_table_guard ptl(pmd);
  for (; addr < end; addr += PAGE_SIZE) {
    const ptep_t ptep = pte_offset(pmd, addr);
    if (!pte_present(ptep_get(ptep))) continue;
    // none in between, so that no A or D that hardware sets is lost; lockless walks find no page then, which
    // is all that they may conclude
    const pte_t old = ptep_modify_prot_start(addr, ptep);
    const pte_t entry = pte_modify(old, prot);
    ptep_modify_prot_commit(addr, ptep, entry);
    if (pte_needs_flush(old, entry)) tlb_remove_tlb_entry(tlb, addr);
  }
}

} // namespace

void change_protection(mmu_gather& tlb, vaddr_t start, vaddr_t end, pgprot_t prot) {
  for (vaddr_t addr = start, next; addr < end; addr = next) {
    next = pmd_addr_end(addr, end);
    const pmd_lookup at = find_pmd(tlb.mm, addr);
    if (!at.found) continue;
    pmd_t pmd = pmdp_get_lockless(at.pmdp);
    if (pmd_trans_huge(pmd)) {
      if (change_huge_pmd(tlb, addr, at.pmdp, prot)) continue;
      pmd = pmdp_get_lockless(at.pmdp); // split meanwhile
    }
    if (pmd_is_table(pmd)) change_pte_range(tlb, pmd, addr, next, prot);
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
