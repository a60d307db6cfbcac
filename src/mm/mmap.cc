#include "mm/mmap.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "machine/cpu.h"
#include "mm/huge_memory.h"
#include "mm/madvise.h"
#include "mm/memory.h"
#include "mm/mprotect.h"
#include "mm/shmem.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

constexpr u64 page_align(u64 bytes) { return (bytes + PAGE_SIZE - 1) & PAGE_MASK; }
constexpr vaddr_t align_up(vaddr_t addr, u64 size) { return (addr + size - 1) & ~(size - 1); }

// ---- holes -----------------------------------------------------------------------------------------------

/// Where the region has room for `len` bytes, or its end if it has none. Holes below free_area_cache are
/// known to be no larger than cached_hole_size.
vaddr_t find_hole(mmap_region& region, u64 len, u64 align) {
  const vaddr_t base = std::max(region.start, vaddr_t{PAGE_SIZE}); // the null page is nobody's
  if (len <= region.cached_hole_size) {
    region.free_area_cache = base;
    region.cached_hole_size = 0;
  }
  for (;;) {
    const vaddr_t from = std::max(region.free_area_cache, base);
    vaddr_t hole = from;
    for (;;) {
      const vaddr_t addr = align_up(hole, align);
      const vm_area_struct* vma = region.areas.find_vma(hole);
      const vaddr_t hole_end = vma == nullptr ? region.end : vma->vm_start;
      if (addr < hole_end && len <= hole_end - addr) {
        region.free_area_cache = addr == hole ? addr + len : hole;
        return addr;
      }
      if (hole_end > hole) region.cached_hole_size = std::max(region.cached_hole_size, hole_end - hole);
      if (vma == nullptr) break;
      hole = vma->vm_end;
    }
    if (from == base) return region.end;
    region.free_area_cache = base; // once more from the bottom
    region.cached_hole_size = 0;
  }
}

/// A hole has appeared that begins at `addr`.
void note_hole(mmap_region& region, vaddr_t addr) {
  region.free_area_cache = std::min(region.free_area_cache, addr);
}

// ---- unmapping -------------------------------------------------------------------------------------------

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

/// Detached areas, linked by next_free, with what they span.
struct detached_areas {
  vm_area_struct* first_area = nullptr;
  vaddr_t first;
  vaddr_t last;
};

detached_areas detach_areas(mmap_region& region, vaddr_t start, vaddr_t end) {
  detached_areas gone{nullptr, end, start};
  for_each_vma(region, start, end, [&](vm_area_struct& vma) {
    gone.first = std::min(gone.first, vma.vm_start);
    gone.last = std::max(gone.last, vma.vm_end);
    vma_detach(region, vma);
    vma.next_free = std::exchange(gone.first_area, &vma);
  });
  return gone;
}

void unmap_detached(mm_struct& mm, mmap_region& region, const detached_areas& gone, bool fullmm) {
  const auto [areas, first, last] = gone;
  const vm_area_struct* prev = region.areas.find_vma_prev(first);
  const vm_area_struct* next = region.areas.find_vma(last);
  const vaddr_t floor = prev == nullptr ? region.start : prev->vm_end;
  note_hole(region, floor);
  const unmap_range range{first, last, floor, next == nullptr ? region.end : next->vm_start};
  if (populated_range(mm, range).any()) {
    write_guard anon_vma(region.anon_vma_lock); // tables go
    unmap_region(mm, range, fullmm, areas);
  } else {
    for (vm_area_struct* vma = areas; vma != nullptr; vma = vma->next_free)
      unlink_file_vma(*vma);
  }
}

/// Takes the areas of [start, end), whose ends cross no area, and all they map away.
void unmap_in_region(mm_struct& mm, mmap_region& region, vaddr_t start, vaddr_t end, bool fullmm = false) {
  const detached_areas gone = detach_areas(region, start, end);
  if (gone.first_area == nullptr) return;
  unmap_detached(mm, region, gone, fullmm);
  for (vm_area_struct *vma = gone.first_area, *next = nullptr; vma != nullptr; vma = next) {
    next = vma->next_free;
    vma_free(region, *vma);
  }
}

} // namespace

