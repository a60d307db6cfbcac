#include "mm/pgtable_generic.h"

#include "machine/tlbflush.h"
#include "mm/mmu_gather.h"

namespace racewalk::inline RACEWALK_BACKEND {

void pgtable_trans_huge_deposit(const pmdp_t& pmdp, page* table) {
  page& owner = pmd_table_page(pmdp);
  table->private_.set(owner.private_.get());
  owner.private_.set(page_to_pfn(table));
}

page* pgtable_trans_huge_withdraw(const pmdp_t& pmdp) {
  page& owner = pmd_table_page(pmdp);
  const pfn_t first = owner.private_.get();
  VM_BUG_ON(first == 0, "INV-TBL", "no table was deposited for a huge entry");
  page* table = pfn_to_page(first);
  owner.private_.set(table->private_.get());
  table->private_.set(0);
  return table;
}

bool pte_accessible(const mm_struct& mm, pte_t pte) {
  // the plain question first: the counter is only asked about entries that no walker would load
  return pte_accessible(pte, false) ||
         (policy().accessible_while_pending && pte_accessible(pte, true) && mm_tlb_flush_pending(mm));
}

pte_t ptep_clear_flush(mm_struct& mm, vaddr_t addr, const ptep_t& ptep) {
  const pte_t pte = ptep_get_and_clear(addr, ptep);
  if (pte_accessible(mm, pte)) flush_tlb_page(mm.context, addr);
  return pte;
}

pmd_t pmdp_collapse_flush(mm_struct& mm, vaddr_t addr, const pmdp_t& pmdp) {
  const pmd_t pmd = pmdp_get_and_clear(addr, pmdp);
  // A low-level fault that has found the table may yet make a translation of an entry in it, and the flush
  // would not find that: stores to a page that is being copied would be lost (S1.3d). Pairs with the section
  // in hash_page().
  if (arch().hash_mmu() && policy().hash_collapse_serializes)
    serialize_against_pte_lookup(mm, serialize_mode_t::ipi);
  // The exchange, a full barrier, and what the caller reads next: pairs with the reference that a lockless
  // walk takes before it reads the entry again (gup_fast_pte_range).
  flush_tlb_mm_range(mm.context, addr, addr + pmd_size(), PAGE_SHIFT, policy().collapse_flush_freed_tables);
  serialize_against_pte_lookup(mm);
  return pmd;
}

void pmdp_get_lockless_sync() {
  if (arch().split_words() && policy().lockless_sync) tlb_remove_table_sync_one();
}

} // namespace racewalk::inline RACEWALK_BACKEND
