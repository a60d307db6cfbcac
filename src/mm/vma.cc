#include "mm/vma.h"

#include <cerrno>
#include <utility>

#include "mm/dax.h"
#include "mm/huge_memory.h"
#include "mm/memory.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool make_regions(mm_struct& mm, vaddr_t start, vaddr_t end) {
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t addr = start; addr < end; addr = (addr & ~(size - 1)) + size)
    if (mm.region(addr) == nullptr) return false;
  return true;
}

namespace {

void mmap_write_lock(mmap_region& region) NO_THREAD_SAFETY_ANALYSIS { down_write(region.mmap_lock); }
void mmap_write_unlock(mmap_region& region) NO_THREAD_SAFETY_ANALYSIS { up_write(region.mmap_lock); }

} // namespace

regions_guard::regions_guard(mm_struct& mm, vaddr_t start, vaddr_t end) NO_THREAD_SAFETY_ANALYSIS
    : mm_(mm),
      start_(start),
      end_(end) {
  ok_ = make_regions(mm, start, end);
  for_each([](mmap_region& region, vaddr_t, vaddr_t) { mmap_write_lock(region); });
}

regions_guard::~regions_guard() NO_THREAD_SAFETY_ANALYSIS {
  if (!locks_) return;
  for_each([](mmap_region& region, vaddr_t, vaddr_t) { mmap_write_unlock(region); });
}

i_mmap_guard::i_mmap_guard(file* f) NO_THREAD_SAFETY_ANALYSIS
    : mapping_(f == nullptr ? nullptr : &f->mapping()) {
  if (mapping_ != nullptr) down_write(mapping_->i_mmap_rwsem);
}
i_mmap_guard::~i_mmap_guard() NO_THREAD_SAFETY_ANALYSIS {
  if (mapping_ != nullptr) up_write(mapping_->i_mmap_rwsem);
}

void unlink_file_vma(vm_area_struct& vma) { i_mmap_guard(vma.vm_file.get()).remove(vma); }

void vma_free(mmap_region& region, vm_area_struct& vma) {
  if (file* backing = vma.vm_file.get()) {
    vma.vm_file.set(nullptr);
    fput(*backing);
  }
  region.vm_area_free(vma);
}

namespace {

/// Fills in an area that is in no tree. Caller holds its vm_lock: a late look-up may still be at what it was
/// before.
void set_area(vm_area_struct& vma, vaddr_t start, vaddr_t end, const vma_contents& what) {
  if (what.backing != nullptr) get_file(*what.backing);
  vma.vm_start.set(start);
  vma.vm_end.set(end);
  vma.vm_flags.set(what.flags);
  vma.vm_file.set(what.backing);
  vma.vm_pgoff.set(what.pgoff);
  vma.vm_userfaultfd_ctx.set(what.uffd);
  WRITE_ONCE(vma.bars, uffd_bars(what.flags));
  WRITE_ONCE(vma.swap_readahead_info, 0);
  vma.attached.set(true);
}

} // namespace

void vma_link(mmap_region& region, vm_area_struct& vma) {
  region.areas.insert(vma);
  if (vma_is_displaced(vma)) region.displaced.insert(vma.displaced_node, vma);
}

void vma_unlink(mmap_region& region, vm_area_struct& vma) {
  region.areas.erase(vma);
  if (vma_is_displaced(vma)) region.displaced.remove(vma.displaced_node);
}

namespace {

/// Another end for an area in the trees. Caller holds what vma_write_guard takes, and the file's
/// i_mmap_rwsem.
void move_end(mmap_region& region, vm_area_struct& vma, vaddr_t end, const i_mmap_guard& i_mmap) {
  const bool displaced = vma_is_displaced(vma);
  i_mmap.remove(vma);
  if (displaced) region.displaced.remove(vma.displaced_node);
  vma.vm_end.set(end);
  if (displaced) region.displaced.insert(vma.displaced_node, vma);
  i_mmap.insert(vma);
}

/// Caller holds its vm_lock and the region's anon_vma_lock.
void attach(mmap_region& region, vm_area_struct& vma, vaddr_t start, vaddr_t end, const vma_contents& what) {
  set_area(vma, start, end, what);
  i_mmap_guard(what.backing).insert(vma); // before a fault can map a page by it
  vma_link(region, vma);
}

} // namespace

