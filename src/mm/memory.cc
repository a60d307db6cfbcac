#include "mm/memory.h"

#include <algorithm>
#include <array>

#include "arch/swapops.h"
#include "machine/tlbflush.h"
#include "mm/dax.h"
#include "mm/deferred_split.h"
#include "mm/file_fault.h"
#include "mm/filemap.h"
#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"
#include "mm/tlbbatch.h"
#include "mm/userfaultfd.h"

namespace racewalk::inline RACEWALK_BACKEND {

pgprot_t vm_page_prot(const vm_area_struct& vma) {
  pgprot_t prot = vm_get_page_prot(vma.vm_flags.get());
  if (!vma_is_anonymous(vma))
    prot.write = prot.write && (vma.vm_flags.get() & VM_SHARED) != 0 && !vma_wants_writenotify(vma);
  prot.write = prot.write && !vma_soft_dirty_enabled(vma);
  return prot;
}

// ---- faults ----------------------------------------------------------------------------------------------

namespace {

/// What is only read needs no memory before it is stored to (wp_zero_page()).
fault_result map_zero_page(const vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp) {
  pgprot_t prot = vm_page_prot(vma);
  prot.write = false;
  pte_map_lock table(pmdp);
  if (table && pte_none(ptep_get(table.at(addr))))
    set_pte_at(addr, table.at(addr), pte_mkspecial(mk_pte(ZERO_PFN, prot)));
  return fault_result::handled;
}

/// A zeroed page behind an entry that is none.
fault_result do_anonymous_page(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  if (userfaultfd_missing(vma)) return handle_userfault(vma, addr, flags, VM_UFFD_MISSING);
  if ((flags & FAULT_FLAG_WRITE) == 0) return map_zero_page(vma, addr, pmdp);
  page* page = alloc_page(GFP_ZERO);
  if (page == nullptr) return fault_result::oom;
  folio* folio = page_folio(page);
  pte_t entry = pte_mkdirty(mk_pte(page_to_pfn(page), vm_page_prot(vma)));
  if ((vma.vm_flags.get() & VM_WRITE) != 0) entry = pte_mkwrite(entry); // else it is forced (FOLL_FORCE)
  {
    pte_map_lock table(pmdp);
    if (table && pte_none(ptep_get(table.at(addr)))) {
      folio_add_new_anon_rmap(folio, vma, addr);
      // The page's content and counts come before the entry that leads to it: pairs with the address
      // dependency from the entry to the page in gup_fast_pte_range() and in user accesses.
      smp_wmb();
      set_pte_at(addr, table.at(addr), entry);
      folio = nullptr;
    }
  }
  if (folio != nullptr)
    folio_put(folio); // another CPU was faster, or has taken the table away: the access decides anew
  else
    add_mm_counter(*vma.vm_mm, MM_ANONPAGES, 1);
  return fault_result::handled;
}

/// The entry of a page that the area's mm may store to: what the fault asks for. A right is granted, none
/// taken: whose TLB still refuses the access faults, and comes here to find it granted. Caller holds the ptl.
void wp_page_reuse(const vm_area_struct& vma, vaddr_t addr, const ptep_t& ptep, pte_t old,
                   fault_flags flags) {
  if ((flags & FAULT_FLAG_WRITE) == 0) return; // to unshare it was all there was to do
  pte_t entry = pte_mkdirty(pte_mkyoung(old));
  // not if a write was forced (FOLL_FORCE): then it goes to the page, past the entry
  if ((vma.vm_flags.get() & VM_WRITE) != 0) entry = pte_mkwrite(entry);
  ptep_set_access_flags(addr, ptep, entry);
}

/// The entry of a page of the mm's own that takes the place of what `seen` maps.
pte_t entry_of_copy(const vm_area_struct& vma, page* copy, pte_t seen, fault_flags flags) {
  const bool write = (flags & FAULT_FLAG_WRITE) != 0;
  const bool uffd_wp = !write && pte_uffd_wp(seen); // only copied, and still to be heard of
  pgprot_t prot = vm_get_page_prot(vma.vm_flags.get());
  if (!write && (uffd_wp || vma_soft_dirty_enabled(vma))) prot.write = false; // as is the first store
  const pte_t entry = mk_pte(page_to_pfn(copy), prot);
  if (uffd_wp) return pte_mkuffd_wp(entry);
  return write ? pte_mkdirty(entry) : entry;
}

/// Puts a page that nobody else can reach in the place of what `seen` maps: `old`, or the page of zeros if
/// that is null. False if the entry is another one by now, and nothing has changed.
bool replace_by_copy(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen, page* old, page* copy,
                     pte_t entry) {
  mm_struct& mm = *vma.vm_mm;
  mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, addr, addr + PAGE_SIZE);
  pte_map_lock table(pmdp);
  if (!table || !pte_same(ptep_get(table.at(addr)), seen)) return false;
  const ptep_t ptep = table.at(addr);
  // The old page is out of sight everywhere before the new one can be stored to: no thread reads what was
  // there after it has seen what another has stored since (M41).
  (void)ptep_clear_flush(mm, addr, ptep);
  folio_add_new_anon_rmap(page_folio(copy), vma, addr);
  smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pte_range()
  set_pte_at(addr, ptep, entry);
  if (old != nullptr) folio_remove_rmap_pte(old);
  return true;
}

/// Gives the area's mm a page of its own in place of `old`, of which the caller has a reference that this
/// drops.
fault_result wp_page_copy(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen, page* old,
                          fault_flags flags) {
  mm_struct& mm = *vma.vm_mm;
  page* copy = alloc_page(GFP_KERNEL);
  if (copy == nullptr) {
    folio_put(page_folio(old));
    return fault_result::oom;
  }
  const mm_counter counted_as = mm_counter_of(page_folio(old));
  if (counted_as == MM_ANONPAGES)
    // Nobody stores to what is shared: who could, has been flushed, and stores again only after a fault that
    // found no other reference than its own.
    copy_highpage(copy, old);
  else
    copy_user_highpage(copy, old);
  if (!vma_is_anonymous(vma)) vma_set_bar(vma, VMA_HAS_ANON);
  const pte_t entry = entry_of_copy(vma, copy, seen, flags);
  const bool replaced = replace_by_copy(vma, addr, pmdp, seen, old, copy, entry);
  if (replaced && counted_as == MM_ANONPAGES) {
    deferred_split_folio(old);
    free_swap_cache(page_folio(old));
  } else if (replaced) {
    add_mm_counter(mm, counted_as, -1);
    add_mm_counter(mm, MM_ANONPAGES, 1);
  }
  folio_put(page_folio(replaced ? old : copy)); // the entry's, or another CPU was faster
  folio_put(page_folio(old));
  return fault_result::handled;
}

/// The same in place of the page of zeros.
fault_result wp_zero_page(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen,
                          fault_flags flags) {
  page* page = alloc_page(GFP_ZERO);
  if (page == nullptr) return fault_result::oom;
  const pte_t entry = entry_of_copy(vma, page, seen, flags);
  if (replace_by_copy(vma, addr, pmdp, seen, nullptr, page, entry))
    add_mm_counter(*vma.vm_mm, MM_ANONPAGES, 1);
  else
    put_page(page);
  return fault_result::handled;
}

/// Nobody may store to a page while it is copied. Who has a userfaultfd protect pages flushes after the ptl,
/// and the protection may be taken back before: then the entry looks like any other that forbids stores, and
/// a TLB may still let them through (H10). Caller holds the ptl.
void flush_before_copy(const vm_area_struct& vma, vaddr_t addr) {
  if (policy().wp_flushes_pending && userfaultfd_wp(vma) && mm_tlb_flush_pending(*vma.vm_mm))
    flush_tlb_page(vma.vm_mm->context, addr);
}

/// A private page that others may have too is to be stored to, or to be the mm's alone (FAULT_FLAG_UNSHARE):
/// keeps it if nobody else has it any more, and copies it otherwise.
fault_result do_wp_page(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen,
                        fault_flags flags) {
  if ((vma.vm_flags.get() & VM_SHARED) != 0) return wp_page_shared(vma, addr, pmdp, seen);
  if (pte_special(seen)) return wp_zero_page(vma, addr, pmdp, seen, flags);
  page* page = pfn_to_page(pte_pfn(seen));
  {
    pte_map_lock table(pmdp);
    if (!table) return fault_result::handled;
    const ptep_t ptep = table.at(addr);
    const pte_t old = ptep_get(ptep);
    if (!pte_same(old, seen)) return fault_result::handled; // it changed: the access decides anew
    if (wp_can_reuse_anon_page(vma, page)) {
      wp_page_reuse(vma, addr, ptep, old, flags);
      return fault_result::handled;
    }
    flush_before_copy(vma, addr);
    folio_get(page_folio(page)); // it stays until it is copied
  }
  return wp_page_copy(vma, addr, pmdp, seen, page, flags);
}

/// An entry that is there and did not grant the access: grants it, or finds that it does by now.
fault_result do_present_pte(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen,
                            fault_flags flags) {
  const bool write = (flags & FAULT_FLAG_WRITE) != 0;
  if ((write || (flags & FAULT_FLAG_UNSHARE) != 0) && !pte_write(seen))
    return do_wp_page(vma, addr, pmdp, seen, flags);
  pte_map_lock table(pmdp);
  if (!table) return fault_result::handled;
  const ptep_t ptep = table.at(addr);
  const pte_t old = ptep_get(ptep);
  if (!pte_same(old, seen)) return fault_result::handled; // it changed: the access decides anew
  const pte_t entry = pte_mkyoung(write ? pte_mkdirty(old) : old);
  ptep_set_access_flags(addr, ptep, entry);
  return fault_result::handled;
}

/// The entry as it is now, found without its lock; none if there is no table.
pte_t pte_get_mapped(const pmdp_t& pmdp, vaddr_t addr) {
  const pte_map table(pmdp);
  return table ? ptep_get_lockless(table.at(addr)) : pte_t{};
}

/// An entry that says how a page is to be mapped that is not there (pte_marker_handle_uffd_wp).
fault_result handle_pte_marker(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen,
                               fault_flags flags) {
  if (userfaultfd_wp(vma)) return do_fault(vma, addr, pmdp, flags); // which honours the marker
  pte_map_lock table(pmdp);
  if (table && pte_same(ptep_get(table.at(addr)), seen)) pte_clear(addr, table.at(addr));
  return fault_result::handled;
}

/// An entry that lost its rights to tell who uses the page (change_prot_numa): it gets them back, except the
/// one to store where that may take more than asking; then the store asks again.
fault_result do_numa_page(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen) {
  pte_map_lock table(pmdp);
  if (!table) return fault_result::handled;
  const ptep_t ptep = table.at(addr);
  if (!pte_same(ptep_get(ptep), seen)) return fault_result::handled; // it changed: the access decides anew
  pgprot_t prot = rights_to_page(vm_page_prot(vma), pfn_to_page(pte_pfn(seen)));
  prot.write = prot.write && !pte_uffd_wp(seen);
  // No flush: who set it to PROT_NONE does that. Nobody lets a store through meanwhile that this entry would
  // not.
  set_pte_at(addr, ptep, pte_mkyoung(pte_modify(seen, prot)));
  add_mm_counter(*vma.vm_mm, MM_NUMA_HINT_FAULTS, 1);
  return fault_result::handled;
}

/// Whether a page that comes back should leave its slot at once: if there are few, or if what the file has
/// will not be what the page is. (That is tried only if it is likely that nobody else has the page: the
/// references are the swap cache's and the caller's.)
bool should_try_to_free_swap(folio* folio, fault_flags flags) {
  if (vm_swap_full()) return true;
  return (flags & FAULT_FLAG_WRITE) != 0 && !folio_test_ksm(folio) && folio_ref_count(folio) == 2;
}

/// Maps the locked folio of a swap entry's slot in place of the entry, which takes over a reference. Caller
/// holds the ptl; the entry is still `seen`.
void map_swapped_page(vm_area_struct& vma, vaddr_t addr, const ptep_t& ptep, pte_t seen, folio* folio,
                      fault_flags flags) {
  page* page = &folio->page;
  const swp_entry_t entry = pte_to_swp_entry(seen);
  swap_free(entry);
  if (should_try_to_free_swap(folio, flags)) (void)folio_free_swap(folio);
  VM_BUG_ON(page->index.get() != linear_page_index(vma, addr) && !folio_test_ksm(folio), "INV-REF",
            "a page comes back where nobody who comes from it will look");
  if (is_exclusive_swap_entry(entry)) {
    folio_move_anon_rmap(folio, vma);
    SetPageAnonExclusive(page);
  }
  folio_add_rmap_pte(page);
  pte_t pte = mk_pte(page_to_pfn(page), rights_to_page(vm_page_prot(vma), page));
  if (!pte_swp_soft_dirty(seen)) pte = pte_clear_soft_dirty(pte);
  if (pte_swp_uffd_wp(seen)) pte = pte_mkuffd_wp(pte_wrprotect(pte));
  if ((flags & FAULT_FLAG_WRITE) != 0 && pte_write(pte)) pte = pte_mkdirty(pte);
  smp_wmb();                   // as in do_anonymous_page(): pairs with gup_fast_pte_range()
  set_pte_at(addr, ptep, pte); // it was not present: no TLB has it
}

/// A page that is in the swap file: brings it back. A store to what others have too faults once more, and
/// copies it then.
fault_result do_swap_page(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen,
                          fault_flags flags) {
  const auto [result, folio] = swapin_readahead(vma, addr, pmdp, pte_to_swp_entry(seen));
  if (folio == nullptr) {
    // Who has taken the folio out of the slot has the ptl until the entry says so: no need to ask before.
    if (result == fault_result::handled) {
      const pte_map_lock whoever(pmdp);
    }
    return result;
  }
  bool mapped = false;
  {
    pte_map_lock table(pmdp);
    mapped = table && (!policy().swapin_rechecks_pte || pte_same(ptep_get(table.at(addr)), seen));
    if (mapped) map_swapped_page(vma, addr, table.at(addr), seen, folio, flags);
    // The reference is the entry's now: once the ptl is dropped it may go, and the folio with it.
    folio_unlock(folio);
  }
  if (mapped) {
    add_mm_counter(*vma.vm_mm, MM_ANONPAGES, 1);
    add_mm_counter(*vma.vm_mm, MM_SWAPENTS, -1);
    return fault_result::handled;
  }
  folio_put(folio);
  return fault_result::handled;
}

bool vma_is_accessible(const vm_area_struct& vma) { return (vma.vm_flags.get() & VM_ACCESS_FLAGS) != 0; }

fault_result handle_pte_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  const pte_t pte = pte_get_mapped(pmdp, addr);
  if (pte_none(pte))
    return vma_is_anonymous(vma) ? do_anonymous_page(vma, addr, pmdp, flags)
                                 : do_fault(vma, addr, pmdp, flags);
  if (is_pte_marker(pte)) return handle_pte_marker(vma, addr, pmdp, pte, flags);
  if (!pte_present(pte)) {
    if (is_swap_entry(pte_to_swp_entry(pte))) return do_swap_page(vma, addr, pmdp, pte, flags);
    migration_entry_wait(pmdp, addr);
    return fault_result::handled;
  }
  if (pte_protnone(pte) && vma_is_accessible(vma)) return do_numa_page(vma, addr, pmdp, pte);
  if ((flags & FAULT_FLAG_WRITE) != 0 && pte_uffd_wp(pte) && userfaultfd_wp(vma))
    return handle_userfault(vma, addr, flags, VM_UFFD_WP);
  return do_present_pte(vma, addr, pmdp, pte, flags);
}