// ---- mmap ------------------------------------------------------------------------------------------------

namespace {

vm_flags_t calc_vm_flags(int prot) {
  return ((prot & PROT_READ) != 0 ? VM_READ : VM_NONE) | ((prot & PROT_WRITE) != 0 ? VM_WRITE : VM_NONE) |
         ((prot & PROT_EXEC) != 0 ? VM_EXEC : VM_NONE);
}

/// Memory for one more area in each region. False if it is short, or a region has too many.
bool make_room(const regions_guard& regions, mm_struct& mm) {
  bool room = true;
  regions.for_each([&](mmap_region& region, vaddr_t, vaddr_t) {
    room = room && region.areas.size() < MAX_MAP_COUNT && region.areas.preallocate();
    if (vm_area_struct* vma = room ? region.vm_area_alloc(mm) : nullptr)
      region.vm_area_free(*vma); // it is there when it is needed
    else
      room = false;
  });
  return room;
}

/// Maps [start, end) of a region, where nothing is mapped. make_room() has succeeded.
void map_in_region(mm_struct& mm, mmap_region& region, vaddr_t start, vaddr_t end, const vma_contents& what) {
  vm_area_struct* prev = start == region.start ? nullptr : region.areas.find_vma(start - 1);
  if (prev != nullptr && prev->vm_end == start && what == contents_of(*prev).advanced(prev->size()))
    vma_extend(*prev, end);
  else
    vma_attach(region, *region.vm_area_alloc(mm), start, end, what);
  merge_vmas(region, end);
}

bool anything_mapped(const regions_guard& regions) {
  bool found = false;
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    const vm_area_struct* vma = region.areas.find_vma(start);
    found = found || (vma != nullptr && vma->vm_start < end);
  });
  return found;
}

enum class on_overlap : u8 { unmap, fail };

/// The address, or a negative errno: -EEXIST if something is mapped there that must not be unmapped.
long mmap_at(mm_struct& mm, vaddr_t addr, u64 len, const vma_contents& what, on_overlap overlap) {
  const vaddr_t limit = geometry().address_limit();
  if (addr >= limit || len > limit - addr) return -ENOMEM;
  regions_guard regions(mm, addr, addr + len);
  if (!regions.ok()) return -ENOMEM;
  if (overlap == on_overlap::fail && anything_mapped(regions)) return -EEXIST;
  if (!split_at_ends(regions, addr, addr + len) || !make_room(regions, mm)) return -ENOMEM;
  // from here on nothing fails
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    unmap_in_region(mm, region, start, end);
    map_in_region(mm, region, start, end, what.advanced(start - addr));
  });
  return static_cast<long>(addr);
}

/// mmap where there is room: in the CPU's own region, else in the nearest other.
long mmap_in_hole(mm_struct& mm, u64 len, const vma_contents& what) {
  const unsigned regions = geometry().entries();
  const u64 region_size = geometry().size(geometry().root_level());
  const u64 align = len >= pmd_size() ? pmd_size() : PAGE_SIZE;
  const unsigned home = regions - 1 - smp_processor_id() % regions;
  for (unsigned i = 0; i < regions; ++i) {
    const vaddr_t start = u64{(home + regions - i) % regions} * region_size;
    if (len > region_size) {
      // more than a region: a run of them that are all empty
      const long addr = mmap_at(mm, start, len, what, on_overlap::fail);
      if (addr != -EEXIST && addr != -ENOMEM) return addr;
      continue;
    }
    regions_guard one(mm, start, start + region_size);
    if (!one.ok()) return -ENOMEM;
    mmap_region& region = *mm.existing_region(start);
    if (region.areas.size() >= MAX_MAP_COUNT) continue;
    const vaddr_t addr = find_hole(region, len, align);
    if (addr == region.end) continue;
    if (!make_room(one, mm)) {
      note_hole(region, addr);
      return -ENOMEM;
    }
    map_in_region(mm, region, addr, addr + len, what);
    return static_cast<long>(addr);
  }
  return -ENOMEM;
}

} // namespace