void vma_attach(mmap_region& region, vm_area_struct& vma, vaddr_t start, vaddr_t end,
                const vma_contents& what) {
  vma_write_guard guard(region, vma);
  attach(region, vma, start, end, what);
}

void vma_attach_locked(mmap_region& region, vm_area_struct& vma, vaddr_t start, vaddr_t end,
                       const vma_contents& what) {
  write_guard anon_vma(region.anon_vma_lock);
  attach(region, vma, start, end, what);
}

void vma_extend(vm_area_struct& vma, vaddr_t end, vm_area_struct* swallowed) {
  mmap_region& region = *vma.vm_mm->existing_region(vma.vm_start.get());
  // whoever comes from a page finds it in one area or the other
  vma_write_guard guard(region, vma);
  const i_mmap_guard i_mmap(vma.vm_file.get());
  if (swallowed != nullptr) {
    vma_unlink(region, *swallowed);
    swallowed->attached.set(false);
    i_mmap.remove(*swallowed);
    atomic_or(vma.bars, READ_ONCE(swallowed->bars));
  }
  move_end(region, vma, end, i_mmap);
  vma.vm_flags.set(vma.vm_flags.get() | (swallowed != nullptr ? swallowed->vm_flags.get() : VM_SOFTDIRTY));
}

int split_vma(mmap_region& region, vaddr_t addr) {
  vm_area_struct* vma = region.areas.find_vma(addr);
  if (vma == nullptr || vma->vm_start.get() >= addr) return 0;
  if (!may_split(*vma, addr)) return -EINVAL;
  if (region.areas.size() >= MAX_MAP_COUNT || !region.areas.preallocate()) return -ENOMEM;
  vm_area_struct* upper = region.vm_area_alloc(*vma->vm_mm);
  if (upper == nullptr) return -ENOMEM;
  const vaddr_t end = vma->vm_end.get();
  write_guard vm_lock(vma->vm_lock); // keeps faults out, as split_huge_pmd_address() needs
  split_huge_pmd_address(*vma, addr);
  {
    // whoever comes from a page finds it in one half or the other
    vma_write_guard guard(region, *upper);
    const i_mmap_guard i_mmap(vma->vm_file.get());
    move_end(region, *vma, addr, i_mmap);
    set_area(*upper, addr, end, contents_of(*vma).advanced(addr - vma->vm_start.get()));
    WRITE_ONCE(upper->bars, READ_ONCE(vma->bars));
    i_mmap.insert(*upper);
    vma_link(region, *upper);
  }
  return 0;
}

void merge_vmas(mmap_region& region, vaddr_t addr) {
  if (addr == region.start || addr == region.end) return;
  vm_area_struct* prev = region.areas.find_vma(addr - 1);
  vm_area_struct* next = region.areas.find_vma(addr);
  if (prev == nullptr || next == nullptr || prev->vm_end.get() != addr || next->vm_start.get() != addr ||
      contents_of(*next) != contents_of(*prev).advanced(prev->size()))
    return;
  {
    write_guard vm_lock(next->vm_lock);
    vma_extend(*prev, next->vm_end.get(), next);
  }
  vma_free(region, *next);
}

void merge_vmas_in(mmap_region& region, vaddr_t start, vaddr_t end) {
  while (start < end) {
    const vm_area_struct* vma = region.areas.find_vma(start);
    if (vma == nullptr || vma->vm_start.get() >= end) break;
    start = vma->vm_end.get();
    merge_vmas(region, vma->vm_start.get());
  }
  merge_vmas(region, end);
}

namespace {

/// Where the first hole of [start, end) begins; from `end` on if there is none.
vaddr_t mapped_up_to(const mmap_region& region, vaddr_t start, vaddr_t end) {
  while (start < end) {
    const vm_area_struct* vma = region.areas.find_vma(start);
    if (vma == nullptr || vma->vm_start.get() > start) break;
    start = vma->vm_end.get();
  }
  return start;
}

bool maps_any_of(const mmap_region& region, vaddr_t start, vaddr_t end) {
  const vm_area_struct* vma = region.areas.find_vma(start);
  return vma != nullptr && vma->vm_start.get() < end;
}

} // namespace