bool access_permitted(const vm_area_struct& vma, fault_flags flags) {
  return (vma.vm_flags.get() & ((flags & FAULT_FLAG_WRITE) != 0 ? VM_WRITE : VM_ACCESS_FLAGS)) != 0;
}

} // namespace

bool wp_can_reuse_anon_page(const vm_area_struct& vma, page* page) {
  folio* folio = page_folio(page);
  if (!folio_test_anon(folio)) return false; // the file has it, too
  if (policy().cow_reuse == cow_reuse_t::mapcount) return folio_mapcount(folio) == 1;
  if (policy().cow_reuse == cow_reuse_t::exclusive && PageAnonExclusive(page)) return true;
  if (policy().reuse_tests_ksm == reuse_ksm_t::before && folio_test_ksm(folio)) return false;
  if (folio_ref_count(folio) > 1 + s32{folio_in_swap_cache(folio)} || !folio_trylock(folio)) return false;
  // With the folio lock nobody moves it, takes it apart, or makes it stand for others. An entry that names
  // its slot keeps it in the swap cache, which has a reference then. The reference that is left is this
  // entry's; a lockless walk that takes one from here on finds the page exclusive if it looks for that.
  (void)folio_free_swap(folio);
  const bool alone = folio_ref_count(folio) == 1 &&
                     (policy().reuse_tests_ksm != reuse_ksm_t::under_lock || !folio_test_ksm(folio));
  if (alone) {
    folio_move_anon_rmap(folio, vma);
    SetPageAnonExclusive(page);
  }
  folio_unlock(folio);
  return alone;
}

