#include "mm/khugepaged.h"

#include "machine/tlbflush.h"
#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/memory.h"
#include "mm/page_lock.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"
#include "mm/thp.h"
#include "mm/userfaultfd.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// What one collapse works on.
struct collapse_target {
  mm_struct& mm;
  vaddr_t start;
  pmdp_t pmdp;
  pmd_t table; ///< the entry that led to the old table
};

pte_t pte_nth(const collapse_target& c, unsigned i) {
  return ptep_get(pte_offset(c.table, c.start + i * PAGE_SIZE));
}
page* page_nth(const collapse_target& c, unsigned i) { return pfn_to_page(pte_pfn(pte_nth(c, i))); }

/// Is the ith entry's folio the one that the entry before it maps? It is locked and counted once.
bool same_folio_as_before(const collapse_target& c, unsigned i) {
  return i > 0 && !pte_none_or_zero(pte_nth(c, i - 1)) &&
         page_folio(page_nth(c, i - 1)) == page_folio(page_nth(c, i));
}
bool last_of_its_folio(const collapse_target& c, unsigned i) {
  return i + 1 == hpage_pmd_nr() || pte_none_or_zero(pte_nth(c, i + 1)) || !same_folio_as_before(c, i + 1);
}

/// Does nobody but page-table entries, and the swap cache, hold the folio?
bool is_refcount_suitable(folio* folio) { return folio_ref_count(folio) == folio_expected_ref_count(folio); }

/// Unlocks the folios of the first `count` entries.
void release_pte_pages(const collapse_target& c, unsigned count) {
  for (unsigned i = 0; i < count; ++i)
    if (!pte_none_or_zero(pte_nth(c, i)) && !same_folio_as_before(c, i))
      folio_unlock(page_folio(page_nth(c, i)));
}

scan_result isolate_one(const collapse_target& c, unsigned i, unsigned* none, const collapse_control& how) {
  const pte_t pte = pte_nth(c, i);
  if (pte_none_or_zero(pte))
    return ++*none > how.max_ptes_none ? scan_result::exceed_none_pte : scan_result::succeed;
  if (!pte_present(pte)) return scan_result::pte_non_present;
  if (pte_uffd_wp(pte)) return scan_result::pte_uffd_wp;
  if (same_folio_as_before(c, i)) return scan_result::succeed;
  folio* folio = page_folio(pfn_to_page(pte_pfn(pte)));
  if (!folio_trylock(folio)) return scan_result::page_lock;
  // Read after the table was unhooked and flushed: a lockless walk has taken its reference before this, or
  // finds the entry gone. Pairs with the reference and the second look in gup_fast_pte_range() (S1.2).
  if (is_refcount_suitable(folio)) return scan_result::succeed;
  folio_unlock(folio);
  return scan_result::page_count;
}

/// Locks the pages behind the table, if nobody else uses them. `none`: how many entries have no page.
scan_result collapse_huge_page_isolate(const collapse_target& c, unsigned* none,
                                       const collapse_control& how) {
  pte_table_guard ptl(c.table);
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    const scan_result result = isolate_one(c, i, none, how);
    if (result == scan_result::succeed) continue;
    release_pte_pages(c, i);
    return result;
  }
  return scan_result::succeed;
}

void collapse_huge_page_copy(const collapse_target& c, folio* huge) {
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    page* to = folio_page(huge, i);
    if (pte_none_or_zero(pte_nth(c, i)))
      clear_highpage(to);
    else
      copy_highpage(to, page_nth(c, i));
  }
}

/// The old pages are copied: their entries go, and with them their references.
void collapse_huge_page_copy_succeeded(const collapse_target& c) {
  pte_table_guard ptl(c.table);
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    const pte_t pte = pte_nth(c, i);
    if (pte_none(pte)) continue;
    const bool zero = pte_special(pte);
    page* page = pfn_to_page(pte_pfn(pte));
    folio* folio = page_folio(page);
    const bool last = !zero && last_of_its_folio(c, i);
    pte_clear(c.start + i * PAGE_SIZE, pte_offset(c.table, c.start + i * PAGE_SIZE));
    if (zero) continue;
    folio_remove_rmap_pte(page);
    if (last) folio_unlock(folio);
    free_page_and_swap_cache(page);
  }
}

/// Puts the table back: nothing in it has changed.
void collapse_undo(const collapse_target& c) {
  spin_guard pml(pmd_lockptr(c.pmdp));
  pmd_populate_raw(c.pmdp, pmd_table_pfn(c.table));
}

/// Caller holds the region's mmap_lock, the area's vm_lock and anon_vma_lock for writing. `huge` is mapped on
/// success and left to the caller otherwise.
scan_result collapse_table(collapse_target c, const vm_area_struct& vma, folio* huge,
                           const collapse_control& how) {
  {
    mmu_notifier_invalidation notify(c.mm, mmu_notifier_event::clear, c.start, c.start + pmd_size());
    spin_guard pml(pmd_lockptr(c.pmdp));
    c.table = pmdp_collapse_flush(c.mm, c.start, c.pmdp);
  }
  // A walk that read the entry before may be in the table, and would take references late or read a table
  // that has been deposited and freed. Full barrier, then an interrupt that each such walk holds back: pairs
  // with lockless_walk's section in gup.cc.
  if (policy().collapse_sync_ipi) tlb_remove_table_sync_one();
  unsigned none = 0;
  if (const scan_result result = collapse_huge_page_isolate(c, &none, how); result != scan_result::succeed) {
    collapse_undo(c);
    return result;
  }
  collapse_huge_page_copy(c, huge);
  collapse_huge_page_copy_succeeded(c);
  add_mm_counter(c.mm, MM_ANONPAGES, none);
  const pmd_t entry = pmd_mkdirty(mk_huge_pmd(folio_pfn(huge), vm_get_page_prot(vma.vm_flags.get())));
  const bool installed = install_huge_pmd(vma, c.start, c.pmdp, huge, entry, pmd_pgtable(c.table));
  VM_BUG_ON(!installed, "INV-TBL", "a table was put where a collapse had taken one out");
  return scan_result::succeed;
}

