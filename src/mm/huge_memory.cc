#include "mm/huge_memory.h"

#include <cerrno>

#include "arch/swapops.h"
#include "machine/tlbflush.h"
#include "mm/deferred_split.h"
#include "mm/filemap.h"
#include "mm/huge_zero_page.h"
#include "mm/memory.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/thp.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool hugepage_wanted(const vm_area_struct& vma) {
  if ((vma.vm_flags.get() & VM_NOHUGEPAGE) != 0) return false;
  switch (thp_enabled_now()) {
  case thp_enabled::always:
    return true;
  case thp_enabled::madvise:
    return (vma.vm_flags.get() & VM_HUGEPAGE) != 0;
  case thp_enabled::never:
    break;
  }
  return false;
}

bool thp_vma_suitable(const vm_area_struct& vma, vaddr_t addr) {
  const vaddr_t start = addr & pmd_mask();
  return vma_is_anonymous(vma) && hugepage_wanted(vma) && start >= vma.vm_start.get() &&
         start + pmd_size() <= vma.vm_end.get();
}

namespace {

/// How hard a fault in the area tries to get a huge page.
gfp_t vma_thp_gfp_mask(const vm_area_struct& vma) {
  const bool advised = (vma.vm_flags.get() & VM_HUGEPAGE) != 0;
  switch (thp_defrag_now()) {
  case thp_defrag::always:
    return GFP_KERNEL;
  case thp_defrag::defer_madvise:
  case thp_defrag::madvise:
    return advised ? GFP_KERNEL : GFP_NOWAIT;
  case thp_defrag::defer:
  case thp_defrag::never:
    break;
  }
  return GFP_NOWAIT;
}

/// A fault in the area has got no huge page.
void thp_fault_fallback(const vm_area_struct& vma) {
  count_vm_event(THP_FAULT_FALLBACK);
  const thp_defrag mode = thp_defrag_now();
  const bool advised = (vma.vm_flags.get() & VM_HUGEPAGE) != 0;
  if (mode == thp_defrag::defer || (mode == thp_defrag::defer_madvise && !advised))
    machine().thp->khugepaged.wake_to_make_room();
}

} // namespace

namespace {

/// The entry of a new huge page that a fault of the area brings.
pmd_t new_huge_entry(const vm_area_struct& vma, page* page, fault_flags flags) {
  pmd_t entry = mk_huge_pmd(page_to_pfn(page), vm_page_prot(vma));
  if ((flags & FAULT_FLAG_WRITE) != 0) {
    entry = pmd_mkdirty(entry);
    if ((vma.vm_flags.get() & VM_WRITE) != 0) entry = pmd_mkwrite(entry); // else it is forced (FOLL_FORCE)
  }
  return entry;
}

/// What is only read needs no memory before it is stored to (do_huge_zero_wp_pmd()). False: there is no
/// memory for the zeros.
bool map_huge_zero_page(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp) {
  mm_struct& mm = *vma.vm_mm;
  page* table = pagetable_alloc(GFP_KERNEL);
  folio* zeros = table == nullptr ? nullptr : mm_get_huge_zero_folio(mm);
  if (zeros == nullptr) {
    if (table != nullptr) pagetable_free(table);
    thp_fault_fallback(vma);
    return false;
  }
  pgprot_t prot = vm_page_prot(vma);
  prot.write = false;
  bool mapped = false;
  {
    spin_guard pml(pmd_lockptr(pmdp));
    mapped = pmd_none(pmdp_get(pmdp));
    if (mapped) {
      pgtable_trans_huge_deposit(pmdp, table);
      // The zeros, then the entry: pairs with the address dependency from the entry to the page in
      // gup_fast_pmd_leaf() and in user accesses.
      smp_wmb();
      set_pmd_at(addr & pmd_mask(), pmdp, pmd_mkspecial(mk_huge_pmd(folio_pfn(zeros), prot)));
    }
  }
  if (mapped) {
    add_mm_counter(mm, MM_PGTABLES, 1);
    count_vm_event(THP_ZERO_PAGE_MAPPED);
  } else { // another CPU was faster
    pagetable_free(table);
  }
  return true;
}

} // namespace

