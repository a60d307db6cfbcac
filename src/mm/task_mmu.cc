#include "mm/task_mmu.h"

#include <algorithm>
#include <cerrno>

#include "arch/swapops.h"
#include "machine/tlbflush.h"
#include "mm/mmu_gather.h"
#include "mm/page_pin.h"
#include "mm/pagewalk.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- clear_refs: soft-dirty ------------------------------------------------------------------------------

namespace {

/// The areas of a region, with faults kept out of them. Caller holds the region's mmap_lock for writing.
class all_vmas_guard {
 public:
  explicit all_vmas_guard(mmap_region& region) NO_THREAD_SAFETY_ANALYSIS : region_(region) {
    for_each_vma(region_, region_.start, region_.end,
                 [](vm_area_struct& vma) NO_THREAD_SAFETY_ANALYSIS { down_write(vma.vm_lock); });
  }
  ~all_vmas_guard() NO_THREAD_SAFETY_ANALYSIS {
    for_each_vma(region_, region_.start, region_.end,
                 [](vm_area_struct& vma) NO_THREAD_SAFETY_ANALYSIS { up_write(vma.vm_lock); });
  }
  all_vmas_guard(const all_vmas_guard&) = delete;
  all_vmas_guard& operator=(const all_vmas_guard&) = delete;

 private:
  mmap_region& region_;
};

/// A pinned page keeps its right to store, and its mark with it: who pinned it may store at any time without
/// an entry, and a fault must not put a copy in its place (9348b73c2e1b).
bool pte_is_pinned(pte_t pte) {
  return pte_write(pte) && folio_maybe_dma_pinned(page_folio(pfn_to_page(pte_pfn(pte))));
}
bool pmd_is_pinned(pmd_t pmd) {
  return pmd_write(pmd) && folio_maybe_dma_pinned(page_folio(pfn_to_page(pmd_pfn(pmd))));
}

/// How what clear_refs() changes is flushed: by flush_tlb_mm() at the end or, as policy() says, by a gather.
class clear_refs_flush {
 public:
  explicit clear_refs_flush(mm_struct& mm) : tlb_(mm) {
    switch (policy().clear_refs_flush) {
    case clear_refs_flush_t::gather:
      tlb_gather_mmu(tlb_);
      break;
    case clear_refs_flush_t::gather_fullmm:
      tlb_gather_mmu_fullmm(tlb_);
      break;
    case clear_refs_flush_t::mm:
    case clear_refs_flush_t::none:
      if (policy().clear_refs_pending) inc_tlb_flush_pending(mm);
    }
  }
  void changed(vaddr_t addr) {
    if (by_gather() && policy().clear_refs_records) tlb_remove_tlb_entry(tlb_, addr);
  }
  /// After this no store goes through an entry that was taken the right away.
  void finish() {
    if (by_gather()) return tlb_finish_mmu(tlb_);
    // all of the mm: it is not known which of its TLB entries let stores through
    if (policy().clear_refs_flush == clear_refs_flush_t::mm) flush_tlb_mm(tlb_.mm.context);
    if (policy().clear_refs_pending) dec_tlb_flush_pending(tlb_.mm);
  }

 private:
  static bool by_gather() {
    return policy().clear_refs_flush == clear_refs_flush_t::gather ||
           policy().clear_refs_flush == clear_refs_flush_t::gather_fullmm;
  }
  mmu_gather tlb_;
};

void clear_soft_dirty(vaddr_t addr, const ptep_t& ptep, clear_refs_flush& flush) {
  const pte_t seen = ptep_get(ptep);
  if (is_swap_pte(seen)) {
    if (pte_swp_soft_dirty(seen)) set_pte_at(addr, ptep, pte_swp_clear_soft_dirty(seen));
    return;
  }
  if (!pte_present(seen) || (!pte_soft_dirty(seen) && !pte_write(seen)) || pte_is_pinned(seen)) return;
  ptep_modify(addr, ptep, [](pte_t pte) { return pte_clear_soft_dirty(pte_wrprotect(pte)); });
  flush.changed(addr);
}

/// False: it is no huge page.
bool clear_soft_dirty_pmd(vaddr_t addr, const pmdp_t& pmdp, clear_refs_flush& flush) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t seen = pmdp_get(pmdp);
  if (!pmd_is_huge(seen)) return false;
  if ((!pmd_soft_dirty(seen) && !pmd_write(seen)) || pmd_is_pinned(seen)) return true;
  const pmd_t old = pmdp_invalidate_raw(addr, pmdp);
  set_pmd_at(addr, pmdp, pmd_clear_soft_dirty(pmd_wrprotect(old)));
  flush.changed(addr);
  return true;
}

