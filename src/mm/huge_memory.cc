#include "mm/huge_memory.h"

#include "machine/tlbflush.h"
#include "mm/memory.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool thp_vma_suitable(const vm_area_struct& vma, vaddr_t addr) {
  const vaddr_t start = addr & pmd_mask();
  return (vma.vm_flags & VM_HUGEPAGE) != 0 && start >= vma.vm_start && start + pmd_size() <= vma.vm_end;
}

bool do_huge_pmd_anonymous_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, fault_flags flags) {
  mm_struct& mm = *vma.vm_mm;
  page* table = pagetable_alloc(GFP_NOWAIT);
  if (table == nullptr) return false;
  page* page = alloc_pages(hpage_pmd_order(), GFP_ZERO | GFP_NOWAIT);
  if (page == nullptr) {
    pagetable_free(table);
    return false;
  }
  pmd_t entry = mk_huge_pmd(page_to_pfn(page), vm_get_page_prot(vma.vm_flags));
  if ((flags & FAULT_FLAG_WRITE) != 0) entry = pmd_mkdirty(entry);
  if (install_huge_pmd(mm, addr & pmd_mask(), pmdp, page_folio(page), entry, table)) {
    add_mm_counter(mm, MM_ANONPAGES, hpage_pmd_nr());
    add_mm_counter(mm, MM_PGTABLES, 1);
  } else { // another CPU was faster
    put_page(page);
    pagetable_free(table);
  }
  return true;
}

bool install_huge_pmd(mm_struct& mm, vaddr_t start, pmdp_t pmdp, folio* folio, pmd_t entry, page* table) {
  spin_guard pml(pmd_lockptr(pmdp));
  if (!pmd_none(pmdp_get(pmdp))) return false;
  folio_add_new_anon_rmap(folio, mm, start);
  pgtable_trans_huge_deposit(pmdp, table);
  smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pmd_leaf()
  set_pmd_at(start, pmdp, entry);
  return true;
}

fault_result do_present_huge_pmd(pmdp_t pmdp, pmd_t seen, fault_flags flags) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t old = pmdp_get(pmdp);
  if (!pmd_same(old, seen)) return fault_result::handled; // it changed: the access decides anew
  const bool write = (flags & FAULT_FLAG_WRITE) != 0;
  update_entry(pmdp,
               [write](u64 e) { return arch().mkyoung(write ? arch().mkdirty(arch().mkwrite(e)) : e); });
  return fault_result::handled;
}

void zap_huge_pmd(mmu_gather& tlb, vaddr_t addr, pmdp_t pmdp) {
  bool full = false;
  {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t pmd = pmdp_get_and_clear(addr, pmdp);
    tlb_remove_pmd_tlb_entry(tlb, addr & pmd_mask());
    page* page = pfn_to_page(pmd_pfn(pmd));
    folio_remove_rmap_pmd(page_folio(page));
    pagetable_free(pgtable_trans_huge_withdraw(pmdp)); // nobody is in it: see there
    full = tlb_remove_page(tlb, page);
  }
  add_mm_counter(tlb.mm, MM_ANONPAGES, -s64{hpage_pmd_nr()});
  add_mm_counter(tlb.mm, MM_PGTABLES, -1);
  if (full) tlb_flush_mmu(tlb);
}

void change_huge_pmd(mmu_gather& tlb, vaddr_t addr, pmdp_t pmdp, pgprot_t prot) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t old = pmdp_invalidate_raw(addr, pmdp);
  set_pmd_at(addr, pmdp, pmd_modify(old, prot));
  tlb_remove_pmd_tlb_entry(tlb, addr & pmd_mask());
}

namespace {

/// Fills a table with entries that map what the huge one maps, with its history and, as to writing, its
/// right.
void fill_from_huge(page* table, pmd_t huge, pgprot_t prot) {
  prot.write = pmd_write(huge);
  word_t* words = page_words(table);
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    pte_t pte = pfn_pte(pmd_pfn(huge) + i, prot);
    if (pmd_dirty(huge)) pte = pte_mkdirty(pte);
    if (!pmd_young(huge)) pte = pte_mkold(pte);
    WRITE_ONCE(words[i], pte.val);
  }
}

} // namespace

void split_huge_pmd_address(vm_area_struct& vma, vaddr_t addr) {
  mm_struct& mm = *vma.vm_mm;
  if ((addr & ~pmd_mask()) == 0) return; // no entry crosses a boundary of entries
  const pmd_lookup at = find_pmd(mm, addr);
  if (!at.found || !pmd_trans_huge(pmdp_get_lockless(at.pmdp))) return;
  const vaddr_t start = addr & pmd_mask();
  spin_guard pml(pmd_lockptr(at.pmdp));
  // Invalid, flushed, table: at no time can a TLB hold the huge page and a small one of it (S1.1c).
  const pmd_t huge = pmdp_invalidate_raw(start, at.pmdp);
  flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
  folio_split_rmap(page_folio(pfn_to_page(pmd_pfn(huge))));
  page* table = pgtable_trans_huge_withdraw(at.pmdp);
  fill_from_huge(table, huge, vm_get_page_prot(vma.vm_flags));
  smp_wmb(); // as in pmd_install(): pairs with gup_fast_pte_range()
  pmd_populate_raw(at.pmdp, page_to_pfn(table));
}

} // namespace racewalk::inline RACEWALK_BACKEND