bool do_huge_pmd_anonymous_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, fault_flags flags) {
  mm_struct& mm = *vma.vm_mm;
  if ((flags & FAULT_FLAG_WRITE) == 0 && thp_use_zero_page_now()) return map_huge_zero_page(vma, addr, pmdp);
  const gfp_t gfp = vma_thp_gfp_mask(vma);
  page* table = pagetable_alloc(gfp);
  page* page = table == nullptr ? nullptr : alloc_pages(hpage_pmd_order(), GFP_ZERO | gfp);
  if (page == nullptr) {
    if (table != nullptr) pagetable_free(table);
    thp_fault_fallback(vma);
    return false;
  }
  const pmd_t entry = new_huge_entry(vma, page, flags);
  if (install_huge_pmd(vma, addr & pmd_mask(), pmdp, page_folio(page), entry, table)) {
    add_mm_counter(mm, MM_ANONPAGES, hpage_pmd_nr());
    add_mm_counter(mm, MM_PGTABLES, 1);
    count_vm_event(THP_FAULT_ALLOC);
  } else { // another CPU was faster
    put_page(page);
    pagetable_free(table);
  }
  return true;
}

bool install_huge_pmd(const vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, folio* folio, pmd_t entry,
                      page* table) {
  spin_guard pml(pmd_lockptr(pmdp));
  if (!pmd_none(pmdp_get(pmdp))) return false;
  folio_add_new_anon_rmap(folio, vma, start);
  pgtable_trans_huge_deposit(pmdp, table);
  smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pmd_leaf()
  set_pmd_at(start, pmdp, entry);
  return true;
}

namespace {

/// Gives a huge entry what a fault asks for. Caller holds the pml.
void grant_huge(const pmdp_t& pmdp, bool write, bool writable) {
  const auto granted = [=](pmd_t pmd) {
    if (write) pmd = pmd_mkdirty(writable ? pmd_mkwrite(pmd) : pmd);
    return pmd_mkyoung(pmd);
  };
  const pmd_t old = update_entry(pmdp, [&](u64 e, level_t) { return granted(pmd_t{e}).val; });
  page_table_check_pmd_grant(granted(old));
}

/// What a huge entry may get of an area's rights.
pgprot_t rights_to_huge(pgprot_t prot, pmd_t pmd) {
  if (pmd_devmap(pmd)) return prot;
  if (pmd_special(pmd)) prot.write = false;
  return pmd_special(pmd) ? prot : rights_to_page(prot, pfn_to_page(pmd_pfn(pmd)));
}

/// The entry as hardware left it; from now on it faults, and nothing more is recorded (M30). Needs the pml.
pmd_t pmdp_invalidate_once(vaddr_t addr, const pmdp_t& pmdp) {
  if (policy().invalidate_by_exchange) return pmdp_invalidate_raw(addr, pmdp);
  const pmd_t old = pmdp_get(pmdp); // what hardware records from here on is lost (S4.5)
  set_pmd_at(addr, pmdp, pmd_mkinvalid(old));
  return old;
}

/// A huge page of the area's own in place of the one of zeros, which `seen` maps. False: there is none.
bool do_huge_zero_wp_pmd(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pmd_t seen,
                         fault_flags flags) {
  mm_struct& mm = *vma.vm_mm;
  const vaddr_t start = addr & pmd_mask();
  page* page = alloc_pages(hpage_pmd_order(), GFP_ZERO | vma_thp_gfp_mask(vma));
  if (page == nullptr) {
    thp_fault_fallback(vma);
    return false;
  }
  const pmd_t entry = new_huge_entry(vma, page, flags);
  bool replaced = false;
  {
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, start, start + pmd_size());
    spin_guard pml(pmd_lockptr(pmdp));
    replaced = pmd_same(pmdp_get(pmdp), seen);
    if (replaced) {
      // The zeros are out of sight everywhere before the new page can be stored to, as in replace_by_copy();
      // and the entry is never none (H14).
      (void)pmdp_invalidate_once(start, pmdp);
      flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
      folio_add_new_anon_rmap(page_folio(page), vma, start);
      smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pmd_leaf()
      set_pmd_at(start, pmdp, entry);
    }
  }
  if (replaced) {
    add_mm_counter(mm, MM_ANONPAGES, hpage_pmd_nr());
    count_vm_event(THP_FAULT_ALLOC);
  } else { // it changed: the access decides anew
    put_page(page);
  }
  return true;
}

} // namespace