namespace {

/// Where MAP_FIXED and the caller's wish say.
long do_mmap(mm_struct& mm, vaddr_t addr, u64 len, int flags, const vma_contents& what) {
  if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0) {
    if ((addr & ~PAGE_MASK) != 0) return -EINVAL;
    return mmap_at(mm, addr, len, what,
                   (flags & MAP_FIXED_NOREPLACE) != 0 ? on_overlap::fail : on_overlap::unmap);
  }
  if (addr != 0) { // a wish
    const long at = mmap_at(mm, addr & PAGE_MASK, len, what, on_overlap::fail);
    if (at > 0) return at;
  }
  return mmap_in_hole(mm, len, what);
}

/// Whether stores may go to what the area maps: to a file only if it was opened for that.
bool may_write(vm_flags_t flags, const file* backing) {
  return backing == nullptr || (flags & VM_SHARED) == 0 || backing->writable();
}

} // namespace

long vm_mmap(mm_struct& mm, vaddr_t addr, u64 len, int prot, int flags) {
  const int type = flags & (MAP_SHARED | MAP_PRIVATE);
  if (type != MAP_SHARED && type != MAP_PRIVATE) return -EINVAL;
  if ((flags & MAP_ANONYMOUS) == 0) return -EBADF;
  if (len == 0) return -EINVAL;
  if (len > geometry().address_limit()) return -ENOMEM;
  len = page_align(len);
  if (type == MAP_PRIVATE) return do_mmap(mm, addr, len, flags, {calc_vm_flags(prot)});
  file* memory = shmem_file_setup(len);
  if (memory == nullptr) return -ENOMEM;
  const long at = do_mmap(mm, addr, len, flags, {calc_vm_flags(prot) | VM_SHARED, memory, 0});
  fput(*memory); // the area has its own reference
  return at;
}

long vm_mmap_file(mm_struct& mm, vaddr_t addr, u64 len, int prot, int flags, file& backing, u64 offset) {
  const int type = flags & (MAP_SHARED | MAP_PRIVATE);
  if (type != MAP_SHARED && type != MAP_PRIVATE) return -EINVAL;
  if (len == 0 || (offset & ~PAGE_MASK) != 0) return -EINVAL;
  if (len > geometry().address_limit()) return -ENOMEM;
  len = page_align(len);
  if (offset + len < offset) return -EOVERFLOW;
  const vm_flags_t vm_flags = calc_vm_flags(prot) | (type == MAP_SHARED ? VM_SHARED : VM_NONE);
  if ((backing.f_mode & FMODE_READ) == 0) return -EACCES;
  if ((vm_flags & VM_WRITE) != 0 && !may_write(vm_flags, &backing)) return -EACCES;
  return do_mmap(mm, addr, len, flags, {vm_flags, &backing, offset >> PAGE_SHIFT});
}

// ---- munmap ----------------------------------------------------------------------------------------------

namespace {

/// The page-aligned range of a system call, or `ok` false for one that cannot be.
struct call_range {
  bool ok;
  vaddr_t start;
  vaddr_t end;
};
call_range range_of(vaddr_t start, u64 len) {
  const vaddr_t limit = geometry().address_limit();
  if ((start & ~PAGE_MASK) != 0 || start > limit || len > limit - start) return {false, 0, 0};
  return {true, start, start + page_align(len)};
}

} // namespace

int vm_munmap(mm_struct& mm, vaddr_t start, u64 len) {
  const call_range range = range_of(start, len);
  if (!range.ok || range.start == range.end) return -EINVAL;
  regions_guard regions(mm, range.start, range.end);
  if (!regions.ok()) return -ENOMEM;
  if (!split_at_ends(regions, range.start, range.end)) return -ENOMEM;
  regions.for_each(
      [&](mmap_region& region, vaddr_t from, vaddr_t to) { unmap_in_region(mm, region, from, to); });
  return 0;
}

// ---- mprotect and madvise --------------------------------------------------------------------------------