fault_result vmf_insert_mixed(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pfn_t pfn,
                              fault_flags flags) {
  if (!pte_alloc(*vma.vm_mm, pmdp)) return fault_result::oom;
  const bool write = (flags & FAULT_FLAG_WRITE) != 0;
  const auto granted = [&](pte_t pte) { return pte_mkyoung(write ? pte_mkdirty(pte_mkwrite(pte)) : pte); };
  pte_map_lock table(pmdp);
  if (!table) return fault_result::handled; // taken away meanwhile: the access decides anew
  const ptep_t ptep = table.at(addr);
  const pte_t old = ptep_get(ptep);
  if (pte_none(old))
    set_pte_at(addr, ptep, granted(pte_mkdevmap(pfn_pte(pfn, vm_page_prot(vma)))));
  else
    ptep_set_access_flags(addr, ptep, granted(old));
  return fault_result::handled;
}

fault_result handle_mm_fault(vm_area_struct& vma, vaddr_t addr, fault_flags flags) {
  mm_struct& mm = *vma.vm_mm;
  addr &= PAGE_MASK;
  const pmd_lookup at = pmd_alloc(mm, addr);
  if (!at.found) return fault_result::oom;
  if (vma_is_dax(vma)) return dev_dax_fault(vma, addr, at.pmdp, flags);
  pmd_t pmd = pmdp_get_lockless(at.pmdp);
  if (pmd_none(pmd) && thp_vma_suitable(vma, addr) && !userfaultfd_missing(vma)) {
    if (do_huge_pmd_anonymous_page(vma, addr, at.pmdp, flags)) return fault_result::handled;
    pmd = pmdp_get_lockless(at.pmdp);
  }
  if (pmd_none(pmd) && !vma_is_anonymous(vma) && do_huge_file_page(vma, addr, at.pmdp, flags))
    return fault_result::handled;
  if (pmd_none(pmd)) {
    if (!pte_alloc(mm, at.pmdp)) return fault_result::oom;
    pmd = pmdp_get_lockless(at.pmdp);
  }
  if (is_pmd_migration_entry(pmd)) {
    pmd_migration_entry_wait(at.pmdp);
    return fault_result::handled;
  }
  // a huge page may have come from another CPU
  if (pmd_trans_huge(pmd) && pmd_protnone(pmd) && vma_is_accessible(vma))
    return do_huge_pmd_numa_page(vma, addr, at.pmdp, pmd);
  if (pmd_trans_huge(pmd)) return do_present_huge_pmd(vma, addr, at.pmdp, pmd, flags);
  return handle_pte_fault(vma, addr, at.pmdp, flags);
}

