#include "mm/msync.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "mm/vfs.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// What one step finds: the area that comes next, or none before the end.
struct found_area {
  vaddr_t start;
  vaddr_t end;
  file* backing; ///< to be synchronized, with a reference; null: nothing to do
  u64 first;     ///< page of the file that is at `start`
};

/// The part of the next area in [start, end), which lies in one region; none begins at `end`.
found_area next_area(mm_struct& mm, vaddr_t start, vaddr_t end, bool sync) {
  mmap_region* region = mm.existing_region(start);
  if (region == nullptr) return {end, end, nullptr, 0};
  read_guard mmap_lock(region->mmap_lock);
  const vm_area_struct* vma = region->areas.find_vma(start);
  if (vma == nullptr || vma->vm_start.get() >= end) return {end, end, nullptr, 0};
  const vaddr_t from = std::max(start, vma->vm_start.get());
  const vaddr_t to = std::min(end, vma->vm_end.get());
  if (!sync || vma->vm_file.get() == nullptr || (vma->vm_flags.get() & VM_SHARED) == 0)
    return {from, to, nullptr, 0};
  get_file(*vma->vm_file.get()); // the area may go while it is written: no lock of the mm is held then
  return {from, to, vma->vm_file.get(), linear_page_index(*vma, from)};
}

} // namespace

int vm_msync(mm_struct& mm, vaddr_t start, u64 len, int flags) {
  if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) != 0) return -EINVAL;
  if ((start & ~PAGE_MASK) != 0) return -EINVAL;
  if ((flags & MS_ASYNC) != 0 && (flags & MS_SYNC) != 0) return -EINVAL;
  const u64 bytes = page_align(len);
  if (bytes < len || start + bytes < start) return -ENOMEM;
  const vaddr_t end = std::min(start + bytes, geometry().address_limit());
  bool holes = end < start + bytes;
  const u64 size = geometry().size(geometry().root_level());
  while (start < end) {
    const vaddr_t region_end = std::min(end, (start & ~(size - 1)) + size);
    const found_area area = next_area(mm, start, region_end, (flags & MS_SYNC) != 0);
    holes = holes || area.start > start || area.start == region_end;
    if (area.backing != nullptr) {
      const u64 last = area.first + ((area.end - area.start) >> PAGE_SHIFT) - 1;
      const int error = vfs_fsync_range(*area.backing, area.first, last, true);
      fput(*area.backing);
      if (error != 0) return error;
    }
    start = area.end;
  }
  return holes ? -ENOMEM : 0;
}

} // namespace racewalk::inline RACEWALK_BACKEND
