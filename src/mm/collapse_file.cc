#include "mm/collapse_file.h"

#include "machine/tlbflush.h"
#include "mm/filemap.h"
#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/mmu_gather.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the page cache --------------------------------------------------------------------------------------

namespace {

/// What one collapse works on: pages [start, start + nr) of the file, and what they become.
struct file_range {
  address_space& mapping;
  u64 start;
  folio* huge;

  u64 index(u64 i) const { return start + i; }
  page_tree& tree() const { return mapping.i_pages; }
};

/// Makes a folio of the cache, of which the caller has a reference, the collapse's alone: locked, mapped by
/// nobody, its count frozen. On failure it is as before, and the reference is dropped.
scan_result isolate_folio(address_space& mapping, folio* folio) {
  if (!folio_trylock(folio)) {
    folio_put(folio);
    return scan_result::page_lock;
  }
  scan_result result = scan_result::succeed;
  if (folio_mapping(folio) != &mapping)
    result = scan_result::truncated;
  else if (folio_test_large(folio))
    result = scan_result::page_compound;
  else if (!folio_test_uptodate(folio))
    result = scan_result::page_not_uptodate;
  if (result == scan_result::succeed) {
    const u64 index = folio_index(folio);
    if (folio_mapped(folio)) unmap_mapping_pages(mapping, index, index, even_cows::no);
    // The entries are gone and flushed, then the count: a lockless walk has its reference counted here, or
    // finds its entry gone. What is left are the cache's reference and this one.
    if (folio_ref_freeze(folio, 2)) return scan_result::succeed;
    result = scan_result::page_count;
  }
  folio_unlock(folio);
  folio_put(folio);
  return result;
}

/// The same with what is in the swap file: it comes back first.
scan_result isolate_swapped(address_space& mapping, u64 index) {
  const filemap_result back = read_mapping_folio(mapping, index, fgp::no_creat);
  if (back.folio == nullptr) return scan_result::page_not_uptodate;
  folio_unlock(back.folio);
  return isolate_folio(mapping, back.folio);
}

/// Keeps everybody from putting a folio into a hole. -EEXIST's equivalent is `page_count`: somebody has.
scan_result shut_hole(const file_range& r, u64 index) {
  spin_guard xa_lock(r.tree().xa_lock);
  if (!r.tree().reserve(index)) return scan_result::alloc_huge_page_fail;
  if (!r.tree().load(index).none()) return scan_result::page_count;
  r.tree().store(index, XA_RETRY_ENTRY);
  return scan_result::succeed;
}

scan_result isolate_index(const file_range& r, u64 index, unsigned* none, const collapse_control& how) {
  const xa_entry entry = filemap_get_entry(r.mapping, index);
  if (entry.is_folio()) return isolate_folio(r.mapping, entry.folio());
  if (entry.is_swap()) return isolate_swapped(r.mapping, index);
  if (++*none > how.max_ptes_none) return scan_result::exceed_none_pte;
  return shut_hole(r, index);
}

/// Gives the first `count` indices back as they were.
void release_range(const file_range& r, u64 count) {
  for (u64 i = 0; i < count; ++i) {
    const xa_entry entry = r.tree().load(r.index(i));
    if (entry.is_retry()) {
      spin_guard xa_lock(r.tree().xa_lock);
      r.tree().store(r.index(i), {});
    } else {
      folio* folio = entry.folio();
      folio_ref_unfreeze(folio, 2);
      folio_unlock(folio);
      folio_put(folio);
    }
  }
}

/// Does an area that maps the range want to hear of pages that are missing? A hole that is filled would be a
/// fault that it never hears of. The areas may be registered at any time; what they have observed by then is
/// that the hole is still there, or shut (S3.4).
bool hole_is_missed(const file_range& r) {
  bool missed = false;
  read_guard i_mmap(r.mapping.i_mmap_rwsem);
  r.mapping.i_mmap.for_each(r.start, r.start + hpage_pmd_nr() - 1, [&](vm_area_struct& vma) {
    missed = missed || test_bit(VMA_UFFD_MISSING, vma.bars);
  });
  return missed;
}

/// Shuts the whole range. `none`: how many holes it has.
scan_result isolate_range(const file_range& r, unsigned* none, const collapse_control& how) {
  if (policy().collapse_missing_test == missing_test_t::before && hole_is_missed(r))
    return scan_result::page_filled;
  for (u64 i = 0; i < hpage_pmd_nr(); ++i)
    if (const scan_result result = isolate_index(r, r.index(i), none, how); result != scan_result::succeed) {
      release_range(r, i);
      return result;
    }
  // The holes, then the registration: pairs with the barrier in userfaultfd_register(), after which whoever
  // has registered looks for what is missing (S3.4).
  if (policy().collapse_missing_mb) smp_mb();
  if (*none > 0 && policy().collapse_missing_test == missing_test_t::after && hole_is_missed(r)) {
    release_range(r, hpage_pmd_nr());
    return scan_result::page_filled;
  }
  return scan_result::succeed;
}

void copy_range(const file_range& r) {
  for (u64 i = 0; i < hpage_pmd_nr(); ++i) {
    const xa_entry old = r.tree().load(r.index(i));
    page* to = folio_page(r.huge, i);
    if (old.is_folio())
      copy_highpage(to, &old.folio()->page);
    else
      clear_highpage(to);
  }
}

/// The small folio has left the cache: nobody knows it any more.
void free_replaced(folio* folio) {
  folio->page.mapping.set(0);
  folio_ref_unfreeze(folio, 1);
  folio_unlock(folio);
  folio_put(folio);
}

/// Puts the huge folio, which is locked, in the place of what is there. `none`: how many holes it fills.
void replace_range(const file_range& r, unsigned none) {
  folio_ref_add(r.huge, static_cast<s32>(hpage_pmd_nr())); // the cache's
  r.huge->page.index.set(r.start);
  r.huge->page.mapping.set(reinterpret_cast<uintptr_t>(&r.mapping));
  for (u64 i = 0; i < hpage_pmd_nr(); ++i) {
    xa_entry old;
    {
      // The content, then the entry that leads to it: pairs with the address dependency from the entry to the
      // folio in filemap_get_folio().
      spin_guard xa_lock(r.tree().xa_lock);
      if (i == 0) smp_wmb();
      old = r.tree().store(r.index(i), xa_entry::of(r.huge));
    }
    if (old.is_folio()) free_replaced(old.folio());
  }
  atomic_add(r.mapping.nrpages, static_cast<s64>(none));
}

} // namespace

