#include "mm/file_fault.h"

#include "arch/swapops.h"
#include "mm/filemap.h"
#include "mm/highmem.h"
#include "mm/rmap.h"
#include "mm/userfaultfd.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool vma_wants_writenotify(const vm_area_struct& vma) {
  return vma.vm_file.get() != nullptr && (vma.vm_flags.get() & VM_SHARED) != 0 &&
         (vma.vm_flags.get() & VM_WRITE) != 0 && vma.vm_file.get()->mapping().tracks_dirty;
}

// ---- putting entries in ----------------------------------------------------------------------------------

void set_file_pte(vm_area_struct& vma, vaddr_t addr, ptep_t ptep, page* page, fault_flags flags) {
  pte_t entry = mk_pte(page_to_pfn(page), vm_page_prot(vma));
  if ((flags & FAULT_FLAG_WRITE) != 0) entry = pte_mkdirty(pte_mkwrite(entry));
  if (pte_marker_uffd_wp(ptep_get(ptep))) entry = pte_mkuffd_wp(entry);
  folio_add_rmap_pte(page);
  smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pte_range()
  set_pte_at(addr, ptep, entry);
  add_mm_counter(*vma.vm_mm, mm_counter_file(page_folio(page)), 1);
}

namespace {

/// Puts the entry in, unless one is there by now. Caller holds the folio lock.
bool finish_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, page* page, fault_flags flags) {
  pte_map_lock table(pmdp);
  if (!table || !pte_none_mostly(ptep_get(table.at(addr)))) return false;
  set_file_pte(vma, addr, table.at(addr), page, flags);
  return true;
}

void unlock_and_put(folio* folio, bool mapped) {
  folio_unlock(folio);
  if (!mapped) folio_put(folio);
}

/// What the area's file has at a page, or userfaultfd's answer: then there is no folio, and perhaps no lock
/// of the area any more.
vm_fault_folio vma_fault_folio(vm_area_struct& vma, vaddr_t addr, fault_flags flags) {
  address_space& mapping = vma.vm_file.get()->mapping();
  const u64 index = linear_page_index(vma, addr);
  if (userfaultfd_minor(vma)) {
    const xa_entry there = filemap_get_entry(mapping, index);
    if (there.is_folio()) folio_put(there.folio());
    // in the swap file it is there, too
    if (!there.none()) return {handle_userfault(vma, addr, flags, VM_UFFD_MINOR), nullptr};
  }
  if (!userfaultfd_missing(vma)) return filemap_fault(vma, index);
  // Whether the page is there is found out in the step that would make it: a hole that is punched meanwhile
  // is reported, too.
  const vm_fault_folio found = filemap_fault(vma, index, fgp::no_creat);
  if (found.folio != nullptr || found.result != fault_result::handled) return found;
  return {handle_userfault(vma, addr, flags, VM_UFFD_MISSING), nullptr};
}

fault_result do_read_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  // pages that a userfaultfd wants to know of are mapped one by one
  const bool alone = (vma.vm_flags.get() & (VM_UFFD_WP | VM_UFFD_MINOR)) != 0;
  if (!alone && filemap_map_pages(vma, addr, pmdp)) return fault_result::handled;
  const u64 index = linear_page_index(vma, addr);
  const auto [result, folio] = vma_fault_folio(vma, addr, flags);
  if (folio == nullptr) return result;
  unlock_and_put(folio, finish_fault(vma, addr, pmdp, folio_file_page(folio, index), FAULT_FLAG_NONE));
  return fault_result::handled;
}

fault_result do_shared_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  balance_dirty_pages(vma.vm_file.get()->mapping());
  const u64 index = linear_page_index(vma, addr);
  const auto [result, folio] = vma_fault_folio(vma, addr, flags);
  if (folio == nullptr) return result;
  if (vma_wants_writenotify(vma))
    if (const fault_result refused = filemap_page_mkwrite(folio); refused != fault_result::handled) {
      unlock_and_put(folio, false);
      return refused;
    }
  const bool mapped = finish_fault(vma, addr, pmdp, folio_file_page(folio, index), FAULT_FLAG_WRITE);
  folio_mark_dirty(folio);
  unlock_and_put(folio, mapped);
  return fault_result::handled;
}