namespace {

/// Is it still the area that was looked for? The look-up may have been late, and the area's memory may be
/// another area by now. Caller holds its vm_lock.
bool vma_still_has(const vm_area_struct& vma, vaddr_t addr) {
  switch (policy().vma_recheck) {
  case vma_recheck_t::none:
    return true;
  case vma_recheck_t::attached:
    return vma.attached.get();
  case vma_recheck_t::address:
    break;
  }
  return vma.attached.get() && vma.contains(addr);
}

} // namespace

vm_area_struct* lock_vma(mm_struct& mm, vaddr_t addr) {
  mmap_region* region = mm.existing_region(addr);
  if (region == nullptr) return nullptr;
  vm_area_struct* vma = region->areas.lookup(addr);
  if (vma == nullptr || !down_read_trylock(vma->vm_lock)) return nullptr;
  if (vma_still_has(*vma, addr)) return vma;
  up_read(vma->vm_lock);
  return nullptr;
}

namespace {

fault_result fault_in_vma(vm_area_struct& vma, vaddr_t addr, fault_flags flags) {
  return access_permitted(vma, flags) ? handle_mm_fault(vma, addr, flags) : fault_result::sigsegv;
}

} // namespace

namespace {

/// With no lock held.
fault_result fault_in_mm(mm_struct& mm, vaddr_t addr, fault_flags flags) NO_THREAD_SAFETY_ANALYSIS {
  if (vm_area_struct* vma = policy().faults_take_vma_lock ? lock_vma(mm, addr) : nullptr) {
    const fault_result result = fault_in_vma(*vma, addr, flags | FAULT_FLAG_VMA_LOCK);
    if (result == fault_result::retry) return fault_result::handled; // the access finds out
    up_read(vma->vm_lock);
    return result;
  }
  mmap_region* region = mm.existing_region(addr);
  if (region == nullptr) return fault_result::sigsegv;
  down_read(region->mmap_lock);
  vm_area_struct* vma = region->areas.find_vma(addr);
  const fault_result result =
      vma == nullptr || !vma->contains(addr) ? fault_result::sigsegv : fault_in_vma(*vma, addr, flags);
  if (result == fault_result::retry) return fault_result::handled;
  up_read(region->mmap_lock);
  return result;
}

} // namespace

