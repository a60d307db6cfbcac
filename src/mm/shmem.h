// Files that are made of memory: what memfd_create() and shared anonymous mappings are.
//
// When memory is short their pages go to the swap file. Such a page's place in the page cache then holds the
// slot in which it is, which counts it as it would a page-table entry. Invariant: a page is at its place in
// the cache, or in the slot that is named there; it goes from one to the other under its folio lock, by one
// store to the place under xa_lock. So who finds neither there finds a hole, and truncation, which looks
// again at a place that it has had to wait for, leaves nothing behind.
#pragma once

#include "mm/filemap.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A file of `bytes` zeros, with one reference; null when memory is short.
[[nodiscard]] file* shmem_file_setup(u64 bytes, fmode_t mode = FMODE_READ | FMODE_WRITE);

/// Is the file made of memory?
inline bool shmem_mapping(const address_space& mapping) {
  return mapping.a_ops == nullptr && !mapping.tracks_dirty;
}
/// Does the area map a file that is made of memory?
inline bool vma_is_shmem(const vm_area_struct& vma) {
  return vma.vm_file.get() != nullptr && shmem_mapping(vma.vm_file.get()->mapping());
}

// ---- in the swap file ------------------------------------------------------------------------------------

/// Gives a folio a slot, which takes its place in the page cache: it is the slot's content from now on, and
/// dirty, and has no mapping. False: the swap file has no room. Caller holds the folio lock and a reference;
/// no entry maps the folio.
[[nodiscard]] bool shmem_writepage(folio* folio);
/// Brings the page back whose slot was found at the index: locked, up to date and dirty, and with a
/// reference. -EEXIST if the place has changed; -ENOMEM; -EIO. May sleep.
filemap_result shmem_swapin_folio(address_space& mapping, u64 index, xa_entry swapped);
/// Gives the slot back that was found at the index, if it is there still.
void shmem_free_swap(address_space& mapping, u64 index, xa_entry swapped);
/// Brings back all that files have in the swap file. 0; -ENOMEM or -EIO. May sleep. Natively only.
[[nodiscard]] int shmem_unuse();

} // namespace racewalk::inline RACEWALK_BACKEND