scan_result collapse_file(address_space& mapping, u64 index, const collapse_control& how) {
  // what has a disk is written back page by page
  if (mapping.a_ops != nullptr || mapping.tracks_dirty) return scan_result::vma_check;
  if (index + hpage_pmd_nr() > i_size_pages(mapping.host)) return scan_result::truncated;
  if (folio* there = filemap_get_folio(mapping, index)) {
    const bool huge = folio_test_large(there);
    folio_put(there);
    if (huge) return scan_result::pte_mapped_hugepage;
  }
  page* page = alloc_pages(hpage_pmd_order(), GFP_KERNEL);
  if (page == nullptr) return scan_result::alloc_huge_page_fail;
  const file_range r{mapping, index, page_folio(page)};
  const bool locked = folio_trylock(r.huge);
  VM_BUG_ON(!locked, "INV-REF", "somebody has locked a new folio");
  atomic_or(r.huge->page.flags, BIT(PG_swapbacked) | BIT(PG_uptodate) | BIT(PG_dirty));
  unsigned none = 0;
  const scan_result result = isolate_range(r, &none, how);
  if (result == scan_result::succeed) {
    copy_range(r);
    replace_range(r, none);
    retract_page_tables(mapping, index);
  }
  folio_unlock(r.huge);
  folio_put(r.huge); // the cache has its own, or nobody has
  return result;
}

// ---- looking ---------------------------------------------------------------------------------------------

namespace {

/// A folio of the cache, of which the caller has a reference, as far as it can be judged from outside.
scan_result scan_folio(folio* folio, u64 index) {
  if (folio_test_large(folio))
    return folio_index(folio) == index ? scan_result::pte_mapped_hugepage : scan_result::page_compound;
  if (folio_test_locked(folio)) return scan_result::page_lock;
  // the cache's reference and this one, besides those of entries
  return folio_ref_count(folio) == folio_mapcount(folio) + 2 ? scan_result::succeed : scan_result::page_count;
}

} // namespace