fault_result do_huge_pmd_numa_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, pmd_t seen) {
  spin_guard pml(pmd_lockptr(pmdp));
  if (!pmd_same(pmdp_get(pmdp), seen)) return fault_result::handled; // it changed: the access decides anew
  const pgprot_t prot = rights_to_huge(vm_page_prot(vma), seen);
  set_pmd_at(addr, pmdp, pmd_mkyoung(pmd_modify(seen, prot))); // no hardware used it: as do_numa_page()
  add_mm_counter(*vma.vm_mm, MM_NUMA_HINT_FAULTS, 1);
  return fault_result::handled;
}

fault_result do_present_huge_pmd(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, pmd_t seen,
                                 fault_flags flags) {
  const bool write = (flags & FAULT_FLAG_WRITE) != 0;
  const bool unshare = (flags & FAULT_FLAG_UNSHARE) != 0;
  if (pmd_special(seen) && (write || unshare)) {
    if (!do_huge_zero_wp_pmd(vma, addr, pmdp, seen, flags)) split_huge_pmd(vma, addr, pmdp);
    return fault_result::handled;
  }
  {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t old = pmdp_get(pmdp);
    if (!pmd_same(old, seen)) return fault_result::handled; // it changed: the access decides anew
    const bool keeps = !(write || unshare) || pmd_write(old) || (vma.vm_flags.get() & VM_SHARED) != 0 ||
                       wp_can_reuse_anon_page(vma, pfn_to_page(pmd_pfn(old)));
    if (keeps) {
      if (!unshare) grant_huge(pmdp, write, (vma.vm_flags.get() & VM_WRITE) != 0);
      return fault_result::handled;
    }
  }
  split_huge_pmd(vma, addr, pmdp); // then the one page is copied (do_wp_page), or mapped by itself first
  return fault_result::handled;
}

namespace {

/// A huge entry that maps a file, not memory of the area's own, or zeros: no table is deposited for it.
bool is_huge_of_file(pmd_t pmd) {
  return pmd_trans_huge(pmd) && pmd_has_folio(pmd) && !folio_test_anon(page_folio(pfn_to_page(pmd_pfn(pmd))));
}

} // namespace

bool pmd_has_deposit(pmd_t pmd) { return !pmd_is_devmap(pmd) && !is_huge_of_file(pmd); }

namespace {

/// A device's memory is out of the mm's sight; nothing was counted, no table deposited. Caller holds the pml.
void zap_devmap_pmd(mmu_gather& tlb, vaddr_t addr, const pmdp_t& pmdp) {
  (void)pmdp_get_and_clear(addr, pmdp);
  serialize_against_pte_lookup(tlb.mm); // as in zap_huge_pmd()
  tlb_remove_pmd_tlb_entry(tlb, addr & pmd_mask());
}

} // namespace

bool zap_huge_pmd(mmu_gather& tlb, vaddr_t addr, pmdp_t pmdp) {
  bool full = false;
  bool zeros = false; ///< nobody counts who maps them
  mm_counter counter = MM_ANONPAGES;
  {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t seen = pmdp_get(pmdp);
    if (!is_huge_or_migration(seen)) return !pmd_is_table(seen);
    if (pmd_is_devmap(seen)) {
      zap_devmap_pmd(tlb, addr, pmdp);
      return true;
    }
    const pmd_t pmd = pmdp_get_and_clear(addr, pmdp);
    serialize_against_pte_lookup(tlb.mm); // before a fault can put a table here (S1.3)
    const bool of_file = is_huge_of_file(pmd);
    if (!of_file) pagetable_free(pgtable_trans_huge_withdraw(pmdp)); // nobody is in it: see there
    zeros = is_huge_zero_pmd(pmd);
    // else the folio's move has taken its reference already
    if (pmd_trans_huge(pmd)) tlb_remove_pmd_tlb_entry(tlb, addr & pmd_mask());
    if (pmd_trans_huge(pmd) && !zeros) {
      page* page = pfn_to_page(pmd_pfn(pmd));
      folio* folio = page_folio(page);
      if (of_file) counter = mm_counter_file(folio);
      if (of_file && pmd_dirty(pmd)) folio_mark_dirty(folio);
      folio_remove_rmap_pmd(folio);
      full = tlb_remove_page(tlb, page);
    }
  }
  if (!zeros) add_mm_counter(tlb.mm, counter, -s64{hpage_pmd_nr()});
  if (counter == MM_ANONPAGES) add_mm_counter(tlb.mm, MM_PGTABLES, -1);
  if (full) tlb_flush_mmu(tlb);
  return true;
}

