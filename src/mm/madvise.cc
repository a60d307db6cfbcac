#include "mm/madvise.h"

#include <algorithm>
#include <cerrno>

#include "arch/pgtable.h"
#include "mm/khugepaged.h"
#include "mm/memory.h"
#include "mm/mmu_gather.h"

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
  case scan_result::pte_uffd_wp:
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

namespace {

/// The part of one region. Returns whether all of it is mapped.
bool dontneed_in_region(mm_struct& mm, mmap_region& region, vaddr_t start, vaddr_t end) {
  read_guard mmap_lock(region.mmap_lock); // faults go on; areas and tables stay
  bool mapped = true;
  while (start < end) {
    const vm_area_struct* vma = region.areas.find_vma(start);
    if (vma == nullptr || vma->vm_start >= end) return false;
    mapped = mapped && vma->vm_start <= start;
    const vaddr_t from = std::max(start, vma->vm_start);
    const vaddr_t to = std::min(end, vma->vm_end);
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, from, to);
    mmu_gather tlb(mm);
    tlb_gather_mmu(tlb);
    unmap_page_range(tlb, from, to, vma);
    tlb_finish_mmu(tlb);
    start = to;
  }
  return mapped;
}

} // namespace

int madvise_dontneed(mm_struct& mm, vaddr_t start, vaddr_t end) {
  bool mapped = true;
  while (start < end) {
    const u64 size = geometry().size(geometry().root_level());
    const vaddr_t next = std::min(end, (start & ~(size - 1)) + size);
    mmap_region* region = mm.existing_region(start);
    mapped = region != nullptr && dontneed_in_region(mm, *region, start, next) && mapped;
    start = next;
  }
  return mapped ? 0 : -ENOMEM;
}

} // namespace racewalk::inline RACEWALK_BACKEND
