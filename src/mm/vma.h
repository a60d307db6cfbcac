// The areas of a range: locking their regions, cutting them at its ends, joining what has become alike.
//
// What mmap, mprotect, userfaultfd and the like share. An area in a tree covers at least a page, overlaps no
// other, and is never mergeable with its neighbour for long (an operation that made it so merges it). Areas
// change under what vma_write_guard takes.
#pragma once

#include <algorithm>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Areas per region, as Linux's vm.max_map_count.
inline constexpr std::size_t MAX_MAP_COUNT = 65530;

/// Makes the regions that a range touches. Caller holds no mmap_lock: who locks all regions keeps new ones
/// out before it waits for the first (mmap_write_lock_all()). False if memory is short.
[[nodiscard]] bool make_regions(mm_struct& mm, vaddr_t start, vaddr_t end);

/// The regions that a range touches, locked for writing, lowest first.
class regions_guard {
 public:
  /// For a part of what another guard has locked, while that lives.
  struct locked_already {};

  regions_guard(mm_struct& mm, vaddr_t start, vaddr_t end) NO_THREAD_SAFETY_ANALYSIS;
  regions_guard(mm_struct& mm, vaddr_t start, vaddr_t end, locked_already)
      : mm_(mm), start_(start), end_(end), locks_(false) {}
  ~regions_guard() NO_THREAD_SAFETY_ANALYSIS;
  regions_guard(const regions_guard&) = delete;
  regions_guard& operator=(const regions_guard&) = delete;

  /// False if memory for a region was short; then nothing is locked.
  [[nodiscard]] bool ok() const { return ok_; }

  /// Calls visit(region, start, end) with the part of the range that lies in each region.
  template <class F> void for_each(F&& visit) const {
    if (!ok_) return;
    for (vaddr_t addr = start_; addr < end_;) {
      mmap_region& region = *mm_.existing_region(addr);
      visit(region, addr, std::min(end_, region.end));
      addr = region.end;
    }
  }

 private:
  mm_struct& mm_;
  const vaddr_t start_;
  const vaddr_t end_;
  const bool locks_ = true;
  bool ok_ = true;
};

/// Calls visit(vma) for the areas of a region that overlap [start, end), in order. visit may erase the area.
/// Caller holds the region's mmap_lock.
template <class F> void for_each_vma(mmap_region& region, vaddr_t start, vaddr_t end, F&& visit) {
  while (start < end) {
    vm_area_struct* vma = region.areas.find_vma(start);
    if (vma == nullptr || vma->vm_start.get() >= end) return;
    start = vma->vm_end.get();
    visit(*vma);
  }
}

/// What an area maps, and how: areas that are alike in this are one.
struct vma_contents {
  vm_flags_t flags = VM_NONE;
  file* backing = nullptr; ///< null: anonymous memory
  u64 pgoff = 0;           ///< vm_pgoff
  userfaultfd_ctx* uffd = nullptr;

  /// The same, seen from an address so many bytes further on.
  vma_contents advanced(u64 bytes) const { return {flags, backing, pgoff + (bytes >> PAGE_SHIFT), uffd}; }
  /// The same, of which userfaultfd knows nothing.
  vma_contents unregistered() const { return {flags & ~VM_UFFD_FLAGS, backing, pgoff, nullptr}; }
  /// May an area with one be continued by an area with the other? They may differ in whether they are
  /// soft-dirty: then the whole is.
  friend bool operator==(const vma_contents& a, const vma_contents& b) {
    return (a.flags & ~VM_SOFTDIRTY) == (b.flags & ~VM_SOFTDIRTY) && a.backing == b.backing &&
           a.pgoff == b.pgoff && a.uffd == b.uffd;
  }
};
inline vma_contents contents_of(const vm_area_struct& vma, site s = RW_HERE) {
  return {vma.vm_flags.get(s), vma.vm_file.get(s), vma.vm_pgoff.get(s), vma.vm_userfaultfd_ctx.get(s)};
}

/// The i_mmap_rwsem of a file for writing, if there is a file: nobody finds its areas while they change.
class i_mmap_guard {
 public:
  explicit i_mmap_guard(file* f) NO_THREAD_SAFETY_ANALYSIS;
  ~i_mmap_guard() NO_THREAD_SAFETY_ANALYSIS;
  i_mmap_guard(const i_mmap_guard&) = delete;
  i_mmap_guard& operator=(const i_mmap_guard&) = delete;