fault_result do_user_addr_fault(mm_context& context, vaddr_t addr, fault_flags flags) {
  if (addr >= geometry().address_limit()) return fault_result::sigsegv;
  const fault_result result = fault_in_mm(mm_of(context), addr, flags | FAULT_FLAG_ALLOW_RETRY);
  // memory may be held by huge pages of which not all is mapped: the access tries again
  if (result == fault_result::oom && deferred_split_scan() > 0) return fault_result::handled;
  return result;
}

// ---- taking pages away -----------------------------------------------------------------------------------

namespace {

/// How the mm's counters change by a zap.
using rss_delta = std::array<s64, NR_MM_COUNTERS>;

void add_mm_rss(mm_struct& mm, const rss_delta& rss) {
  for (unsigned which = 0; which < NR_MM_COUNTERS; ++which)
    if (rss[which] != 0) add_mm_counter(mm, static_cast<mm_counter>(which), rss[which]);
}

/// What has been done with a table's entries so far.
struct zap_progress {
  rss_delta rss{};
  bool full = false;        ///< the batch
  bool force_flush = false; ///< before the ptl is dropped
};

/// An area that stays keeps the markers that it has, and remembers which pages userfaultfd had protected.
bool keeps_markers(const vm_area_struct* vma) {
  return vma != nullptr && !vma_is_anonymous(*vma) && userfaultfd_wp(*vma);
}

/// A marker, a page in the swap file, or a migration entry: the page's move has taken its reference already.
void zap_nonpresent_pte(const mmu_gather& tlb, const vm_area_struct* vma, vaddr_t addr, const ptep_t& ptep,
                        pte_t seen, zap_progress& done) {
  if (is_pte_marker(seen)) {
    if (!keeps_markers(vma)) pte_clear(addr, ptep);
    return;
  }
  const swp_entry_t entry = pte_to_swp_entry(seen);
  const bool swapped = is_swap_entry(entry);
  const mm_counter counter =
      swapped ? MM_SWAPENTS : mm_counter_of(page_folio(pfn_to_page(swp_offset_pfn(entry))));
  if (tlb.keeps_anon && (swapped || counter == MM_ANONPAGES)) return;
  pte_clear(addr, ptep);
  if (swapped) free_swap_and_cache(entry);
  --done.rss[counter];
}

void zap_present_pte(mmu_gather& tlb, const vm_area_struct* vma, vaddr_t addr, const ptep_t& ptep, pte_t seen,
                     zap_progress& done) {
  if (pte_special(seen)) { // nobody counts who maps the page of zeros, or a device's
    (void)ptep_get_and_clear(addr, ptep);
    tlb_remove_tlb_entry(tlb, addr);
    return;
  }
  page* page = pfn_to_page(pte_pfn(seen));
  folio* folio = page_folio(page);
  const mm_counter counter = mm_counter_of(folio);
  if (tlb.keeps_anon && counter == MM_ANONPAGES) return;
  // exchange: what hardware recorded up to now comes with it, and nothing is recorded later
  const pte_t pte = ptep_get_and_clear(addr, ptep);
  if (pte_uffd_wp(pte) && keeps_markers(vma) && policy().zap_leaves_markers)
    set_pte_at(addr, ptep, make_pte_marker(PTE_MARKER_UFFD_WP));
  tlb_remove_tlb_entry(tlb, addr);
  // A CPU may still store through what it has of a dirty entry. As long as it may, the folio counts as
  // mapped, so that writeback comes for the ptl and does not take the page for clean and unmapped before that
  // store is in (M9).
  delay_rmap delay = delay_rmap::no;
  if (counter != MM_ANONPAGES && pte_dirty(pte)) {
    folio_mark_dirty(folio);
    delay = delay_rmap::yes;
    done.force_flush = true;
  }
  if (delay == delay_rmap::no) folio_remove_rmap_pte(page);
  if (counter == MM_ANONPAGES) deferred_split_folio(page);
  --done.rss[counter];
  done.full = tlb_remove_page(tlb, page, delay);
}

/// Takes out the entries of one table, from `addr` on. Returns where it stopped: before `end` if the batch is
/// full.
vaddr_t zap_pte_range(mmu_gather& tlb, const vm_area_struct* vma, const pmdp_t& pmdp, vaddr_t addr,
                      vaddr_t end) {
  zap_progress done;
  {
    pte_map_lock table(pmdp);
    if (!table) return end;
    if (policy().zap_flushes_batched)
      flush_tlb_batched_pending(tlb.mm); // entries that are gone, but not flushed
    for (; addr < end && !done.full; addr += PAGE_SIZE) {
      const ptep_t ptep = table.at(addr);
      const pte_t seen = ptep_get(ptep);
      if (pte_none(seen)) continue;
      if (pte_present(seen))
        zap_present_pte(tlb, vma, addr, ptep, seen, done);
      else
        zap_nonpresent_pte(tlb, vma, addr, ptep, seen, done);
    }
    if (done.force_flush) tlb_flush_rmaps(tlb);
  }
  add_mm_rss(tlb.mm, done.rss);
  if (done.full) tlb_flush_mmu(tlb);
  return addr;
}

/// The whole of a huge entry, or the table that replaces it when only a part of it goes. False: it is a
/// table.
bool zap_huge_pmd_range(mmu_gather& tlb, const vm_area_struct* vma, vaddr_t addr, vaddr_t end, pmdp_t pmdp) {
  const bool whole = end - addr == pmd_size();
  VM_BUG_ON(!whole && vma == nullptr, "INV-TBL", "a part of a huge page goes that no area maps");
  if (whole || vma == nullptr) return zap_huge_pmd(tlb, addr, pmdp);
  split_huge_pmd(*vma, addr, pmdp);
  return false;
}

/// Takes away the table that all entries of have been taken out of, if it is still empty. The caller holds
/// the mmap_lock for reading: faults go on, and may be reading the table.
void try_to_free_pte(mmu_gather& tlb, const pmdp_t& pmdp, vaddr_t start) {
  page* table = nullptr;
  {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t pmd = pmdp_get(pmdp);
    if (!pmd_is_table(pmd)) return; // somebody else has been here: it is none or huge
    spin_guard ptl(pte_lockptr(pmd));
    // A fault may have put a page in since the last entry was taken out. From here on none does: it finds the
    // PMD entry changed once it holds the ptl. Pairs with the second look in pte_map_lock.
    if (policy().reclaim_pt_rechecks && !pte_table_is_empty(pmd, start)) return;
    pmd_clear(pmdp);
    table = pmd_pgtable(pmd);
    WRITE_ONCE(table->flags, 0); // as unhook_table()
  }
  add_mm_counter(tlb.mm, MM_PGTABLES, -1);
  tlb_remove_table(tlb, table, start, pmd_size());
}

void zap_pmd_range(mmu_gather& tlb, const vm_area_struct* vma, pudp_t pudp, pud_t pud, vaddr_t addr,
                   vaddr_t end) {
  for (vaddr_t next; addr < end; addr = next) {
    next = pmd_addr_end(addr, end);
    const pmdp_t pmdp = pmd_offset(pudp, pud, addr);
    const pmd_t pmd = pmdp_get_lockless(pmdp);
    if (pmd_none(pmd) && policy().zap_trusts_none) continue;
    if (!pmd_is_table(pmd) && zap_huge_pmd_range(tlb, vma, addr, next, pmdp)) continue;
    const vaddr_t first = addr;
    while ((addr = zap_pte_range(tlb, vma, pmdp, addr, next)) != next) {
    }
    if (tlb.reclaim_pt && next - first == pmd_size()) try_to_free_pte(tlb, pmdp, first);
  }
}

void zap_pud_range(mmu_gather& tlb, const vm_area_struct* vma, pgdp_t pgdp, pgd_t pgd, vaddr_t addr,
                   vaddr_t end) {
  for (vaddr_t next; addr < end; addr = next) {
    next = pud_addr_end(addr, end);
    const pudp_t pudp = pud_offset(pgdp, pgd, addr);
    const pud_t pud = pudp_get(pudp);
    if (pud_present(pud)) zap_pmd_range(tlb, vma, pudp, pud, addr, next);
  }
}

} // namespace

