#include "mm/vma.h"

#include <utility>

#include "mm/huge_memory.h"
#include "mm/memory.h"

namespace racewalk::inline RACEWALK_BACKEND {

regions_guard::regions_guard(mm_struct& mm, vaddr_t start, vaddr_t end) NO_THREAD_SAFETY_ANALYSIS
    : mm_(mm),
      start_(start),
      end_(end) {
  const u64 size = geometry().size(geometry().root_level());
  for (vaddr_t addr = start; addr < end && ok_; addr = (addr & ~(size - 1)) + size)
    ok_ = mm.region(addr) != nullptr;
  for_each([](mmap_region& region, vaddr_t, vaddr_t)
               NO_THREAD_SAFETY_ANALYSIS { down_write(region.mmap_lock); });
}

regions_guard::~regions_guard() NO_THREAD_SAFETY_ANALYSIS {
  for_each([](mmap_region& region, vaddr_t, vaddr_t)
               NO_THREAD_SAFETY_ANALYSIS { up_write(region.mmap_lock); });
}

i_mmap_guard::i_mmap_guard(file* f) NO_THREAD_SAFETY_ANALYSIS
    : mapping_(f == nullptr ? nullptr : &f->mapping()) {
  if (mapping_ != nullptr) down_write(mapping_->i_mmap_rwsem);
}
i_mmap_guard::~i_mmap_guard() NO_THREAD_SAFETY_ANALYSIS {
  if (mapping_ != nullptr) up_write(mapping_->i_mmap_rwsem);
}

void unlink_file_vma(vm_area_struct& vma) { i_mmap_guard(vma.vm_file).remove(vma); }

void vma_detach(mmap_region& region, vm_area_struct& vma) {
  region.areas.erase(vma);
  write_guard vm_lock(vma.vm_lock);
  vma.attached = false;
}

void vma_free(mmap_region& region, vm_area_struct& vma) {
  if (file* backing = std::exchange(vma.vm_file, nullptr)) fput(*backing);
  region.vm_area_free(vma);
}

namespace {

/// Fills in an area that is in no tree.
void set_area(vm_area_struct& vma, vaddr_t start, vaddr_t end, const vma_contents& what) {
  if (what.backing != nullptr) get_file(*what.backing);
  write_guard vm_lock(vma.vm_lock); // a late look-up may still be at what it was before
  vma.vm_start = start;
  vma.vm_end = end;
  vma.vm_flags = what.flags;
  vma.vm_file = what.backing;
  vma.vm_pgoff = what.pgoff;
  vma.vm_userfaultfd_ctx = what.uffd;
  vma.attached = true;
}

} // namespace

void vma_attach(mmap_region& region, vm_area_struct& vma, vaddr_t start, vaddr_t end,
                const vma_contents& what) {
  set_area(vma, start, end, what);
  i_mmap_guard(what.backing).insert(vma); // before a fault can map a page by it
  region.areas.insert(vma);
}

void vma_extend(vm_area_struct& vma, vaddr_t end, vm_area_struct* swallowed) {
  write_guard vm_lock(vma.vm_lock);
  const i_mmap_guard i_mmap(vma.vm_file);
  if (swallowed != nullptr) i_mmap.remove(*swallowed);
  i_mmap.remove(vma);
  vma.vm_end = end;
  i_mmap.insert(vma);
}

bool split_vma(mmap_region& region, vaddr_t addr) {
  vm_area_struct* vma = region.areas.find_vma(addr);
  if (vma == nullptr || vma->vm_start >= addr) return true;
  if (region.areas.size() >= MAX_MAP_COUNT || !region.areas.preallocate()) return false;
  vm_area_struct* upper = region.vm_area_alloc(*vma->vm_mm);
  if (upper == nullptr) return false;
  const vaddr_t end = vma->vm_end;
  {
    write_guard vm_lock(vma->vm_lock); // keeps faults out, as split_huge_pmd_address() needs
    split_huge_pmd_address(*vma, addr);
    const i_mmap_guard i_mmap(vma->vm_file); // whoever comes from a page finds it in one half or the other
    i_mmap.remove(*vma);
    vma->vm_end = addr;
    i_mmap.insert(*vma);
    set_area(*upper, addr, end, contents_of(*vma).advanced(addr - vma->vm_start));
    i_mmap.insert(*upper);
  }
  region.areas.insert(*upper);
  return true;
}

void merge_vmas(mmap_region& region, vaddr_t addr) {
  if (addr == region.start || addr == region.end) return;
  vm_area_struct* prev = region.areas.find_vma(addr - 1);
  vm_area_struct* next = region.areas.find_vma(addr);
  if (prev == nullptr || next == nullptr || prev->vm_end != addr || next->vm_start != addr ||
      contents_of(*next) != contents_of(*prev).advanced(prev->size()))
    return;
  vma_detach(region, *next);
  vma_extend(*prev, next->vm_end, next);
  vma_free(region, *next);
}

void merge_vmas_in(mmap_region& region, vaddr_t start, vaddr_t end) {
  while (start < end) {
    const vm_area_struct* vma = region.areas.find_vma(start);
    if (vma == nullptr || vma->vm_start >= end) break;
    start = vma->vm_end;
    merge_vmas(region, vma->vm_start);
  }
  merge_vmas(region, end);
}

bool fully_mapped(const regions_guard& regions) {
  bool mapped = true;
  regions.for_each([&](mmap_region& region, vaddr_t start, vaddr_t end) {
    for_each_vma(region, start, end, [&](const vm_area_struct& vma) {
      mapped = mapped && vma.vm_start <= start;
      start = vma.vm_end;
    });
    mapped = mapped && start >= end;
  });
  return mapped;
}

bool split_at_ends(const regions_guard& regions, vaddr_t start, vaddr_t end) {
  bool cut = true;
  regions.for_each([&](mmap_region& region, vaddr_t from, vaddr_t to) {
    if (from == start) cut = cut && split_vma(region, start);
    if (to == end && end != region.end) cut = cut && split_vma(region, end);
  });
  return cut;
}

} // namespace racewalk::inline RACEWALK_BACKEND