namespace {

/// Whether stores to every area of the range may be allowed.
bool may_write_all(const regions_guard& regions) {
  bool may = true;
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    for_each_vma(region, start, end,
                 [&](const vm_area_struct& vma) { may = may && may_write(vma.vm_flags, vma.vm_file); });
  });
  return may;
}

/// Gives the areas of the range, all of it mapped, the flags new_flags(old); rights in the page table follow.
template <class F>
int modify_range(mm_struct& mm, vaddr_t start, vaddr_t end, vm_flags_t granted, F&& new_flags) {
  regions_guard regions(mm, start, end);
  if (!regions.ok() || !fully_mapped(regions)) return -ENOMEM;
  if ((granted & VM_WRITE) != 0 && !may_write_all(regions)) return -EACCES;
  if (!split_at_ends(regions, start, end)) return -ENOMEM;
  regions.for_each([&](mmap_region& region, vaddr_t from, vaddr_t to) {
    for_each_vma(region, from, to,
                 [&](vm_area_struct& vma) { mprotect_fixup(vma, new_flags(vma.vm_flags)); });
    merge_vmas_in(region, from, to);
  });
  return 0;
}

} // namespace

int vm_mprotect(mm_struct& mm, vaddr_t start, u64 len, int prot) {
  if ((prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)) != 0) return -EINVAL;
  const call_range range = range_of(start, len);
  if (!range.ok) return (start & ~PAGE_MASK) != 0 ? -EINVAL : -ENOMEM;
  const vm_flags_t rights = calc_vm_flags(prot);
  return modify_range(mm, range.start, range.end, rights,
                      [rights](vm_flags_t old) { return (old & ~VM_ACCESS_FLAGS) | rights; });
}

int vm_madvise(mm_struct& mm, vaddr_t start, u64 len, int advice) {
  if (advice != MADV_HUGEPAGE && advice != MADV_NOHUGEPAGE && advice != MADV_COLLAPSE &&
      advice != MADV_DONTNEED)
    return -EINVAL;
  const call_range range = range_of(start, len);
  if (!range.ok) return -EINVAL;
  if (advice == MADV_DONTNEED) return madvise_dontneed(mm, range.start, range.end);
  if (advice == MADV_COLLAPSE) return madvise_collapse(mm, range.start, range.end);
  return modify_range(mm, range.start, range.end, VM_NONE, [advice](vm_flags_t old) {
    return advice == MADV_HUGEPAGE ? old | VM_HUGEPAGE : old & ~VM_HUGEPAGE;
  });
}

// ---- life of an mm ---------------------------------------------------------------------------------------

int mm_init(mm_struct& mm) {
  static std::atomic<u64> last_ctx_id{0};
  mm.context.ctx_id = last_ctx_id.fetch_add(1) + 1;
  mm.context.fault = do_user_addr_fault;
  return pgd_alloc(mm) ? 0 : -ENOMEM;
}

void exit_mmap(mm_struct& mm) {
  for (unsigned cpu = 0; cpu < machine().nr_cpus(); ++cpu)
    VM_BUG_ON(machine().cpu(cpu).current_mm() == &mm.context, "INV-TLB",
              "a CPU still runs in an mm that goes away");
  mmu_notifier_release(mm);
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t start = 0; start < geometry().address_limit(); start += size) {
    mmap_region* region = mm.existing_region(start);
    if (region == nullptr) continue;
    write_guard mmap_lock(region->mmap_lock);
    unmap_in_region(mm, *region, region->start, region->end, true);
  }
  add_mm_counter(mm, MM_PGTABLES, -1);
  pagetable_free(pfn_to_page(mm.context.pgd));
  for (const mm_counter pages : {MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES})
    VM_BUG_ON(get_mm_counter(mm, pages) != 0, "INV-RSS", "an mm is gone, some of its pages are not");
  VM_BUG_ON(get_mm_counter(mm, MM_PGTABLES) != 0, "INV-RSS", "an mm is gone, some of its tables are not");
}

} // namespace racewalk::inline RACEWALK_BACKEND