void clear_soft_dirty_range(mm_struct& mm, vaddr_t start, vaddr_t end, clear_refs_flush& flush) {
  walk_pmd_entries(mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    if (pmd_is_huge(pmdp_get_lockless(pmdp)) && clear_soft_dirty_pmd(addr, pmdp, flush)) return;
    pte_map_lock table(pmdp);
    if (!table) return;
    for (; addr < next; addr += PAGE_SIZE)
      clear_soft_dirty(addr, table.at(addr), flush);
  });
}

/// Caller keeps the areas, and with them the tables, where they are.
void clear_soft_dirty_region(mm_struct& mm, mmap_region& region) {
  // before any page-table lock is taken: who sees an entry without the right sees that its flush is to come
  clear_refs_flush flush(mm);
  {
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::protection_page, region.start, region.end);
    for_each_vma(region, region.start, region.end, [&](const vm_area_struct& vma) {
      clear_soft_dirty_range(mm, vma.vm_start.get(), vma.vm_end.get(), flush);
    });
  }
  flush.finish();
}

void forget_new_areas(mmap_region& region) {
  write_guard anon_vma(region.anon_vma_lock); // who comes from a folio reads the flags
  for_each_vma(region, region.start, region.end,
               [](vm_area_struct& vma) { vma.vm_flags.set(vma.vm_flags.get() & ~VM_SOFTDIRTY); });
}

void clear_refs_soft_dirty(mm_struct& mm, mmap_region& region) {
  if (policy().clear_refs_excludes_faults) {
    write_guard mmap_lock(region.mmap_lock);
    const all_vmas_guard no_faults(region); // until the flush: none of them judges by an entry in between
    forget_new_areas(region);
    clear_soft_dirty_region(mm, region);
    return;
  }
  {
    write_guard mmap_lock(region.mmap_lock);
    const all_vmas_guard no_faults(region);
    forget_new_areas(region);
  }
  read_guard mmap_lock(region.mmap_lock);
  clear_soft_dirty_region(mm, region);
}

// ---- clear_refs: referenced ------------------------------------------------------------------------------

void clear_referenced_page(page* page) { folio_deactivate(page_folio(page)); }

/// False: it is no huge page.
bool clear_referenced_pmd(vaddr_t addr, const pmdp_t& pmdp) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t pmd = pmdp_get(pmdp);
  if (!pmd_trans_huge(pmd)) return false;
  if (!pmd_has_folio(pmd)) return true;
  pmdp_test_and_clear_young(addr, pmdp);
  clear_referenced_page(pfn_to_page(pmd_pfn(pmd)));
  return true;
}

/// Flushes nothing: a TLB that has the page hides its use until it forgets it, which costs accuracy only.
void clear_refs_referenced(mm_struct& mm, mmap_region& region) {
  read_guard mmap_lock(region.mmap_lock);
  for_each_vma(region, region.start, region.end, [&](const vm_area_struct& vma) {
    const vaddr_t start = vma.vm_start.get();
    const vaddr_t end = vma.vm_end.get();
    walk_pmd_entries(mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
      if (pmd_trans_huge(pmdp_get_lockless(pmdp)) && clear_referenced_pmd(addr, pmdp)) return;
      pte_map_lock table(pmdp);
      if (!table) return;
      for (; addr < next; addr += PAGE_SIZE) {
        const pte_t pte = ptep_get(table.at(addr));
        if (!pte_present(pte) || pte_special(pte)) continue;
        ptep_test_and_clear_young(addr, table.at(addr));
        clear_referenced_page(pfn_to_page(pte_pfn(pte)));
      }
    });
  });
}

} // namespace

int clear_refs(mm_struct& mm, clear_refs_t what) {
  if (what == clear_refs_t::soft_dirty && arch().soft_dirty == 0) return -EOPNOTSUPP;
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t start = 0; start < geometry().address_limit(); start += size) {
    mmap_region* region = mm.existing_region(start);
    if (region == nullptr) continue;
    if (what == clear_refs_t::soft_dirty)
      clear_refs_soft_dirty(mm, *region);
    else
      clear_refs_referenced(mm, *region);
  }
  return 0;
}

// ---- pagemap ---------------------------------------------------------------------------------------------

