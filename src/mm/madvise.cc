#include "mm/madvise.h"

#include <algorithm>
#include <cerrno>

#include "arch/pgtable.h"
#include "mm/collapse_file.h"
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
  case scan_result::page_not_uptodate:
  case scan_result::pte_non_present:
    return -EAGAIN; // it may work the next time
  case scan_result::pmd_null:
  case scan_result::exceed_none_pte:
  case scan_result::exceed_shared_pte:
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

/// The file whose pages are mapped at `addr`, with a reference, and which of them; no file: null.
std::pair<file*, u64> file_at(mm_struct& mm, vaddr_t addr) {
  mmap_region* region = mm.existing_region(addr);
  if (region == nullptr) return {};
  read_guard mmap_lock(region->mmap_lock);
  const vm_area_struct* vma = region->areas.find_vma(addr);
  if (vma == nullptr || !vma->contains(addr) || vma_is_anonymous(*vma)) return {};
  get_file(*vma->vm_file);
  return {vma->vm_file, linear_page_index(*vma, addr)};
}

/// The file's pages become one folio, and where they are mapped at `addr` one entry.
scan_result collapse_file_at(mm_struct& mm, vaddr_t addr, file& f, u64 index, const collapse_control& how) {
  if (index % hpage_pmd_nr() != 0) return scan_result::vma_check;
  const scan_result result = collapse_file(f.mapping(), index, how);
  if (result != scan_result::succeed && result != scan_result::pte_mapped_hugepage) return result;
  mmap_region* region = mm.existing_region(addr);
  read_guard mmap_lock(region->mmap_lock);
  return collapse_pte_mapped_thp(mm, addr, true);
}

scan_result madvise_collapse_one(mm_struct& mm, vaddr_t addr, const collapse_control& how) {
  const auto [f, index] = file_at(mm, addr);
  if (f == nullptr) return collapse_huge_page(mm, addr, how);
  const scan_result result = collapse_file_at(mm, addr, *f, index, how);
  fput(*f);
  return result;
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