void unmap_page_range(mmu_gather& tlb, vaddr_t start, vaddr_t end, const vm_area_struct* vma) {
  for (vaddr_t addr = start, next; addr < end; addr = next) {
    next = pgd_addr_end(addr, end);
    const pgdp_t pgdp = pgd_offset(tlb.mm, addr);
    const pgd_t pgd = pgdp_get(pgdp);
    if (pgd_present(pgd)) zap_pud_range(tlb, vma, pgdp, pgd, addr, next);
  }
}

// ---- taking tables away ----------------------------------------------------------------------------------
// No lock: the areas are detached, so nobody but lockless walkers and hardware can reach the tables, and both
// may come upon them until tlb_remove_table() has seen to it that they do not (M39).

namespace {

/// The table that an entry points to is out of use: the entry goes, and with it the table.
template <class Clear>
void unhook_table(mmu_gather& tlb, page* table, unsigned level, vaddr_t addr, Clear clear_entry) {
  if (policy().serialize_before_unhook) serialize_against_pte_lookup(tlb.mm);
  clear_entry(RW_HERE);
  WRITE_ONCE(table->flags, 0); // not a table any more: pte_table_guard looks for it
  if (!policy().serialize_before_unhook) serialize_against_pte_lookup(tlb.mm);
  const u64 size = geometry().size(level);
  add_mm_counter(tlb.mm, MM_PGTABLES, -1);
  tlb_remove_table(tlb, table, addr & ~(size - 1), size);
}

/// Whether all that an entry of this level covers lies between floor and ceiling.
bool entry_unneeded(const unmap_range& range, unsigned level, vaddr_t addr) {
  const u64 size = geometry().size(level);
  const vaddr_t first = addr & ~(size - 1);
  return first >= range.floor && first + size <= range.ceiling;
}

void free_pmd_range(mmu_gather& tlb, pudp_t pudp, pud_t pud, vaddr_t addr, vaddr_t end,
                    const unmap_range& range) {
  for (vaddr_t next; addr < end; addr = next) {
    next = pmd_addr_end(addr, end);
    const pmdp_t pmdp = pmd_offset(pudp, pud, addr);
    const pmd_t pmd = pmdp_get(pmdp);
    if (pmd_is_table(pmd) && entry_unneeded(range, PMD_LEVEL, addr))
      unhook_table(tlb, pmd_pgtable(pmd), PMD_LEVEL, addr, [&](site s) { pmd_clear(pmdp, s); });
  }
}

void free_pud_range(mmu_gather& tlb, pgdp_t pgdp, pgd_t pgd, vaddr_t addr, vaddr_t end,
                    const unmap_range& range) {
  for (vaddr_t next; addr < end; addr = next) {
    next = pud_addr_end(addr, end);
    const pudp_t pudp = pud_offset(pgdp, pgd, addr);
    const pud_t pud = pudp_get(pudp);
    if (!pud_present(pud)) continue;
    free_pmd_range(tlb, pudp, pud, addr, next, range);
    if (!pud_folded() && entry_unneeded(range, PUD_LEVEL, addr))
      unhook_table(tlb, pfn_to_page(pud_table_pfn(pud)), PUD_LEVEL, addr,
                   [&](site s) { pud_clear(pudp, s); });
  }
}

} // namespace

