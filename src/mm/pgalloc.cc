#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool pmd_install(pmdp_t pmdp, page* table) {
  spin_guard pml(pmd_lockptr(pmdp));
  if (!pmd_none(pmdp_get(pmdp))) return false;
  // The table's content comes before the entry that leads to it: pairs with the address dependency from the
  // entry to the table in lockless walks (gup_fast_pte_range, the hardware walker).
  smp_wmb();
  pmd_populate_raw(pmdp, page_to_pfn(table));
  return true;
}

bool pte_alloc(mm_struct& mm, pmdp_t pmdp) {
  if (!pmd_none(pmdp_get(pmdp))) return true;
  page* table = pagetable_alloc(GFP_KERNEL);
  if (table == nullptr) return false;
  if (pmd_install(pmdp, table))
    add_mm_counter(mm, MM_PGTABLES, 1);
  else
    pagetable_free(table); // another CPU was faster
  return true;
}

bool pte_table_is_empty(pmd_t table, vaddr_t start) {
  for (unsigned i = 0; i < ptrs_per_table(); ++i)
    if (!pte_none(ptep_get(pte_offset(table, start + i * PAGE_SIZE)))) return false;
  return true;
}

namespace {

/// One level of pmd_alloc: the table behind an entry that page_table_lock guards.
template <class Slot, class Present, class Populate>
bool upper_alloc(mm_struct& mm, const Slot& slot, Present present, Populate populate) {
  if (present(read_entry(slot))) return true;
  page* table = pagetable_alloc(GFP_KERNEL);
  if (table == nullptr) return false;
  bool installed = false;
  {
    spin_guard lock(mm.page_table_lock);
    if (!present(read_entry(slot))) {
      smp_wmb(); // an empty table, then its entry: pairs with the address dependency of walks, as in
                 // pmd_install()
      populate(slot, page_to_pfn(table), RW_HERE);
      installed = true;
    }
  }
  if (installed)
    add_mm_counter(mm, MM_PGTABLES, 1);
  else
    pagetable_free(table);
  return true;
}

} // namespace

pmd_lookup pmd_alloc(mm_struct& mm, vaddr_t addr) {
  const pgdp_t pgdp = pgd_offset(mm, addr);
  if (!pgd_folded() && !upper_alloc(mm, pgdp, pgd_present, pgd_populate_raw))
    return {false, pmdp_t(pgdp.word())};
  const pudp_t pudp = pud_offset(pgdp, pgdp_get(pgdp), addr);
  if (!pud_folded() && !upper_alloc(mm, pudp, pud_present, pud_populate_raw))
    return {false, pmdp_t(pudp.word())};
  return {true, pmd_offset(pudp, pudp_get(pudp), addr)};
}

bool pgd_alloc(mm_struct& mm) {
  page* root = pagetable_alloc(GFP_KERNEL);
  if (root == nullptr) return false;
  if (arch().hash_mmu()) {
    page* translations = alloc_page(GFP_KERNEL | GFP_ZERO);
    if (translations == nullptr) {
      pagetable_free(root);
      return false;
    }
    mm.context.hash_table = page_to_pfn(translations);
  }
  mm.context.pgd = page_to_pfn(root);
  add_mm_counter(mm, MM_PGTABLES, 1);
  return true;
}

} // namespace racewalk::inline RACEWALK_BACKEND