bool fully_mapped(const regions_guard& regions) {
  bool mapped = true;
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    mapped = mapped && mapped_up_to(region, start, end) >= end;
  });
  return mapped;
}

int split_at_ends(const regions_guard& regions, vaddr_t start, vaddr_t end) {
  int error = 0;
  regions.for_each([&](mmap_region& region, vaddr_t from, vaddr_t to) {
    if (error == 0 && from == start) error = split_vma(region, start);
    if (error == 0 && to == end && end != region.end) error = split_vma(region, end);
  });
  return error;
}

// ---- holes -----------------------------------------------------------------------------------------------

namespace {

constexpr vaddr_t align_up(vaddr_t addr, u64 size) { return (addr + size - 1) & ~(size - 1); }

} // namespace

vaddr_t find_hole(mmap_region& region, u64 len, u64 align) {
  const vaddr_t base = std::max(region.start, vaddr_t{PAGE_SIZE}); // the null page is nobody's
  if (len <= region.cached_hole_size.get()) {
    region.free_area_cache.set(base);
    region.cached_hole_size.set(0);
  }
  for (;;) {
    const vaddr_t from = std::max(region.free_area_cache.get(), base);
    vaddr_t hole = from;
    for (;;) {
      const vaddr_t addr = align_up(hole, align);
      const vm_area_struct* vma = region.areas.find_vma(hole);
      const vaddr_t hole_end = vma == nullptr ? region.end : vma->vm_start.get();
      if (addr < hole_end && len <= hole_end - addr) {
        region.free_area_cache.set(addr == hole ? addr + len : hole);
        return addr;
      }
      if (hole_end > hole)
        region.cached_hole_size.set(std::max(region.cached_hole_size.get(), hole_end - hole));
      if (vma == nullptr) break;
      hole = vma->vm_end.get();
    }
    if (from == base) return region.end;
    region.free_area_cache.set(base); // once more from the bottom
    region.cached_hole_size.set(0);
  }
}

void note_hole(mmap_region& region, vaddr_t addr) {
  region.free_area_cache.set(std::min(region.free_area_cache.get(), addr));
}

bool anything_mapped(const regions_guard& regions) {
  bool found = false;
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    found = found || maps_any_of(region, start, end);
  });
  return found;
}

bool make_room(const regions_guard& regions, mm_struct& mm) {
  bool room = true;
  regions.for_each([&](mmap_region& region, vaddr_t, vaddr_t) {
    room = room && region.areas.size() < MAX_MAP_COUNT && region.areas.preallocate() &&
           region.vm_area_reserve(mm);
  });
  return room;
}

void map_in_region(mmap_region& region, vaddr_t start, vaddr_t end, vma_contents what) {
  what.flags = what.flags | VM_SOFTDIRTY; // what is new is new as a whole
  vm_area_struct* prev = start == region.start ? nullptr : region.areas.find_vma(start - 1);
  if (prev != nullptr && prev->vm_end.get() == start && what == contents_of(*prev).advanced(prev->size()))
    vma_extend(*prev, end);
  else
    vma_attach(region, region.vm_area_take(), start, end, what);
  merge_vmas(region, end);
}

// ---- unmapping -------------------------------------------------------------------------------------------

namespace {

/// Whether the range has pages or tables of its own, which unmap_region() would find. Nobody adds any
/// meanwhile.
class populated_range {
 public:
  populated_range(const mm_struct& mm, const unmap_range& range) : mm_(mm), range_(range) {}

  [[nodiscard]] bool any() const {
    for (vaddr_t addr = range_.start, next; addr < range_.end; addr = next) {
      next = pgd_addr_end(addr, range_.end);
      const pgdp_t pgdp = pgd_offset(mm_, addr);
      const pgd_t pgd = pgdp_get(pgdp);
      if (!pgd_present(pgd)) continue;
      if ((!pgd_folded() && covers(PGD_LEVEL, addr)) || any_below(pgdp, pgd, addr, next)) return true;
    }
    return false;
  }