void free_pgtables(mmu_gather& tlb, const unmap_range& range) {
  for (vaddr_t addr = range.start, next; addr < range.end; addr = next) {
    next = pgd_addr_end(addr, range.end);
    const pgdp_t pgdp = pgd_offset(tlb.mm, addr);
    const pgd_t pgd = pgdp_get(pgdp);
    if (!pgd_present(pgd)) continue;
    free_pud_range(tlb, pgdp, pgd, addr, next, range);
    if (!pgd_folded() && entry_unneeded(range, PGD_LEVEL, addr))
      unhook_table(tlb, pfn_to_page(pgd_table_pfn(pgd)), PGD_LEVEL, addr,
                   [&](site s) { pgd_clear(pgdp, s); });
  }
}

namespace {

/// `detached`: areas that are linked by next_free.
void unlink_file_vmas(vm_area_struct* detached) {
  for (vm_area_struct* vma = detached; vma != nullptr; vma = vma->next_free.get())
    unlink_file_vma(*vma);
}

} // namespace

void unmap_region(mm_struct& mm, const unmap_range& range, bool fullmm, vm_area_struct* detached) {
  mmu_gather tlb(mm);
  fullmm ? tlb_gather_mmu_fullmm(tlb) : tlb_gather_mmu(tlb);
  {
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::unmap, range.start, range.end);
    unmap_page_range(tlb, range.start, range.end);
  }
  // Only now, when it has no entries left for who comes from a folio; and before its tables go, which whoever
  // comes still walks (S3.9).
  if (policy().unlink_before_tables) unlink_file_vmas(detached);
  free_pgtables(tlb, range);
  tlb_finish_mmu(tlb);
  if (!policy().unlink_before_tables) unlink_file_vmas(detached);
}

} // namespace racewalk::inline RACEWALK_BACKEND