namespace {

/// By how many entries the page is mapped, huge ones included.
s32 page_mapcount(page* page, folio* folio) {
  const s32 small = atomic_read(page->_mapcount) + 1;
  return folio_test_large(folio) ? small + atomic_read(folio->page._entire_mapcount) + 1 : small;
}

/// `special`: zeros, nobody's and no file's.
u64 word_of_page(page* page, pfn_t pfn, bool special) {
  if (special) return PM_PRESENT | pfn;
  folio* folio = page_folio(page);
  return PM_PRESENT | pfn | (page_mapcount(page, folio) == 1 ? PM_MMAP_EXCLUSIVE : 0) |
         (folio_test_anon(folio) ? 0 : PM_FILE);
}

u64 word_of_swap(swp_entry_t entry) {
  const u64 offset = is_swap_entry(entry) ? swp_slot(entry) : entry.offset;
  return PM_SWAP | entry.type | (offset << 5 & PM_PFRAME);
}

u64 pte_to_pagemap_entry(pte_t pte) {
  if (pte_none(pte)) return 0;
  if (!pte_present(pte))
    return word_of_swap(pte_to_swp_entry(pte)) | (pte_swp_soft_dirty(pte) ? PM_SOFT_DIRTY : 0) |
           (pte_swp_uffd_wp(pte) ? PM_UFFD_WP : 0);
  return word_of_page(pfn_to_page(pte_pfn(pte)), pte_pfn(pte), pte_special(pte)) |
         (pte_soft_dirty(pte) ? PM_SOFT_DIRTY : 0) | (pte_uffd_wp(pte) ? PM_UFFD_WP : 0);
}

/// The word of a huge entry's first page; of the nth, the frame is n further.
u64 pmd_to_pagemap_entry(pmd_t pmd) {
  if (is_pmd_migration_entry(pmd))
    return word_of_swap(pmd_to_swp_entry(pmd)) | (pmd_swp_soft_dirty(pmd) ? PM_SOFT_DIRTY : 0);
  return word_of_page(pfn_to_page(pmd_pfn(pmd)), pmd_pfn(pmd), pmd_special(pmd)) |
         (pmd_soft_dirty(pmd) ? PM_SOFT_DIRTY : 0);
}

/// False: it is neither a huge page nor on its way to be one elsewhere.
bool pagemap_pmd(const pmdp_t& pmdp, vaddr_t addr, vaddr_t end, u64 area, u64* words) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t pmd = pmdp_get(pmdp);
  if (!pmd_is_huge(pmd) && !is_pmd_migration_entry(pmd)) return false;
  const u64 first = pmd_to_pagemap_entry(pmd);
  const u64 step = (first & PM_SWAP) != 0 ? u64{1} << 5 : 1;
  for (; addr < end; addr += PAGE_SIZE)
    *words++ = area | (first + pte_index(addr) * step);
  return true;
}

void pagemap_vma(const vm_area_struct& vma, vaddr_t start, vaddr_t end, u64* words) {
  const u64 area = (vma.vm_flags.get() & VM_SOFTDIRTY) != 0 ? PM_SOFT_DIRTY : 0;
  std::fill_n(words, (end - start) >> PAGE_SHIFT, area);
  walk_pmd_entries(*vma.vm_mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    u64* at = words + ((addr - start) >> PAGE_SHIFT);
    const pmd_t pmd = pmdp_get_lockless(pmdp);
    if (pmd_none(pmd)) return;
    if (!pmd_is_table(pmd) && pagemap_pmd(pmdp, addr, next, area, at)) return;
    pte_map_lock table(pmdp);
    if (!table) return;
    for (; addr < next; addr += PAGE_SIZE)
      *at++ = area | pte_to_pagemap_entry(ptep_get(table.at(addr)));
  });
}

} // namespace

int pagemap_read(mm_struct& mm, vaddr_t start, u64 nr, u64* words) {
  const vaddr_t limit = geometry().address_limit();
  if ((start & ~PAGE_MASK) != 0 || start > limit || nr > (limit - start) >> PAGE_SHIFT) return -EINVAL;
  const vaddr_t end = start + (nr << PAGE_SHIFT);
  std::fill_n(words, nr, 0);
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t addr = start, next; addr < end; addr = next) {
    next = std::min(end, (addr & ~(size - 1)) + size);
    mmap_region* region = mm.existing_region(addr);
    if (region == nullptr) continue;
    read_guard mmap_lock(region->mmap_lock);
    for_each_vma(*region, addr, next, [&](const vm_area_struct& vma) {
      const vaddr_t from = std::max(addr, vma.vm_start.get());
      pagemap_vma(vma, from, std::min(next, vma.vm_end.get()), words + ((from - start) >> PAGE_SHIFT));
    });
  }
  return 0;
}

} // namespace racewalk::inline RACEWALK_BACKEND
