// Files that are a device's memory, mapped as it is (Linux's drivers/dax/device.c).
//
// No page cache: page n of the file is frame pgmap.first + n. Mappings are shared and made of entries of one
// size, the device's `align`, at which areas begin and end. An entry takes no reference and is counted
// nowhere: no reverse map, no reclaim, no migration, and nothing that goes through the file's pages finds
// any. What is unmapped, split or forked comes back by a fault.
//
// The file's invalidate_lock excludes faults from what changes them all: a fault holds it for reading from
// the look whether the device is alive to the entry. So who ends that, by holding it for writing, and then
// takes the entries out, has them all out for good.
#pragma once

#include "mm/memory.h"
#include "mm/memremap.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct dev_dax : inode {
  dev_dax();
  dev_pagemap pgmap;
  u64 align = 0;           ///< PAGE_SIZE or pmd_size()
  plain<bool> alive{true}; ///< changes under invalidate_lock for writing
};

inline bool vma_is_dax(const vm_area_struct& vma) {
  if (!has_devmap()) return false; // nor any such device
  const file* f = vma.vm_file.get();
  return f != nullptr && f->mapping().dax != nullptr;
}
/// May the area be cut at `addr`?
inline bool may_split(const vm_area_struct& vma, vaddr_t addr) {
  return !vma_is_dax(vma) || addr % vma.vm_file.get()->mapping().dax->align == 0;
}

/// Gives the device its memory. `align`: PAGE_SIZE or pmd_size(). 0, -EINVAL for a size that cannot be, or as
/// memremap_pages().
[[nodiscard]] int dev_dax_probe(dev_dax& dev, u64 bytes, u64 align);
/// Faults fail from now on, and nothing maps the device's memory any more. May sleep.
void kill_dev_dax(dev_dax& dev);

/// Whether a part of the file, if it is a device's, can be mapped so: 0, -EINVAL or -ENXIO. `addr`: where, or
/// 0.
int dax_check_mapping(address_space& mapping, vm_flags_t flags, vaddr_t addr, u64 len, u64 offset);
/// A fault. Locks as handle_mm_fault().
fault_result dev_dax_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags);

/// A page that somebody uses, once nothing maps the file any more; null if all of them are idle, and stay so
/// while the caller holds the invalidate_lock for writing. May sleep.
page* dax_layout_busy_page(address_space& mapping);
/// Makes all of it zeros, unless somebody uses a page: -EBUSY. May sleep.
[[nodiscard]] int dax_zero_all(dev_dax& dev);

} // namespace racewalk::inline RACEWALK_BACKEND
