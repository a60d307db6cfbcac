#include "mm/mmap.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "machine/cpu.h"
#include "mm/dax.h"
#include "mm/huge_memory.h"
#include "mm/huge_zero_page.h"
#include "mm/ksm.h"
#include "mm/madvise.h"
#include "mm/memory.h"
#include "mm/mprotect.h"
#include "mm/shmem.h"
#include "mm/thp.h"
#include "mm/vma.h"
#include "mm/vmscan.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- mmap ------------------------------------------------------------------------------------------------

namespace {

vm_flags_t calc_vm_flags(int prot) {
  return ((prot & PROT_READ) != 0 ? VM_READ : VM_NONE) | ((prot & PROT_WRITE) != 0 ? VM_WRITE : VM_NONE) |
         ((prot & PROT_EXEC) != 0 ? VM_EXEC : VM_NONE);
}

enum class on_overlap : u8 { unmap, fail };

/// What is mapped, seen from `addr`, where it begins: the pages of anonymous memory count as addresses do.
vma_contents placed_at(vaddr_t addr, vma_contents what) {
  if (what.backing == nullptr) what.pgoff = addr >> PAGE_SHIFT;
  return what;
}

/// The address, or a negative errno: -EEXIST if something is mapped there that must not be unmapped.
long mmap_at(mm_struct& mm, vaddr_t addr, u64 len, const vma_contents& what, on_overlap overlap) {
  const vaddr_t limit = geometry().address_limit();
  if (addr >= limit || len > limit - addr) return -ENOMEM;
  regions_guard regions(mm, addr, addr + len);
  if (!regions.ok()) return -ENOMEM;
  if (overlap == on_overlap::fail && anything_mapped(regions)) return -EEXIST;
  if (const int error = split_at_ends(regions, addr, addr + len)) return error;
  if (!make_room(regions, mm)) return -ENOMEM;
  // from here on nothing fails
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    unmap_in_region(mm, region, start, end);
    map_in_region(region, start, end, placed_at(addr, what).advanced(start - addr));
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
    map_in_region(region, addr, addr + len, placed_at(addr, what));
    return static_cast<long>(addr);
  }
  return -ENOMEM;
}

} // namespace

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

namespace {

/// Whether stores may go to what the area maps: to a file only if it was opened for that.
bool may_write(vm_flags_t flags, const file* backing) {
  return backing == nullptr || (flags & VM_SHARED) == 0 || backing->writable();
}
bool may_write(const vm_area_struct& vma) { return may_write(vma.vm_flags.get(), vma.vm_file.get()); }

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
  if (!valid_file_range(offset, len)) return -EOVERFLOW;
  const vm_flags_t vm_flags = calc_vm_flags(prot) | (type == MAP_SHARED ? VM_SHARED : VM_NONE);
  const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  if (const int error = dax_check_mapping(backing.mapping(), vm_flags, fixed ? addr : 0, len, offset))
    return error;
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
  if (const int error = split_at_ends(regions, range.start, range.end)) return error;
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
    for_each_vma(region, start, end, [&](const vm_area_struct& vma) { may = may && may_write(vma); });
  });
  return may;
}

template <class F> void modify_vma(vm_area_struct& vma, F&& new_flags) {
  mprotect_fixup(vma, new_flags(vma.vm_flags.get()));
}