 private:
  bool any_below(pgdp_t pgdp, pgd_t pgd, vaddr_t addr, vaddr_t end) const {
    for (vaddr_t next; addr < end; addr = next) {
      next = pud_addr_end(addr, end);
      const pudp_t pudp = pud_offset(pgdp, pgd, addr);
      const pud_t pud = pudp_get(pudp);
      if (!pud_present(pud)) continue;
      if ((!pud_folded() && covers(PUD_LEVEL, addr)) || any_below(pudp, pud, addr, next)) return true;
    }
    return false;
  }
  static bool any_below(pudp_t pudp, pud_t pud, vaddr_t addr, vaddr_t end) {
    for (; addr < end; addr = pmd_addr_end(addr, end))
      if (!pmd_none(pmdp_get(pmd_offset(pudp, pud, addr)))) return true;
    return false;
  }
  /// Whether the table behind an entry is for the range alone, so that it goes with it.
  [[nodiscard]] bool covers(unsigned level, vaddr_t addr) const {
    const u64 size = geometry().size(level);
    const vaddr_t first = addr & ~(size - 1);
    return first >= range_.floor && first + size <= range_.ceiling;
  }

  const mm_struct& mm_;
  const unmap_range& range_;
};

/// Areas that take no faults any more, linked by next_free, with what they span.
struct dying_areas {
  vm_area_struct* first_area = nullptr;
  vaddr_t first;
  vaddr_t last;

  void add(vm_area_struct& vma) {
    first = std::min(first, vma.vm_start.get());
    last = std::max(last, vma.vm_end.get());
    vma.next_free.set(std::exchange(first_area, &vma));
  }
};

/// No fault begins in an area that is about to go.
void vma_mark_detached(vm_area_struct& vma) {
  if (policy().munmap_detaches == vma_detach_t::unlocked) return vma.attached.set(false);
  write_guard vm_lock(vma.vm_lock); // waits for those that are under way
  if (policy().munmap_detaches == vma_detach_t::locked) vma.attached.set(false);
}

dying_areas stop_faults(mmap_region& region, vaddr_t start, vaddr_t end) {
  dying_areas gone{nullptr, end, start};
  for_each_vma(region, start, end, [&](vm_area_struct& vma) {
    vma_mark_detached(vma);
    gone.add(vma);
  });
  return gone;
}

// Under one hold of the anon_vma_lock: who comes from a folio finds an area with all its entries, or neither.
// A move that found the area when it put its entries in, and does not find it to take them out, would leave
// them behind; the page that they are for is freed, and nobody can tell what it was counted as.
void unmap_dying(mm_struct& mm, mmap_region& region, const dying_areas& gone, bool fullmm) {
  const auto [areas, first, last] = gone;
  const vm_area_struct* prev = region.areas.find_vma_prev(first);
  const vm_area_struct* next = region.areas.find_vma(last);
  const vaddr_t floor = prev == nullptr ? region.start : prev->vm_end.get();
  note_hole(region, floor);
  const unmap_range range{first, last, floor, next == nullptr ? region.end : next->vm_start.get()};
  write_guard anon_vma(region.anon_vma_lock);
  for (vm_area_struct* vma = areas; vma != nullptr; vma = vma->next_free.get())
    vma_unlink(region, *vma);
  if (populated_range(mm, range).any()) {
    unmap_region(mm, range, fullmm, areas);
  } else {
    for (vm_area_struct* vma = areas; vma != nullptr; vma = vma->next_free.get())
      unlink_file_vma(*vma);
  }
}

} // namespace

void unmap_in_region(mm_struct& mm, mmap_region& region, vaddr_t start, vaddr_t end, bool fullmm) {
  const dying_areas gone = stop_faults(region, start, end);
  if (gone.first_area == nullptr) return;
  unmap_dying(mm, region, gone, fullmm);
  for (vm_area_struct *vma = gone.first_area, *next = nullptr; vma != nullptr; vma = next) {
    next = vma->next_free.get();
    vma_free(region, *vma);
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