// ---- huge pages of files ---------------------------------------------------------------------------------

bool set_huge_file_pmd(vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, folio* folio, fault_flags flags) {
  spin_guard pml(pmd_lockptr(pmdp));
  if (!pmd_none(pmdp_get(pmdp))) return false;
  pmd_t entry = mk_huge_pmd(folio_pfn(folio), vm_page_prot(vma));
  if ((flags & FAULT_FLAG_WRITE) != 0) entry = pmd_mkdirty(entry);
  folio_get(folio);
  folio_add_rmap_pmd(folio);
  smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pmd_leaf()
  set_pmd_at(start, pmdp, entry);
  add_mm_counter(*vma.vm_mm, mm_counter_file(folio), hpage_pmd_nr());
  return true;
}

bool do_huge_file_page(vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp, fault_flags flags) {
  const vaddr_t start = addr & pmd_mask();
  if (start < vma.vm_start.get() || start + pmd_size() > vma.vm_end.get()) return false;
  if ((flags & FAULT_FLAG_WRITE) != 0 && (vma.vm_flags.get() & VM_SHARED) == 0) return false; // it is copied
  const u64 index = linear_page_index(vma, start);
  if (index % hpage_pmd_nr() != 0 || uffd_bars(vma.vm_flags.get()) != 0) return false;
  address_space& mapping = vma.vm_file.get()->mapping();
  folio* folio = filemap_get_folio(mapping, index);
  if (folio == nullptr) return false;
  bool mapped = false;
  if (folio_test_large(folio)) {
    folio_lock(folio);
    // under its lock: not truncated since, nor about to be
    if (folio_mapping(folio) == &mapping && index + hpage_pmd_nr() <= i_size_pages(mapping.host)) {
      (void)set_huge_file_pmd(vma, start, pmdp, folio, flags); // else an entry is there by now
      mapped = true;
    }
    folio_unlock(folio);
  }
  folio_put(folio);
  return mapped;
}

fault_result vmf_insert_pfn_pmd(vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, pfn_t pfn,
                                fault_flags flags) {
  const bool write = (flags & FAULT_FLAG_WRITE) != 0;
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t old = pmdp_get(pmdp);
  if (pmd_none(old)) {
    const pmd_t entry = pmd_mkdevmap(mk_huge_pmd(pfn, vm_page_prot(vma)));
    set_pmd_at(start, pmdp, write ? pmd_mkdirty(pmd_mkwrite(entry)) : entry);
    return fault_result::handled;
  }
  if (!pmd_is_devmap(old)) return fault_result::sigbus;
  grant_huge(pmdp, write, true);
  return fault_result::handled;
}

bool change_huge_pmd(mmu_gather& tlb, vaddr_t addr, pmdp_t pmdp, pgprot_t prot) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t seen = pmdp_get(pmdp);
  if (!pmd_is_huge(seen)) return is_pmd_migration_entry(seen); // that gets its rights when it is restored
  const pmd_t old =
      policy().change_pmd_through_none ? pmdp_get_and_clear(addr, pmdp) : pmdp_invalidate_once(addr, pmdp);
  set_pmd_at(addr, pmdp, pmd_modify(old, rights_to_huge(prot, old)));
  tlb_remove_pmd_tlb_entry(tlb, addr & pmd_mask());
  return true;
}

// ---- copying an entry for fork ---------------------------------------------------------------------------

namespace {

/// Copies a migration entry: what it stands for is nobody's alone from now on. Caller holds both pmls.
void copy_pmd_migration_entry(vaddr_t start, const pmdp_t& dst_pmdp, const pmdp_t& src_pmdp, pmd_t pmd) {
  pmd_t shared = swp_entry_to_pmd(make_migration_entry_shared(pmd_to_swp_entry(pmd)));
  if (pmd_swp_soft_dirty(pmd)) shared = pmd_swp_mksoft_dirty(shared);
  set_pmd_at(start, src_pmdp, shared);
  set_pmd_at(start, dst_pmdp, shared);
}

/// Copies a present entry, and takes the right to store away. False if the folio may be pinned: nothing has
/// changed. Caller holds both pmls.
bool copy_present_huge_pmd(const mm_struct& src, vaddr_t start, const pmdp_t& dst_pmdp,
                           const pmdp_t& src_pmdp, pmd_t pmd) {
  folio* folio = page_folio(pfn_to_page(pmd_pfn(pmd)));
  folio_get(folio);
  if (!folio_try_dup_anon_rmap_pmd(folio, src)) {
    folio_put(folio);
    return false;
  }
  pmdp_set_wrprotect(start, src_pmdp);
  set_pmd_at(start, dst_pmdp, pmd_mkold(pmd_wrprotect(pmd)));
  return true;
}

} // namespace

