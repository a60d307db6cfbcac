#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool pmd_install(pmdp_t pmdp, page* table, site s) {
  spin_guard pml(pmd_lockptr(pmdp), s);
  if (!pmd_none(pmdp_get(pmdp, s))) return false;
  // The table's content comes before the entry that leads to it: pairs with the address dependency from the entry
  // to the table in lockless walks (gup_fast_pte_range, the hardware walker).
  smp_wmb(s);
  pmd_populate_raw(pmdp, page_to_pfn(table), s);
  return true;
}

bool pte_alloc(mm_struct& mm, pmdp_t pmdp, site s) {
  if (!pmd_none(pmdp_get(pmdp, s))) return true;
  page* table = pagetable_alloc(GFP_KERNEL, s);
  if (table == nullptr) return false;
  if (pmd_install(pmdp, table, s))
    add_mm_counter(mm, MM_PGTABLES, 1, s);
  else
    pagetable_free(table, s); // another CPU was faster
  return true;
}

namespace {

/// One level of pmd_alloc: the table behind an entry that page_table_lock guards.
template <class Slot, class Present, class Populate>
bool upper_alloc(mm_struct& mm, const Slot& slot, Present present, Populate populate, site s) {
  if (present(read_entry(slot, s))) return true;
  page* table = pagetable_alloc(GFP_KERNEL, s);
  if (table == nullptr) return false;
  bool installed = false;
  {
    spin_guard lock(mm.page_table_lock, s);
    if (!present(read_entry(slot, s))) {
      smp_wmb(s); // as in pmd_install()
      populate(slot, page_to_pfn(table), s);
      installed = true;
    }
  }
  if (installed)
    add_mm_counter(mm, MM_PGTABLES, 1, s);
  else
    pagetable_free(table, s);
  return true;
}

} // namespace

pmd_lookup pmd_alloc(mm_struct& mm, vaddr_t addr, site s) {
  const pgdp_t pgdp = pgd_offset(mm, addr);
  if (!pgd_folded() && !upper_alloc(mm, pgdp, pgd_present, pgd_populate_raw, s)) return {false, pmdp_t(pgdp.word())};
  const pudp_t pudp = pud_offset(pgdp, pgdp_get(pgdp, s), addr);
  if (!pud_folded() && !upper_alloc(mm, pudp, pud_present, pud_populate_raw, s)) return {false, pmdp_t(pudp.word())};
  return {true, pmd_offset(pudp, pudp_get(pudp, s), addr)};
}

bool pgd_alloc(mm_struct& mm, site s) {
  page* root = pagetable_alloc(GFP_KERNEL, s);
  if (root == nullptr) return false;
  mm.context.pgd = page_to_pfn(root);
  add_mm_counter(mm, MM_PGTABLES, 1, s);
  return true;
}

} // namespace racewalk::inline RACEWALK_BACKEND
