// Collapse: the small pages of a PMD's range are copied into one huge page (M22).
//
// Who could use the old mapping is shut out one after the other: faults, get_user_pages and other calls by
// mmap_lock and vm_lock; who comes from a folio by anon_vma_lock; hardware by the flush; lockless walks by
// what the flush and tlb_remove_table_sync_one() wait for. Only then are the pages' counts looked at: a page
// that anybody but the old mapping holds stays, and so do all. What remains is nobody's but the collapse's.
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Why a range is a huge page now, or why not (Linux's names).
enum class scan_result : u8 {
  succeed,
  pmd_mapped,           ///< it was one before
  pmd_null,             ///< no table is there
  exceed_none_pte,      ///< too many pages were never touched
  exceed_shared_pte,    ///< too many pages are other mms', too
  exceed_swap_pte,      ///< too many pages are in the swap file
  pte_non_present,      ///< a page is being moved
  page_count,           ///< a page is pinned or otherwise in use
  page_lock,            ///< a page is locked
  pte_uffd_wp,          ///< a userfaultfd has write-protected a page
  vma_null,             ///< nothing is mapped there
  vma_check,            ///< the area is too small, forbids all access, or is not to have huge pages
  alloc_huge_page_fail, ///< there is no free huge page
  truncated,            ///< the file ends before, or does by now
  page_compound,        ///< pages of several folios, or not all of one
  page_not_uptodate,    ///< a page of the file is still being read
  page_filled,          ///< a hole of the file may not be filled in: a userfaultfd hears of it
  pte_mapped_hugepage,  ///< the file has a huge page there already
};

/// What a collapse may do.
struct collapse_control {
  unsigned max_ptes_none; ///< how many pages that were never touched it fills in
  bool wanted_only;       ///< only areas that are to have huge pages by themselves
  /// Beyond so many pages that other mms have too, hpage_collapse_scan_pmd() says that it does not pay.
  unsigned max_ptes_shared = hpage_pmd_nr();
  /// The same of hpage_collapse_scan_file(), for pages of a file that are in the swap file.
  unsigned max_ptes_swap = hpage_pmd_nr();
};

/// Makes the range of `addr`'s PMD one huge page. On failure all is as before. Caller holds no lock of the
/// mm.
scan_result collapse_huge_page(mm_struct& mm, vaddr_t addr, const collapse_control& how);

/// Looks, without shutting anybody out, whether a collapse would probably succeed.
scan_result hpage_collapse_scan_pmd(mm_struct& mm, vaddr_t addr, const collapse_control& how);

} // namespace racewalk::inline RACEWALK_BACKEND