copy_huge copy_huge_pmd(vm_area_struct& dst, vm_area_struct& src, vaddr_t start, pmdp_t dst_pmdp,
                        pmdp_t src_pmdp) {
  page* table = pagetable_alloc(GFP_KERNEL);
  if (table == nullptr) return copy_huge::no_memory;
  bool pinned = false;
  bool copied = false;
  {
    spin_guard dst_pml(pmd_lockptr(dst_pmdp));
    spin_guard src_pml(pmd_lockptr(src_pmdp));
    const pmd_t pmd = pmdp_get(src_pmdp);
    if (is_pmd_migration_entry(pmd)) {
      copy_pmd_migration_entry(start, dst_pmdp, src_pmdp, pmd);
      copied = true;
    } else if (pmd_trans_huge(pmd) && folio_test_anon(page_folio(pfn_to_page(pmd_pfn(pmd))))) {
      copied = copy_present_huge_pmd(*src.vm_mm, start, dst_pmdp, src_pmdp, pmd);
      pinned = !copied;
    }
    if (copied) pgtable_trans_huge_deposit(dst_pmdp, table);
  }
  if (copied) {
    add_mm_counter(*dst.vm_mm, MM_ANONPAGES, hpage_pmd_nr());
    add_mm_counter(*dst.vm_mm, MM_PGTABLES, 1);
    return copy_huge::copied;
  }
  pagetable_free(table);
  if (pinned) split_huge_pmd(src, start, src_pmdp); // then each page is shared or copied
  return copy_huge::not_huge;
}

// ---- splitting an entry ----------------------------------------------------------------------------------

namespace {

/// The ith entry of a table that nobody else can reach yet.
void set_table_entry(page* table, unsigned i, pte_t entry, site s = RW_HERE) {
  page_table_check_pte_put(entry, s);
  WRITE_ONCE(page_words(table)[i], entry.val, s);
}

/// Fills a table with entries that map what the huge one maps, with its history and, as to writing, its
/// right.
void fill_from_huge(page* table, pmd_t huge, pgprot_t prot) {
  prot.write = pmd_write(huge);
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    pte_t pte = pfn_pte(pmd_pfn(huge) + i, prot);
    if (pmd_dirty(huge)) pte = pte_mkdirty(pte);
    if (!pmd_soft_dirty(huge)) pte = pte_clear_soft_dirty(pte);
    if (!pmd_young(huge)) pte = pte_mkold(pte);
    set_table_entry(table, i, pte);
  }
}

/// Fills a table with entries for the small page of zeros, which look as the one for the huge page did.
void fill_with_zeros(page* table, pmd_t huge, pgprot_t prot) {
  prot.write = false;
  pte_t pte = pte_mkspecial(mk_pte(ZERO_PFN, prot));
  if (!pmd_soft_dirty(huge)) pte = pte_clear_soft_dirty(pte);
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i)
    set_table_entry(table, i, pte);
}

/// Fills a table with migration entries for the pages from `first` on.
void fill_with_migration_entries(page* table, swp_entry_t first, bool soft_dirty) {
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    const pte_t pte = swp_entry_to_pte({first.type, first.offset + i});
    set_table_entry(table, i, soft_dirty ? pte_swp_mksoft_dirty(pte) : pte);
  }
}

/// The pages go from one entry to so many, or to none that counts.
void split_rmap(folio* folio, split_into what) {
  if (what == split_into::pages) {
    folio_split_rmap(folio);
  } else {
    for (u64 i = 1; i < folio_nr_pages(folio); ++i)
      WRITE_ONCE(folio_page(folio, i)->flags, 0); // as folio_split_rmap(): nobody's exclusively
    folio_remove_rmap_pmd(folio);
    folio_put(folio);
  }
}

