// Files that are made of memory: what memfd_create() and shared anonymous mappings are.
#pragma once

#include "mm/fs.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A file of `bytes` zeros, with one reference; null when memory is short.
[[nodiscard]] file* shmem_file_setup(u64 bytes, fmode_t mode = FMODE_READ | FMODE_WRITE);

} // namespace racewalk::inline RACEWALK_BACKEND
