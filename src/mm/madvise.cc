#include "mm/madvise.h"

#include <cerrno>

#include "arch/swapops.h"
#include "mm/collapse_file.h"
#include "mm/filemap.h"
#include "mm/khugepaged.h"
#include "mm/memory.h"
#include "mm/mmu_gather.h"
#include "mm/page_lock.h"
#include "mm/pagewalk.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/shmem.h"
#include "mm/swapfile.h"
#include "mm/tlbbatch.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

int madvise_collapse_errno(scan_result result) {
  switch (result) {
  case scan_result::succeed:
  case scan_result::pmd_mapped:
    return 0;
  case scan_result::alloc_huge_page_fail:
  case scan_result::vma_null:
    return -ENOMEM;
  case scan_result::page_count:
  case scan_result::page_lock:
  case scan_result::page_not_uptodate:
  case scan_result::pte_non_present:
    return -EAGAIN; // it may work the next time
  case scan_result::pmd_null:
  case scan_result::exceed_none_pte:
  case scan_result::exceed_shared_pte:
  case scan_result::exceed_swap_pte:
  case scan_result::pte_uffd_wp:
  case scan_result::vma_check:
  case scan_result::truncated:
  case scan_result::page_compound:
  case scan_result::page_filled:
  case scan_result::pte_mapped_hugepage:
    break;
  }
  return -EINVAL;
}

scan_result madvise_collapse_one(mm_struct& mm, vaddr_t addr, const collapse_control& how) {
  const mapped_file file(mm, addr);
  if (!file) return collapse_huge_page(mm, addr, how);
  if (file.index() % hpage_pmd_nr() != 0) return scan_result::vma_check;
  const scan_result result = collapse_file(file.mapping(), file.index(), how);
  if (result != scan_result::succeed && result != scan_result::pte_mapped_hugepage) return result;
  return collapse_pte_mapped_thp_locked(mm, addr, true);
}

} // namespace

int madvise_collapse(mm_struct& mm, vaddr_t start, vaddr_t end) {
  const collapse_control how{.max_ptes_none = hpage_pmd_nr(), .wanted_only = false};
  int error = 0;
  for (vaddr_t addr = (start + ~pmd_mask()) & pmd_mask(); addr < end && end - addr >= pmd_size();
       addr += pmd_size())
    if (const int failed = madvise_collapse_errno(madvise_collapse_one(mm, addr, how))) error = failed;
  return error;
}

int madvise_dontneed(mm_struct& mm, vaddr_t start, vaddr_t end) {
  return madvise_walk_vmas(mm, start, end, [&](const vm_area_struct& vma, vaddr_t from, vaddr_t to) {
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, from, to);
    mmu_gather tlb(mm);
    tlb.reclaim_pt = true;
    tlb_gather_mmu(tlb);
    unmap_page_range(tlb, from, to, &vma);
    tlb_finish_mmu(tlb);
  });
}

// ---- MADV_FREE, MADV_COLD --------------------------------------------------------------------------------

namespace {

/// Nobody needs the folio's content unless it is stored to again (vmscan.h).
void folio_mark_lazyfree(folio* folio) {
  if (folio_test_anon(folio)) folio_clear_swapbacked(folio);
}

/// What was said about a folio before does not count any more, nor what the swap file has of it. False: it is
/// in use.
bool forget_content(folio* folio) {
  if (!folio_test_dirty(folio) && !folio_in_swap_cache(folio)) return true;
  if (!folio_trylock(folio)) return false;
  const bool alone = folio_mapcount(folio) == 1 && (!folio_in_swap_cache(folio) || folio_free_swap(folio));
  if (alone) folio_clear_dirty(folio);
  folio_unlock(folio);
  return alone;
}

void madvise_free_pte(mmu_gather& tlb, vaddr_t addr, const ptep_t& ptep) {
  const pte_t seen = ptep_get(ptep);
  if (is_swap_pte(seen) && is_swap_entry(pte_to_swp_entry(seen))) {
    pte_clear(addr, ptep);
    free_swap_and_cache(pte_to_swp_entry(seen));
    add_mm_counter(tlb.mm, MM_SWAPENTS, -1);
    return;
  }
  if (!pte_present(seen) || pte_special(seen)) return;
  folio* folio = page_folio(pfn_to_page(pte_pfn(seen)));
  if (folio_test_large(folio)) return; // a part of a folio, which goes as a whole
  if (folio_test_ksm(folio) || !forget_content(folio)) return;
  if (pte_young(seen) || pte_dirty(seen)) {
    ptep_modify(addr, ptep, [](pte_t pte) { return pte_mkold(pte_mkclean(pte)); });
    // A TLB that knows the page as dirty would let stores through that nobody hears of.
    if (policy().madvise_free_flushes) tlb_remove_tlb_entry(tlb, addr);
  }
  folio_mark_lazyfree(folio);
}

/// False: it is no huge page.
bool madvise_free_huge_pmd(mmu_gather& tlb, vaddr_t addr, vaddr_t end, const pmdp_t& pmdp) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t seen = pmdp_get(pmdp);
  if (!pmd_trans_huge(seen)) return false;
  if (!pmd_has_folio(seen)) return true;
  folio* folio = page_folio(pfn_to_page(pmd_pfn(seen)));
  if (end - addr != pmd_size() || folio_mapcount(folio) != 1 || !forget_content(folio)) return true;
  if (pmd_young(seen) || pmd_dirty(seen)) {
    const pmd_t old = pmdp_invalidate_raw(addr, pmdp); // never none (H14)
    set_pmd_at(addr, pmdp, pmd_mkold(pmd_mkclean(old)));
    tlb_remove_pmd_tlb_entry(tlb, addr);
  }
  folio_mark_lazyfree(folio);
  return true;
}

