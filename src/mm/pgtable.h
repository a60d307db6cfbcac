// Entries of page tables as the manager puts them in and takes them out: arch/pgtable.h's stores and
// exchanges, by Linux's names, with what page_table_check.h wants to know of them.
//
// A change that leaves an entry mapping what it maps, and grants nothing more, is not one of these
// (ptep_set_wrprotect(), update_entry()).
#pragma once

#include "arch/pgtable.h"
#include "mm/page_table_check.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The page of zeros, which whoever has only read a page of anonymous memory maps (do_anonymous_page()). The
/// allocator does not have it. An entry for it is special: it holds no reference and is counted nowhere, and
/// lets nobody store.
inline constexpr pfn_t ZERO_PFN = 0;
inline bool is_zero_pfn(pfn_t pfn) { return pfn == ZERO_PFN; }
inline bool is_zero_page(const page* page) { return is_zero_pfn(page_to_pfn(page)); }
/// Does the entry stand for zeros that take no memory of the mm's own?
inline bool pte_none_or_zero(pte_t pte) { return pte_none(pte) || (pte_present(pte) && pte_special(pte)); }
/// An entry for a device's memory, or a huge entry of any kind. pmd_trans_huge() is true of the former on
/// some architectures and not on others, and pmd_devmap() of a migration entry may be anything: so who is to
/// meet both kinds asks these (M32).
inline bool pmd_is_devmap(pmd_t pmd) { return pmd_present(pmd) && pmd_devmap(pmd); }
inline bool pmd_is_huge(pmd_t pmd) { return pmd_trans_huge(pmd) || pmd_is_devmap(pmd); }
/// Has the page of a huge entry a folio that its mappings are counted in? Not zeros, nor a device's memory.
inline bool pmd_has_folio(pmd_t pmd) { return !pmd_special(pmd) && !pmd_devmap(pmd); }
/// An entry for the huge page of zeros (huge_zero_page.h).
inline bool is_huge_zero_pmd(pmd_t pmd) { return pmd_trans_huge(pmd) && pmd_special(pmd); }

/// A plain store. Needs the ptl, and that no hardware can be updating the entry: it is none or not valid, or
/// the new value loses nothing that a concurrent A or D could add.
inline void set_pte_at(vaddr_t, const ptep_t& ptep, pte_t pte, site s = RW_HERE) {
  page_table_check_pte_set(ptep, pte, s);
  set_pte(ptep, pte, s);
}
/// Needs the ptl, or that nobody else can reach the table.
inline void pte_clear(vaddr_t, const ptep_t& ptep, site s = RW_HERE) {
  page_table_check_pte_set(ptep, {}, s);
  write_none(ptep, s);
}
/// Takes the entry out, with the A and D that hardware set up to that moment. Needs the ptl.
inline pte_t ptep_get_and_clear(vaddr_t, const ptep_t& ptep, site s = RW_HERE) {
  const pte_t pte = exchange_entry(ptep, 0, s);
  page_table_check_pte_clear(pte, s);
  return pte;
}
/// A read-modify-write of a live entry in two halves: it is none in between, so hardware sets nothing that
/// the second half would lose. Needs the ptl throughout; who acts on none must take the ptl and look again
/// (H14).
inline pte_t ptep_modify_prot_start(vaddr_t addr, const ptep_t& ptep, site s = RW_HERE) {
  return ptep_get_and_clear(addr, ptep, s);
}
inline void ptep_modify_prot_commit(vaddr_t addr, const ptep_t& ptep, pte_t pte, site s = RW_HERE) {
  set_pte_at(addr, ptep, pte, s);
}

/// Grants rights, or records A and D, after a fault: `entry` is the present one made young, dirty or
/// writable. Needs the ptl. Returns whether the entry changed. A and D that hardware set meanwhile are kept.
inline bool ptep_set_access_flags(vaddr_t, const ptep_t& ptep, pte_t entry, site s = RW_HERE) {
  page_table_check_pte_grant(entry, s);
  return relax_pte(ptep, entry, s);
}

/// A plain store; as set_pte_at, under the pml.
inline void set_pmd_at(vaddr_t, const pmdp_t& pmdp, pmd_t pmd, site s = RW_HERE) {
  page_table_check_pmd_set(pmdp, pmd, s);
  set_pmd(pmdp, pmd, s);
}
/// Replaces a live pmd and returns it with the A and D that hardware set up to that moment. Needs the pml.
inline pmd_t pmdp_establish(vaddr_t, const pmdp_t& pmdp, pmd_t pmd, site s = RW_HERE) {
  const pmd_t old = exchange_pmd(pmdp, pmd, s);
  page_table_check_pmd_clear(old, s);
  page_table_check_pmd_put(pmd, s);
  return old;
}
/// Takes the entry out. Needs the pml.
inline pmd_t pmdp_get_and_clear(vaddr_t addr, const pmdp_t& pmdp, site s = RW_HERE) {
  return pmdp_establish(addr, pmdp, {}, s);
}
/// pmdp_invalidate without its flush: hardware faults on the entry from now on, software still sees a huge
/// page. The returned value is the one to take A and D from. Needs the pml, and a present pmd (mail 4).
inline pmd_t pmdp_invalidate_raw(vaddr_t addr, const pmdp_t& pmdp, site s = RW_HERE) {
  return pmdp_establish(addr, pmdp, pmd_mkinvalid(pmdp_get(pmdp, s), s), s);
}

} // namespace racewalk::inline RACEWALK_BACKEND