/// Takes a present huge entry out of use as policy().split_step says, and returns it as it was last.
pmd_t begin_split(mm_struct& mm, vaddr_t start, const pmdp_t& pmdp) {
  switch (policy().split_step) {
  case split_step_t::direct:
    return pmdp_get(pmdp);
  case split_step_t::none: {
    const pmd_t old = pmdp_get_and_clear(start, pmdp);
    flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
    return old;
  }
  case split_step_t::invalid:
    break;
  }
  // Invalid, flushed, table: at no time can a TLB hold the huge page and a small one of it (S1.1c), and to
  // software the entry is never none (H14).
  const pmd_t old = pmdp_invalidate_once(start, pmdp);
  flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
  return old;
}

} // namespace

namespace {

/// A device's memory need not be mapped: faults bring it back, in the size that the device has.
void drop_devmap_pmd(mm_struct& mm, vaddr_t start, const pmdp_t& pmdp) {
  (void)pmdp_get_and_clear(start, pmdp);
  flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
}

/// What maps a file need not be mapped: faults bring the pages back, as small ones.
void drop_huge_file_pmd(mm_struct& mm, vaddr_t start, const pmdp_t& pmdp) {
  const pmd_t old = pmdp_get_and_clear(start, pmdp);
  flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
  folio* folio = page_folio(pfn_to_page(pmd_pfn(old)));
  if (pmd_dirty(old)) folio_mark_dirty(folio);
  folio_remove_rmap_pmd(folio);
  add_mm_counter(mm, mm_counter_file(folio), -s64{hpage_pmd_nr()});
  folio_put(folio);
}

/// Fills the table that takes the place of `old`, an invalidated entry of a folio, and counts its pages one
/// by one.
void split_present_pmd(const vm_area_struct& vma, page* table, pmd_t old, split_into what) {
  page* first = pfn_to_page(pmd_pfn(old));
  const bool exclusive = PageAnonExclusive(first);
  if (what == split_into::migration_entries && !folio_try_share_anon_rmap(page_folio(first), first))
    what = split_into::pages;
  if (what == split_into::pages)
    fill_from_huge(table, old, vm_get_page_prot(vma.vm_flags.get()));
  else
    fill_with_migration_entries(table, migration_entry_of(old, pmd_pfn(old), exclusive), pmd_soft_dirty(old));
  split_rmap(page_folio(first), what);
}

} // namespace

void split_huge_pmd_locked(const vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, split_into what) {
  mm_struct& mm = *vma.vm_mm;
  pmd_t old = pmdp_get(pmdp);
  if (pmd_is_devmap(old)) {
    drop_devmap_pmd(mm, start, pmdp);
    return;
  }
  if (is_huge_of_file(old)) {
    drop_huge_file_pmd(mm, start, pmdp);
    return;
  }
  // A migration entry is not touched before the table is there: mkinvalid() of what is not present makes a
  // present entry of it on some architectures, and another offset on others (mail 4).
  if (policy().split_invalidates_migration && is_pmd_migration_entry(old)) {
    // pmdp_invalidate() as it was before it looked what it is asked of
    old = pmdp_establish(start, pmdp, old.with(arch().mkinvalid(old.val, old.level())));
    flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
  }
  page* table = pgtable_trans_huge_withdraw(pmdp);
  if (is_pmd_migration_entry(old)) {
    fill_with_migration_entries(table, pmd_to_swp_entry(old), pmd_swp_soft_dirty(old));
  } else {
    old = begin_split(mm, start, pmdp);
    page_table_check_pmd_clear(old); // the table's entries take its place
    if (is_huge_zero_pmd(old))
      fill_with_zeros(table, old, vm_get_page_prot(vma.vm_flags.get()));
    else
      split_present_pmd(vma, table, old, what);
  }
  if (policy().split_wmb) smp_wmb(); // as in pmd_install(): pairs with gup_fast_pte_range()
  pmd_populate_raw(pmdp, page_to_pfn(table));
  count_vm_event(THP_SPLIT_PMD);
  if (policy().split_step == split_step_t::direct)
    flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
}

void split_huge_pmd(const vm_area_struct& vma, vaddr_t addr, pmdp_t pmdp) {
  const vaddr_t start = addr & pmd_mask();
  mmu_notifier_invalidation notify(*vma.vm_mm, mmu_notifier_event::clear, start, start + pmd_size());
  spin_guard pml(pmd_lockptr(pmdp));
  if (is_huge_or_migration(pmdp_get(pmdp))) split_huge_pmd_locked(vma, start, pmdp, split_into::pages);
}

