// The advice that acts at once: what madvise() does besides changing areas (mmap.h).
#pragma once

#include <algorithm>
#include <cerrno>
#include <span>

#include "mm/mm_types.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Calls visit(vma, from, to) for each area's part of [start, end), with the region's mmap_lock held for
/// reading: faults go on, areas and tables stay. 0, or -ENOMEM if a part is not mapped; the rest is visited
/// all the same. Caller holds no lock of the mm.
template <class Visit> int madvise_walk_vmas(mm_struct& mm, vaddr_t start, vaddr_t end, Visit&& visit) {
  bool mapped = true;
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t next; start < end; start = next) {
    next = std::min(end, (start & ~(size - 1)) + size);
    mmap_region* region = mm.existing_region(start);
    if (region == nullptr) {
      mapped = false;
      continue;
    }
    read_guard mmap_lock(region->mmap_lock);
    vaddr_t at = start;
    for_each_vma(*region, start, next, [&](vm_area_struct& vma) {
      const vaddr_t from = std::max(start, vma.vm_start.get());
      mapped = mapped && from == at;
      at = std::min(next, vma.vm_end.get());
      visit(vma, from, at);
    });
    mapped = mapped && at == next;
  }
  return mapped ? 0 : -ENOMEM;
}

/// MADV_COLLAPSE: makes each PMD's range in [start, end), all of it mapped, one huge page, whether the area
/// wants huge pages or not. 0; -EINVAL if one cannot be; -EAGAIN if a page is in use; -ENOMEM if there is no
/// free huge page, or nothing is mapped. The others are collapsed all the same. Caller holds no lock of the
/// mm.
int madvise_collapse(mm_struct& mm, vaddr_t start, vaddr_t end);

/// MADV_DONTNEED: the memory of [start, end) is given back; what is read there next is zero. 0, or -ENOMEM if
/// a part is not mapped; the rest is given back all the same. Caller holds no lock of the mm.
int madvise_dontneed(mm_struct& mm, vaddr_t start, vaddr_t end);

/// MADV_FREE: the content of [start, end) may go, page by page, until it is stored to again (vmscan.h). Pages
/// of a huge page go together or not at all. 0; -EINVAL if a part is not anonymous memory, -ENOMEM if a part
/// is not mapped; the rest is freed all the same. Locks as above.
int madvise_free(mm_struct& mm, vaddr_t start, vaddr_t end);
/// The part of one area. 0 or -EINVAL. Caller holds the region's mmap_lock.
int madvise_free_single_vma(const vm_area_struct& vma, vaddr_t start, vaddr_t end);
/// MADV_COLD: the pages of [start, end) are not in use just now. 0 or -ENOMEM. Locks as above.
int madvise_cold(mm_struct& mm, vaddr_t start, vaddr_t end);
/// MADV_WILLNEED: what is mapped of files in [start, end), or is in the swap file, is read, as far as there
/// is memory for it. 0 or -ENOMEM. Locks as above.
int madvise_willneed(mm_struct& mm, vaddr_t start, vaddr_t end);
/// The same for the pages of single addresses, whatever is mapped there (mm_context::will_need).
void user_addrs_will_need(mm_context& context, std::span<const vaddr_t> addresses);

} // namespace racewalk::inline RACEWALK_BACKEND
