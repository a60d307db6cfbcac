#include "mm/dax.h"

#include <cerrno>

#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/page_ref.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Nothing is read into a cache or written back from it.
constexpr address_space_operations DEV_DAX_OPERATIONS{};
constexpr inode_operations DEV_DAX_INODE{
    .evict = [](inode& inode) { delete static_cast<dev_dax*>(&inode); },
};

} // namespace

dev_dax::dev_dax() {
  i_data.a_ops = &DEV_DAX_OPERATIONS;
  i_data.dax = this;
  i_op = &DEV_DAX_INODE;
}

int dev_dax_probe(dev_dax& dev, u64 bytes, u64 align) {
  if (bytes == 0 || bytes % pmd_size() != 0 || (align != PAGE_SIZE && align != pmd_size())) return -EINVAL;
  dev.align = align;
  if (const int error = memremap_pages(dev.pgmap, bytes >> PAGE_SHIFT)) return error;
  atomic_set(dev.i_size, static_cast<s64>(bytes));
  return 0;
}

void kill_dev_dax(dev_dax& dev) {
  {
    write_guard faults(dev.i_data.invalidate_lock);
    dev.alive.set(false);
  }
  unmap_mapping_pages(dev.i_data, 0, ~u64{0}, even_cows::yes);
}

int dax_check_mapping(address_space& mapping, vm_flags_t flags, vaddr_t addr, u64 len, u64 offset) {
  if (mapping.dax == nullptr) return 0;
  const dev_dax& dev = *mapping.dax;
  read_guard alive(mapping.invalidate_lock);
  if (!dev.alive.get()) return -ENXIO;
  const bool aligned = ((addr & PAGE_MASK) | len | offset) % dev.align == 0;
  return (flags & VM_SHARED) != 0 && aligned ? 0 : -EINVAL;
}

fault_result dev_dax_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags) {
  address_space& mapping = vma.vm_file.get()->mapping();
  const dev_dax& dev = *mapping.dax;
  const u64 nr = dev.align >> PAGE_SHIFT;
  const vaddr_t start = addr & ~(dev.align - 1);
  read_guard alive(mapping.invalidate_lock);
  // mremap puts areas where it is asked to
  if (!dev.alive.get() || ((vma.vm_start.get() | vma.vm_end.get()) & (dev.align - 1)) != 0)
    return fault_result::sigbus;
  const u64 index = linear_page_index(vma, start);
  if (index % nr != 0 || index >= dev.pgmap.nr) return fault_result::sigbus;
  const pfn_t pfn = dev.pgmap.first + index;
  return nr == 1 ? vmf_insert_mixed(vma, start, pmdp, pfn, flags)
                 : vmf_insert_pfn_pmd(vma, start, pmdp, pfn, flags);
}

page* dax_layout_busy_page(address_space& mapping) {
  const dev_pagemap& pgmap = mapping.dax->pgmap;
  unmap_mapping_pages(mapping, 0, ~u64{0}, even_cows::yes);
  // The entries, a barrier, the counts: pairs with the reference that a lockless walk takes before it reads
  // the entry again (gup_fast_devmap_pmd()).
  smp_mb();
  for (u64 i = 0; i < pgmap.nr; ++i) {
    page* page = pfn_to_page(pgmap.first + i);
    if (atomic_read(page->_refcount) != 1) return page;
  }
  return nullptr;
}

int dax_zero_all(dev_dax& dev) {
  write_guard faults(dev.i_data.invalidate_lock);
  if (dax_layout_busy_page(dev.i_data) != nullptr) return -EBUSY;
  for (u64 i = 0; i < dev.pgmap.nr; ++i)
    clear_highpage(pfn_to_page(dev.pgmap.first + i));
  return 0;
}

} // namespace racewalk::inline RACEWALK_BACKEND