/// The area that a collapse of [start, start + pmd_size()) is for; null with the reason why there is none.
vm_area_struct* hugepage_vma_revalidate(mmap_region& region, vaddr_t start, const collapse_control& how,
                                        scan_result* why) {
  vm_area_struct* vma = region.areas.find_vma(start);
  *why = scan_result::vma_null;
  if (vma == nullptr || !vma->contains(start)) return nullptr;
  *why = scan_result::vma_check;
  const bool wanted = how.wanted_only ? hugepage_wanted(*vma) : (vma->vm_flags.get() & VM_NOHUGEPAGE) == 0;
  const bool fits = start + pmd_size() <= vma->vm_end.get();
  return wanted && fits && vma_is_anonymous(*vma) && (vma->vm_flags.get() & VM_ACCESS_FLAGS) != 0 ? vma
                                                                                                  : nullptr;
}

/// What a collapse may do in this area: a page that a userfaultfd is to fill is not filled with zeros.
collapse_control control_in(const vm_area_struct& vma, collapse_control how) {
  if (userfaultfd_armed(vma)) how.max_ptes_none = 0;
  return how;
}

/// Is there a table to be collapsed? Caller holds the mmap_lock.
scan_result check_pmd_state(const pmd_lookup& at) {
  if (!at.found) return scan_result::pmd_null;
  const pmd_t pmd = pmdp_get_lockless(at.pmdp);
  if (pmd_trans_huge(pmd)) return scan_result::pmd_mapped;
  return pmd_is_table(pmd) ? scan_result::succeed : scan_result::pmd_null;
}

scan_result collapse_under_mmap_lock(mm_struct& mm, mmap_region& region, vaddr_t start, folio* huge,
                                     const collapse_control& how) {
  scan_result result;
  vm_area_struct* vma = hugepage_vma_revalidate(region, start, how, &result);
  if (vma == nullptr) return result;
  const pmd_lookup at = find_pmd(mm, start);
  result = check_pmd_state(at);
  if (result != scan_result::succeed) return result;
  write_guard vm_lock(vma->vm_lock);
  write_guard anon_vma(region.anon_vma_lock);
  return collapse_table({mm, start, at.pmdp, {}}, *vma, huge, control_in(*vma, how));
}

} // namespace

scan_result collapse_huge_page(mm_struct& mm, vaddr_t addr, const collapse_control& how) {
  const vaddr_t start = addr & pmd_mask();
  mmap_region* region = mm.existing_region(start);
  if (region == nullptr) return scan_result::vma_null;
  page* huge = alloc_pages(hpage_pmd_order(), GFP_KERNEL); // before the locks: it may have to wait
  count_vm_event(huge == nullptr ? THP_COLLAPSE_ALLOC_FAILED : THP_COLLAPSE_ALLOC);
  if (huge == nullptr) return scan_result::alloc_huge_page_fail;
  scan_result result;
  {
    write_guard mmap_lock(region->mmap_lock);
    result = collapse_under_mmap_lock(mm, *region, start, page_folio(huge), how);
  }
  if (result != scan_result::succeed) put_page(huge);
  return result;
}

namespace {

/// How many entries have no page, or one that others have too.
struct seen_entries {
  unsigned none = 0;
  unsigned shared = 0;
};

bool is_shared(const folio* folio, const page* page) {
  return atomic_read(page->_mapcount) > 0 || atomic_read(folio->page._entire_mapcount) >= 0;
}

/// One entry of a table in use, as far as it can be judged from outside.
scan_result scan_one(pte_t pte, seen_entries& seen, const collapse_control& how) {
  if (pte_none_or_zero(pte))
    return ++seen.none > how.max_ptes_none ? scan_result::exceed_none_pte : scan_result::succeed;
  if (!pte_present(pte)) return scan_result::pte_non_present;
  if (pte_uffd_wp(pte)) return scan_result::pte_uffd_wp;
  page* page = pfn_to_page(pte_pfn(pte));
  folio* folio = page_folio(page);
  if (is_shared(folio, page) && ++seen.shared > how.max_ptes_shared) return scan_result::exceed_shared_pte;
  if (folio_test_locked(folio)) return scan_result::page_lock;
  return is_refcount_suitable(folio) ? scan_result::succeed : scan_result::page_count;
}

} // namespace

scan_result hpage_collapse_scan_pmd(mm_struct& mm, vaddr_t addr, const collapse_control& how) {
  const vaddr_t start = addr & pmd_mask();
  mmap_region* region = mm.existing_region(start);
  if (region == nullptr) return scan_result::vma_null;
  read_guard mmap_lock(region->mmap_lock);
  scan_result result;
  const vm_area_struct* vma = hugepage_vma_revalidate(*region, start, how, &result);
  if (vma == nullptr) return result;
  const pmd_lookup at = find_pmd(mm, start);
  result = check_pmd_state(at);
  if (result != scan_result::succeed) return result;
  const pte_map_lock table(at.pmdp);
  if (!table) return scan_result::pmd_null;
  seen_entries seen;
  for (unsigned i = 0; i < hpage_pmd_nr() && result == scan_result::succeed; ++i)
    result = scan_one(ptep_get(table.at(start + i * PAGE_SIZE)), seen, control_in(*vma, how));
  return result;
}

} // namespace racewalk::inline RACEWALK_BACKEND