void madvise_free_range(mmu_gather& tlb, vaddr_t start, vaddr_t end) {
  walk_pmd_entries(tlb.mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    if (pmd_trans_huge(pmdp_get_lockless(pmdp)) && madvise_free_huge_pmd(tlb, addr, next, pmdp)) return;
    pte_map_lock table(pmdp);
    if (!table) return;
    flush_tlb_batched_pending(tlb.mm); // an entry that is gone, but not flushed, lets stores through
    for (; addr < next; addr += PAGE_SIZE)
      madvise_free_pte(tlb, addr, table.at(addr));
  });
}

void madvise_cold_range(mmu_gather& tlb, vaddr_t start, vaddr_t end) {
  walk_pmd_entries(tlb.mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    if (pmd_trans_huge(pmdp_get_lockless(pmdp))) {
      spin_guard pml(pmd_lockptr(pmdp));
      const pmd_t pmd = pmdp_get(pmdp);
      if (!pmd_trans_huge(pmd) || !pmd_has_folio(pmd)) return; // split meanwhile: in use; or nobody's
      if (pmdp_test_and_clear_young(addr, pmdp)) tlb_remove_pmd_tlb_entry(tlb, addr & pmd_mask());
      return folio_deactivate(page_folio(pfn_to_page(pmd_pfn(pmd))));
    }
    pte_map_lock table(pmdp);
    if (!table) return;
    for (; addr < next; addr += PAGE_SIZE) {
      const pte_t pte = ptep_get(table.at(addr));
      if (!pte_present(pte) || pte_special(pte)) continue;
      // flushed, so that the page is young again when it is used again
      if (ptep_test_and_clear_young(addr, table.at(addr))) tlb_remove_tlb_entry(tlb, addr);
      folio_deactivate(page_folio(pfn_to_page(pte_pfn(pte))));
    }
  });
}

template <class Range> void gathered(const vm_area_struct& vma, vaddr_t from, vaddr_t to, Range range) {
  mmu_notifier_invalidation notify(*vma.vm_mm, mmu_notifier_event::protection_page, from, to);
  mmu_gather tlb(*vma.vm_mm);
  tlb_gather_mmu(tlb);
  range(tlb, from, to);
  tlb_finish_mmu(tlb);
}

} // namespace

int madvise_free_single_vma(const vm_area_struct& vma, vaddr_t start, vaddr_t end) {
  if (!vma_is_anonymous(vma)) return -EINVAL;
  gathered(vma, start, end, madvise_free_range);
  return 0;
}

int madvise_free(mm_struct& mm, vaddr_t start, vaddr_t end) {
  bool anonymous = true;
  const int error =
      madvise_walk_vmas(mm, start, end, [&](const vm_area_struct& vma, vaddr_t from, vaddr_t to) {
        if (madvise_free_single_vma(vma, from, to) != 0) anonymous = false;
      });
  return anonymous ? error : -EINVAL;
}

int madvise_cold(mm_struct& mm, vaddr_t start, vaddr_t end) {
  return madvise_walk_vmas(mm, start, end, [&](const vm_area_struct& vma, vaddr_t from, vaddr_t to) {
    gathered(vma, from, to, madvise_cold_range);
  });
}

// ---- MADV_WILLNEED ---------------------------------------------------------------------------------------

namespace {

/// Asks for what the area's part [start, end) is made of and is not in memory. Caller holds the area's
/// vm_lock, or the region's mmap_lock, for reading.
void vma_will_need(const vm_area_struct& vma, vaddr_t start, vaddr_t end) {
  const u64 index = linear_page_index(vma, start);
  const u64 nr = (end - start) >> PAGE_SHIFT;
  if (vma_is_anonymous(vma)) {
    if (swap_possible()) swapin_range(vma, start, end);
  } else if (vma_is_shmem(vma)) {
    if (swap_possible()) shmem_swapin_range(vma.vm_file.get()->mapping(), index, index + nr - 1);
  } else {
    force_page_cache_ra(vma.vm_file.get()->mapping(), index, nr);
  }
}

} // namespace

int madvise_willneed(mm_struct& mm, vaddr_t start, vaddr_t end) {
  return madvise_walk_vmas(mm, start, end, vma_will_need);
}

void user_addrs_will_need(mm_context& context, std::span<const vaddr_t> addresses) NO_THREAD_SAFETY_ANALYSIS {
  for (const vaddr_t addr : addresses) {
    if (addr >= geometry().address_limit()) continue;
    vm_area_struct* vma = lock_vma(mm_of(context), addr);
    if (vma == nullptr) continue;
    vma_will_need(*vma, addr & PAGE_MASK, (addr & PAGE_MASK) + PAGE_SIZE);
    up_read(vma->vm_lock);
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