scan_result hpage_collapse_scan_file(address_space& mapping, u64 index, const collapse_control& how) {
  if (index + hpage_pmd_nr() > i_size_pages(mapping.host)) return scan_result::truncated;
  unsigned none = 0;
  unsigned swapped = 0;
  for (u64 i = 0; i < hpage_pmd_nr(); ++i) {
    const xa_entry entry = filemap_get_entry(mapping, index + i);
    if (entry.none() && ++none > how.max_ptes_none) return scan_result::exceed_none_pte;
    if (entry.is_swap() && ++swapped > how.max_ptes_swap) return scan_result::exceed_swap_pte;
    if (!entry.is_folio()) continue;
    const scan_result result = scan_folio(entry.folio(), index);
    folio_put(entry.folio());
    if (result != scan_result::succeed) return result;
  }
  return scan_result::succeed;
}

mapped_file::mapped_file(mm_struct& mm, vaddr_t addr) {
  mmap_region* region = mm.existing_region(addr);
  if (region == nullptr) return;
  read_guard mmap_lock(region->mmap_lock);
  const vm_area_struct* vma = region->areas.find_vma(addr);
  if (vma == nullptr || !vma->contains(addr) || vma_is_anonymous(*vma)) return;
  file_ = vma->vm_file.get();
  index_ = linear_page_index(*vma, addr);
  get_file(*file_);
}

mapped_file::~mapped_file() {
  if (file_ != nullptr) fput(*file_);
}

// ---- the tables ------------------------------------------------------------------------------------------

namespace {

/// May the area's tables hold what the file cannot give back? Exact under the ptl, if it is held since the
/// table was found in place: who puts such an entry in has set the bit before it took that lock (S3.1, S3.3).
bool table_is_barred(const vm_area_struct& vma) {
  return (READ_ONCE(vma.bars) & (BIT(VMA_HAS_ANON) | BIT(VMA_UFFD_WP))) != 0;
}

void free_retracted(page* table) {
  switch (policy().retract_free) {
  case retract_free_t::deferred:
    pte_free_defer(table);
    break;
  case retract_free_t::sync_ipi:
    tlb_remove_table_sync_one();
    pagetable_free(table);
    break;
  case retract_free_t::at_once:
    pagetable_free(table);
    break;
  }
}

/// Clears the entry that leads to the table. Caller holds the pml and, unless it argues that it need not, the
/// ptl.
page* unhook(mm_struct& mm, vaddr_t start, const pmdp_t& pmdp) {
  page* table = pmd_pgtable(pmdp_collapse_flush(mm, start, pmdp));
  pmdp_get_lockless_sync();
  WRITE_ONCE(table->flags, 0); // not a table any more: pte_map_lock looks for it
  return table;
}

/// The table behind the entry, out of its place; null if it has to stay.
page* unhook_retracted(vm_area_struct& vma, vaddr_t start, const pmdp_t& pmdp) {
  mm_struct& mm = *vma.vm_mm;
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t pmd = pmdp_get(pmdp);
  // since the entry was looked at, the table may have become a huge page, or gone with the area's neighbours
  if (policy().retract_rechecks_pmd && !pmd_is_table(pmd)) return nullptr;
  if (!policy().retract_holds_ptl) return unhook(mm, start, pmdp);
  spin_guard ptl(pte_lockptr(pmd));
  // Whoever puts in what bars the table has said so before taking this lock, and finds the table gone if it
  // comes after: pairs with vma_set_bar() before pte_map_lock (mail 3).
  if (policy().retract_test == retract_test_t::under_ptl && table_is_barred(vma)) return nullptr;
  if (policy().retract_test == retract_test_t::entries && !pte_table_is_empty(pmd, start)) return nullptr;
  return unhook(mm, start, pmdp);
}

page* unhook_notified(vm_area_struct& vma, vaddr_t start, const pmdp_t& pmdp) {
  mmu_notifier_invalidation notify(*vma.vm_mm, mmu_notifier_event::clear, start, start + pmd_size());
  return unhook_retracted(vma, start, pmdp);
}

void retract_table(vm_area_struct& vma, vaddr_t start, const pmdp_t& pmdp) {
  page* table =
      policy().retract_notifies ? unhook_notified(vma, start, pmdp) : unhook_retracted(vma, start, pmdp);
  if (table == nullptr) return;
  add_mm_counter(*vma.vm_mm, MM_PGTABLES, -1);
  free_retracted(table);
}

/// The same, with the mm's locks held.
void retract_table_retested(vm_area_struct& vma, vaddr_t start, const pmdp_t& pmdp) {
  if (policy().retract_test == retract_test_t::under_mmap_lock && table_is_barred(vma)) return;
  retract_table(vma, start, pmdp);
}

/// The same under the mm's locks, as long as faults relied on them; leaves the table where it is if they are
/// taken.
void retract_table_locked(vm_area_struct& vma, vaddr_t start, const pmdp_t& pmdp) NO_THREAD_SAFETY_ANALYSIS {
  mmap_region& region = *vma.vm_mm->existing_region(start);
  if (policy().retract_mmap_lock == retract_lock_t::blocking)
    down_write(region.mmap_lock);
  else if (!down_write_trylock(region.mmap_lock))
    return;
  if (!policy().retract_takes_vma_lock) {
    retract_table_retested(vma, start, pmdp);
  } else if (down_write_trylock(vma.vm_lock)) {
    retract_table_retested(vma, start, pmdp);
    up_write(vma.vm_lock);
  }
  up_write(region.mmap_lock);
}

void retract_from(vm_area_struct& vma, u64 index) {
  if (index < vma.vm_pgoff.get() || index + hpage_pmd_nr() - 1 > vma.last_pgoff()) return;
  const vaddr_t start = vma.vm_start.get() + ((index - vma.vm_pgoff.get()) << PAGE_SHIFT);
  if ((start & ~pmd_mask()) != 0 || table_is_barred(vma)) return;
  const pmd_lookup at = find_pmd(*vma.vm_mm, start);
  if (!at.found || !pmd_is_table(pmdp_get_lockless(at.pmdp))) return;
  if (policy().retract_mmap_lock == retract_lock_t::none)
    retract_table(vma, start, at.pmdp);
  else
    retract_table_locked(vma, start, at.pmdp);
}

} // namespace