void split_huge_pmd_address(const vm_area_struct& vma, vaddr_t addr) {
  if ((addr & ~pmd_mask()) == 0) return; // no entry crosses a boundary of entries
  const pmd_lookup at = find_pmd(*vma.vm_mm, addr);
  if (at.found && is_huge_or_migration(pmdp_get_lockless(at.pmdp))) split_huge_pmd(vma, addr, at.pmdp);
}

// ---- splitting a folio -----------------------------------------------------------------------------------

namespace {

/// A frozen folio's nth page becomes a folio of its own, locked and with so many references, as the head
/// does.
void split_tail(folio* head, u64 n, s32 references) {
  page* tail = folio_page(head, n);
  const u64 kept = BIT(PG_anon) | BIT(PG_swapbacked) | BIT(PG_uptodate) | BIT(PG_dirty) | PAGE_USE_FLAGS;
  // locked: who meets a migration entry for it waits until that is gone (migration_entry_wait)
  WRITE_ONCE(tail->flags, (READ_ONCE(head->page.flags) & kept) | BIT(PG_locked));
  tail->mapping.set(head->page.mapping.get());
  tail->index.set(head->page.index.get() + n);
  WRITE_ONCE(tail->compound_head, 0);
  // the page as it is now, then the count that lets walkers in: pairs with the conditional add and second
  // look in try_grab_folio_fast()
  smp_store_release(tail->_refcount, references);
}

/// The pages after the first are folios now: the caller lets them go.
void put_tails(folio* head, u64 nr) {
  for (u64 i = 1; i < nr; ++i) {
    folio* tail = page_folio(&head->page + i);
    folio_unlock(tail);
    folio_put(tail);
  }
}

/// Takes a folio of a file apart, whose entries are gone: each page gets the place in the page cache that led
/// to the folio. False: it is in use.
bool split_in_page_cache(folio* folio) {
  address_space& mapping = *folio_mapping(folio);
  const u64 nr = folio_nr_pages(folio);
  const u64 first = folio_index(folio);
  spin_guard xa_lock(mapping.i_pages.xa_lock);
  // What is left are the cache's references and the caller's. From here on nobody gets one (M3): who has
  // found the folio at a place of the cache finds another one there when he looks again.
  if (!folio_ref_freeze(folio, static_cast<s32>(nr) + 1)) return false;
  for (u64 i = 1; i < nr; ++i) {
    split_tail(folio, i, 2); // the cache's and the caller's
    mapping.i_pages.store(first + i, xa_entry::of(page_folio(folio_page(folio, i))));
  }
  folio_clear_head(folio);
  folio_ref_unfreeze(folio, 2);
  return true;
}

/// The same for split_huge_page(): what maps a file need not be mapped, and is brought back by faults.
int split_huge_page_of_file(folio* folio) {
  const u64 nr = folio_nr_pages(folio);
  const u64 first = folio_index(folio);
  unmap_mapping_pages(*folio_mapping(folio), first, first + nr - 1, even_cows::no);
  const bool split = split_in_page_cache(folio);
  count_vm_event(split ? THP_SPLIT_PAGE : THP_SPLIT_PAGE_FAILED);
  if (!split) return -EAGAIN;
  put_tails(folio, nr);
  return 0;
}

} // namespace

int split_huge_page(folio* folio) {
  if (!folio_test_large(folio)) return 0;
  if (!folio_test_anon(folio)) return split_huge_page_of_file(folio);
  const u64 nr = folio_nr_pages(folio);
  if (folio_ref_count(folio) != folio_mapcount(folio) + 1) return -EAGAIN;
  try_to_migrate(folio, split_entry::yes);
  // Every entry has given its reference back, so what is left is the caller's. From here on no walk gets one
  // (M3); whoever has the entry from before finds it changed.
  const bool frozen = folio_ref_freeze(folio, 1);
  if (frozen) {
    folio_unqueue_deferred_split(folio);
    for (u64 i = 1; i < nr; ++i)
      split_tail(folio, i, 1);
    folio_clear_head(folio);
    folio_ref_unfreeze(folio, 1);
  }
  remove_migration_ptes(&folio->page, &folio->page, nr);
  count_vm_event(frozen ? THP_SPLIT_PAGE : THP_SPLIT_PAGE_FAILED);
  if (!frozen) return -EAGAIN;
  put_tails(folio, nr);
  return 0;
}

} // namespace racewalk::inline RACEWALK_BACKEND
