#include "mm/madvise.h"

#include <cerrno>

#include "arch/pgtable.h"
#include "mm/khugepaged.h"

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
  case scan_result::pte_non_present:
    return -EAGAIN; // it may work the next time
  case scan_result::pmd_null:
  case scan_result::exceed_none_pte:
  case scan_result::vma_check:
    break;
  }
  return -EINVAL;
}

} // namespace

int madvise_collapse(mm_struct& mm, vaddr_t start, vaddr_t end) {
  const collapse_control how{.max_ptes_none = hpage_pmd_nr(), .wanted_only = false};
  int error = 0;
  for (vaddr_t addr = (start + ~pmd_mask()) & pmd_mask(); addr < end && end - addr >= pmd_size();
       addr += pmd_size())
    if (const int failed = madvise_collapse_errno(collapse_huge_page(mm, addr, how))) error = failed;
  return error;
}

} // namespace racewalk::inline RACEWALK_BACKEND