void retract_page_tables(address_space& mapping, u64 index) {
  read_guard i_mmap(mapping.i_mmap_rwsem); // the areas stay, and with them the tables above
  mapping.i_mmap.for_each(index, index, [&](vm_area_struct& vma) { retract_from(vma, index); });
}

// ---- one table -------------------------------------------------------------------------------------------

namespace {

/// A table whose entries all map pages of one huge folio, in their places, or nothing.
struct thp_table {
  vm_area_struct& vma;
  vaddr_t start;
  pmdp_t pmdp;
  folio* huge;
};

/// Whether it is one. Caller holds the ptl.
bool maps_only_the_folio(const thp_table& t, pmd_t table) {
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    const pte_t pte = ptep_get(pte_offset(table, t.start + i * PAGE_SIZE));
    if (pte_none(pte)) continue;
    if (!pte_present(pte) || pte_pfn(pte) != folio_pfn(t.huge) + i) return false;
  }
  return true;
}

/// Takes the entries out. Returns how many there were. Caller holds the ptl.
s32 clear_entries(const thp_table& t, pmd_t table) {
  s32 mapped = 0;
  for (unsigned i = 0; i < hpage_pmd_nr(); ++i) {
    const vaddr_t addr = t.start + i * PAGE_SIZE;
    const ptep_t ptep = pte_offset(table, addr);
    if (pte_none(ptep_get(ptep))) continue;
    const pte_t old = ptep_get_and_clear(addr, ptep);
    if (pte_dirty(old)) folio_mark_dirty(t.huge);
    folio_remove_rmap_pte(folio_page(t.huge, i));
    ++mapped;
  }
  return mapped;
}

/// Was it one when nobody was shut out yet? What comes next is only worth it then.
bool looks_collapsible(const thp_table& t) {
  const pte_map_lock table(t.pmdp);
  return table && maps_only_the_folio(t, pmdp_get(t.pmdp));
}

