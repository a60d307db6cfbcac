// Files that are made of memory: what memfd_create() and shared anonymous mappings are.
#pragma once

#include "mm/fs.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A file of `bytes` zeros, with one reference; null when memory is short.
[[nodiscard]] file* shmem_file_setup(u64 bytes, fmode_t mode = FMODE_READ | FMODE_WRITE);

/// Does the area map a file that is made of memory?
inline bool vma_is_shmem(const vm_area_struct& vma) {
  return vma.vm_file != nullptr && vma.vm_file->mapping().a_ops == nullptr;
}

} // namespace racewalk::inline RACEWALK_BACKEND