  void insert(vm_area_struct& vma) const {
    if (mapping_ != nullptr) mapping_->i_mmap.insert(vma.i_mmap_node, vma);
  }
  void remove(vm_area_struct& vma) const {
    if (mapping_ != nullptr) mapping_->i_mmap.remove(vma.i_mmap_node);
  }

 private:
  address_space* const mapping_;
};

constexpr u64 page_align(u64 bytes) { return (bytes + PAGE_SIZE - 1) & PAGE_MASK; }
/// What an area's fields change under, beside the mmap_lock.
class vma_write_guard {
 public:
  vma_write_guard(mmap_region& region, vm_area_struct& vma) NO_THREAD_SAFETY_ANALYSIS
      : vm_lock_(vma.vm_lock),
        anon_vma_(region.anon_vma_lock) {}

 private:
  write_guard vm_lock_;  ///< keeps faults out
  write_guard anon_vma_; ///< keeps out who comes from a folio
};

// All of the following: caller holds the region's mmap_lock for writing.

/// Puts an area into the region's trees, and takes it out. Caller holds the anon_vma_lock for writing, too.
void vma_link(mmap_region& region, vm_area_struct& vma);
void vma_unlink(mmap_region& region, vm_area_struct& vma);
/// Gives the memory of an area back that nobody can find any more, and its reference to the file.
void vma_free(mmap_region& region, vm_area_struct& vma);
/// Fills in an area that vm_area_alloc() gave and puts it into the region and the file's i_mmap; there is
/// memory for it (vma_tree::preallocate()). It gets a reference to the file.
void vma_attach(mmap_region& region, vm_area_struct& vma, vaddr_t start, vaddr_t end,
                const vma_contents& what);
/// The same for who keeps faults out of it for longer.
void vma_attach_locked(mmap_region& region, vm_area_struct& vma, vaddr_t start, vaddr_t end,
                       const vma_contents& what) REQUIRES(vma.vm_lock);
/// Makes an area longer, and soft-dirty if what it gets is: over free addresses, or over `swallowed`, a
/// detached area that continues it.
void vma_extend(vm_area_struct& vma, vaddr_t end, vm_area_struct* swallowed = nullptr);
/// Cuts the area that crosses `addr` there, if one does. 0, or -ENOMEM, or -EINVAL if it may not be cut
/// there: then nothing has changed.
[[nodiscard]] int split_vma(mmap_region& region, vaddr_t addr);
/// Joins the area that ends at `addr` and the one that begins there, if both are there and alike.
void merge_vmas(mmap_region& region, vaddr_t addr);
/// Joins what has become alike in [start, end), which no area crosses, and at its ends.
void merge_vmas_in(mmap_region& region, vaddr_t start, vaddr_t end);

/// Where the region has room for `len` bytes, or its end if it has none. Holes below free_area_cache are
/// known to be no larger than cached_hole_size.
vaddr_t find_hole(mmap_region& region, u64 len, u64 align);
/// A hole has appeared that begins at `addr`.
void note_hole(mmap_region& region, vaddr_t addr);

/// Memory for one more area in each region of the range. False if it is short, or a region has too many.
[[nodiscard]] bool make_room(const regions_guard& regions, mm_struct& mm);
/// Maps [start, end) of a region, where nothing is mapped. make_room() has succeeded.
void map_in_region(mmap_region& region, vaddr_t start, vaddr_t end, vma_contents what);
/// Takes the areas of [start, end), whose ends cross no area, and all they map away. `fullmm`: nobody will
/// run in the mm again.
void unmap_in_region(mm_struct& mm, mmap_region& region, vaddr_t start, vaddr_t end, bool fullmm = false);

/// mmap of anything, of anonymous memory with any pgoff; caller holds no lock of the mm. `flags`: MAP_FIXED
/// and MAP_FIXED_NOREPLACE count. The address, -EINVAL, -ENOMEM or -EEXIST.
long do_mmap(mm_struct& mm, vaddr_t addr, u64 len, int flags, const vma_contents& what);

/// Whether anything is mapped in the range.
bool anything_mapped(const regions_guard& regions);
/// Whether all of the range is mapped.
bool fully_mapped(const regions_guard& regions);
/// Cuts what crosses the ends of the range that is locked. 0, -ENOMEM or -EINVAL.
[[nodiscard]] int split_at_ends(const regions_guard& regions, vaddr_t start, vaddr_t end);

} // namespace racewalk::inline RACEWALK_BACKEND