/// Takes the entries out and then the table. Between the two UFFDIO_COPY could put a page of its own into the
/// private table of an area that it serves: there the pml is taken first, so that the ptl is held throughout
/// (S3.7).
page* take_out(const thp_table& t, s32* mapped) NO_THREAD_SAFETY_ANALYSIS {
  mm_struct& mm = *t.vma.vm_mm;
  const bool private_uffd =
      (t.vma.vm_flags.get() & VM_SHARED) == 0 && (READ_ONCE(t.vma.bars) & BIT(VMA_UFFD_MISSING)) != 0;
  const bool early_pml = private_uffd && policy().collapse_pte_mapped_early_pml;
  spinlock_t& pml = pmd_lockptr(t.pmdp);
  page* table = nullptr;
  if (early_pml) spin_lock(pml);
  {
    const pte_map_lock ptl(t.pmdp);
    const pmd_t pmd = pmdp_get(t.pmdp);
    if (!ptl || (policy().collapse_pte_mapped_reverify && !maps_only_the_folio(t, pmd))) {
      if (early_pml) spin_unlock(pml);
      return nullptr;
    }
    *mapped = clear_entries(t, pmd);
    if (early_pml) table = unhook(mm, t.start, t.pmdp);
  }
  if (!early_pml) {
    spin_lock(pml);
    spin_guard ptl(pte_lockptr(pmdp_get(t.pmdp)));
    table = unhook(mm, t.start, t.pmdp);
  }
  spin_unlock(pml);
  return table;
}

scan_result collapse_table_of(const thp_table& t, bool install_pmd) {
  mm_struct& mm = *t.vma.vm_mm;
  if (pmd_none(pmdp_get_lockless(t.pmdp))) {
    if (install_pmd) set_huge_file_pmd(t.vma, t.start, t.pmdp, t.huge, FAULT_FLAG_NONE);
    return install_pmd ? scan_result::succeed : scan_result::pmd_null;
  }
  if (!looks_collapsible(t)) return scan_result::page_compound;
  page* table = nullptr;
  s32 mapped = 0;
  {
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, t.start, t.start + pmd_size());
    table = take_out(t, &mapped);
  }
  if (table == nullptr) return scan_result::page_compound;
  add_mm_counter(mm, mm_counter_file(t.huge), -s64{mapped});
  add_mm_counter(mm, MM_PGTABLES, -1);
  if (mapped > 0) folio_put_refs(t.huge, mapped);
  pte_free_defer(table);
  if (install_pmd) set_huge_file_pmd(t.vma, t.start, t.pmdp, t.huge, FAULT_FLAG_NONE);
  return scan_result::succeed;
}

} // namespace

scan_result collapse_pte_mapped_thp(mm_struct& mm, vaddr_t addr, bool install_pmd) {
  const vaddr_t start = addr & pmd_mask();
  mmap_region* region = mm.existing_region(start);
  vm_area_struct* vma = region == nullptr ? nullptr : region->areas.find_vma(start);
  if (vma == nullptr || !vma->contains(start)) return scan_result::vma_null;
  if (vma_is_anonymous(*vma) || start + pmd_size() > vma->vm_end.get()) return scan_result::vma_check;
  const pmd_lookup at = find_pmd(mm, start);
  if (!at.found) return scan_result::pmd_null;
  if (pmd_trans_huge(pmdp_get_lockless(at.pmdp))) return scan_result::pmd_mapped;
  address_space& mapping = vma->vm_file.get()->mapping();
  folio* folio = filemap_get_folio(mapping, linear_page_index(*vma, start));
  if (folio == nullptr) return scan_result::pmd_null;
  folio_lock(folio);
  scan_result result = scan_result::page_compound;
  if (folio_mapping(folio) != &mapping)
    result = scan_result::truncated;
  else if (folio_test_large(folio) && folio_index(folio) == linear_page_index(*vma, start))
    result = collapse_table_of({*vma, start, at.pmdp, folio}, install_pmd);
  folio_unlock(folio);
  folio_put(folio);
  return result;
}

scan_result collapse_pte_mapped_thp_locked(mm_struct& mm, vaddr_t addr, bool install_pmd) {
  mmap_region* region = mm.existing_region(addr);
  if (region == nullptr) return scan_result::vma_null;
  read_guard mmap_lock(region->mmap_lock);
  return collapse_pte_mapped_thp(mm, addr, install_pmd);
}

} // namespace racewalk::inline RACEWALK_BACKEND