/// A store to a private mapping: the page is copied at once. (A store that was forced leaves the entry
/// read-only.)
fault_result do_cow_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  page* copy = alloc_page(GFP_KERNEL);
  if (copy == nullptr) return fault_result::oom;
  const u64 index = linear_page_index(vma, addr);
  const auto [result, folio] = vma_fault_folio(vma, addr, flags);
  if (folio == nullptr) {
    put_page(copy);
    return result;
  }
  copy_user_highpage(copy, folio_file_page(folio, index));
  vma_set_bar(vma, VMA_HAS_ANON);
  bool mapped = false;
  {
    pte_map_lock table(pmdp);
    const pte_t old = table ? ptep_get(table.at(addr)) : pte_t{};
    if (table && pte_none_mostly(old)) {
      pte_t entry = pte_mkdirty(mk_pte(page_to_pfn(copy), vm_get_page_prot(vma.vm_flags.get())));
      if (pte_marker_uffd_wp(old)) entry = pte_mkuffd_wp(entry);
      folio_add_new_anon_rmap(page_folio(copy), vma, addr);
      smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pte_range()
      set_pte_at(addr, table.at(addr), entry);
      mapped = true;
    }
  }
  unlock_and_put(folio, false);
  if (mapped)
    add_mm_counter(*vma.vm_mm, MM_ANONPAGES, 1);
  else
    put_page(copy);
  return fault_result::handled;
}

} // namespace

fault_result do_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  if ((flags & FAULT_FLAG_WRITE) == 0) return do_read_fault(vma, addr, pmdp, flags);
  return (vma.vm_flags.get() & VM_SHARED) != 0 ? do_shared_fault(vma, addr, pmdp, flags)
                                               : do_cow_fault(vma, addr, pmdp, flags);
}

// ---- stores to read-only entries -------------------------------------------------------------------------

namespace {

/// The page of an entry that is still as it was seen, with a reference; null if it is not.
page* get_page_of(vaddr_t addr, const pmdp_t& pmdp, pte_t seen) {
  pte_map_lock table(pmdp);
  if (!table || !pte_same(ptep_get(table.at(addr)), seen)) return nullptr;
  page* page = pfn_to_page(pte_pfn(seen));
  folio_get(page_folio(page));
  return page;
}

/// The entry, if it is still as it was seen, lets the page be written.
void wp_page_reuse(vaddr_t addr, const pmdp_t& pmdp, pte_t seen) {
  pte_map_lock table(pmdp);
  if (!table) return;
  const ptep_t ptep = table.at(addr);
  const pte_t old = ptep_get(ptep);
  if (pte_same(old, seen)) ptep_set_access_flags(addr, ptep, pte_mkyoung(pte_mkdirty(pte_mkwrite(old))));
}

} // namespace

fault_result wp_page_shared(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen) {
  balance_dirty_pages(vma.vm_file.get()->mapping());
  page* page = get_page_of(addr, pmdp, seen);
  if (page == nullptr) return fault_result::handled;
  folio* folio = page_folio(page);
  fault_result result = fault_result::handled;
  folio_lock(folio);
  // truncated while this waited: the entry is gone, and the access decides anew
  if (folio_mapping(folio) == &vma.vm_file.get()->mapping()) {
    if (vma_wants_writenotify(vma)) result = filemap_page_mkwrite(folio);
    if (result == fault_result::handled) {
      wp_page_reuse(addr, pmdp, seen);
      folio_mark_dirty(folio);
    }
  }
  unlock_and_put(folio, false);
  return result;
}

} // namespace racewalk::inline RACEWALK_BACKEND
