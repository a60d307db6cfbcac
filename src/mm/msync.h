// msync: what has been stored to shared mappings of files goes to the disk (Linux's mm/msync.c).
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// `flags`: those of <sys/mman.h>. MS_SYNC: everything that was stored to shared mappings in [start, start +
/// len) before is on the disk, or an error is returned. MS_ASYNC and MS_INVALIDATE find nothing to do: what
/// is dirty is written in the background, and all who map a file see one memory. 0; -EINVAL for a start that
/// is no beginning of a page, or flags that cannot be; -ENOMEM for a length that cannot be, or if a part is
/// not mapped: the rest is synchronized all the same; else what vfs_fsync_range() says first, which ends it.
/// Caller is a CPU with no lock of the mm held. May sleep.
int vm_msync(mm_struct& mm, vaddr_t start, u64 len, int flags);

} // namespace racewalk::inline RACEWALK_BACKEND