/// Gives the areas of the range, all of it mapped, the flags new_flags(old); rights in the page table follow.
template <class F>
int modify_range(mm_struct& mm, vaddr_t start, vaddr_t end, vm_flags_t granted, F&& new_flags) {
  regions_guard regions(mm, start, end);
  if (!regions.ok() || !fully_mapped(regions)) return -ENOMEM;
  if ((granted & VM_WRITE) != 0 && !may_write_all(regions)) return -EACCES;
  if (const int error = split_at_ends(regions, start, end)) return error;
  regions.for_each([&](mmap_region& region, vaddr_t from, vaddr_t to) {
    for_each_vma(region, from, to, [&](vm_area_struct& vma) { modify_vma(vma, new_flags); });
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

namespace {

constexpr int known_advice[] = {MADV_DONTNEED,    MADV_FREE,     MADV_COLD,       MADV_PAGEOUT,
                                MADV_COLLAPSE,    MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE,
                                MADV_UNMERGEABLE, MADV_NORMAL,   MADV_RANDOM,     MADV_SEQUENTIAL,
                                MADV_WILLNEED};

/// The flags of an area by advice that is kept.
vm_flags_t advised_flags(vm_flags_t old, int advice) {
  switch (advice) {
  case MADV_HUGEPAGE:
    return (old & ~VM_NOHUGEPAGE) | VM_HUGEPAGE;
  case MADV_NOHUGEPAGE:
    return (old & ~VM_HUGEPAGE) | VM_NOHUGEPAGE;
  case MADV_MERGEABLE:
    return old | VM_MERGEABLE;
  case MADV_NORMAL:
    return old & ~(VM_SEQ_READ | VM_RAND_READ);
  case MADV_RANDOM:
    return (old & ~VM_SEQ_READ) | VM_RAND_READ;
  case MADV_SEQUENTIAL:
    return (old & ~VM_RAND_READ) | VM_SEQ_READ;
  default:
    return old & ~VM_MERGEABLE;
  }
}

} // namespace

int vm_madvise(mm_struct& mm, vaddr_t start, u64 len, int advice) {
  if (std::find(std::begin(known_advice), std::end(known_advice), advice) == std::end(known_advice))
    return -EINVAL;
  const call_range range = range_of(start, len);
  if (!range.ok) return -EINVAL;
  if (advice == MADV_DONTNEED) return madvise_dontneed(mm, range.start, range.end);
  if (advice == MADV_FREE) return madvise_free(mm, range.start, range.end);
  if (advice == MADV_COLD) return madvise_cold(mm, range.start, range.end);
  if (advice == MADV_PAGEOUT) return madvise_pageout(mm, range.start, range.end);
  if (advice == MADV_COLLAPSE) return madvise_collapse(mm, range.start, range.end);
  if (advice == MADV_WILLNEED) return madvise_willneed(mm, range.start, range.end);
  const int error = modify_range(mm, range.start, range.end, VM_NONE,
                                 [advice](vm_flags_t old) { return advised_flags(old, advice); });
  if (error != 0 || advice != MADV_UNMERGEABLE) return error;
  return unmerge_ksm_pages(mm, range.start, range.end);
}

// ---- life of an mm ---------------------------------------------------------------------------------------

int mm_init(mm_struct& mm) {
  static std::atomic<u64> last_ctx_id{0};
  mm.context.ctx_id = last_ctx_id.fetch_add(1) + 1;
  mm.context.fault = do_user_addr_fault;
  mm.context.will_need = user_addrs_will_need;
  return pgd_alloc(mm) ? 0 : -ENOMEM;
}

void exit_mmap(mm_struct& mm) {
  for (unsigned cpu = 0; cpu < machine().nr_cpus(); ++cpu)
    VM_BUG_ON(machine().cpu(cpu).current_mm() == &mm.context, "INV-TLB",
              "a CPU still runs in an mm that goes away");
  if (machine().thp != nullptr) machine().thp->mms.exit(mm);
  mmu_notifier_release(mm);
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t start = 0; start < geometry().address_limit(); start += size) {
    mmap_region* region = mm.existing_region(start);
    if (region == nullptr) continue;
    write_guard mmap_lock(region->mmap_lock);
    unmap_in_region(mm, *region, region->start, region->end, true);
  }
  mm_put_huge_zero_folio(mm);
  add_mm_counter(mm, MM_PGTABLES, -1);
  pagetable_free(pfn_to_page(mm.context.pgd));
  if (arch().hash_mmu()) put_page(pfn_to_page(mm.context.hash_table));
  for (const mm_counter pages : {MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS})
    VM_BUG_ON(get_mm_counter(mm, pages) != 0, "INV-RSS", "an mm is gone, some of its pages are not");
  VM_BUG_ON(get_mm_counter(mm, MM_PGTABLES) != 0, "INV-RSS", "an mm is gone, some of its tables are not");
}

} // namespace racewalk::inline RACEWALK_BACKEND
