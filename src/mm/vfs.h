// Calls on openings of files: what read(), write(), ftruncate(), fallocate() and fsync() do below the system
// call (Linux's vfs_ functions).
//
// Reads and writes go through the page cache, so they and mappings see one content. A page is written under
// its folio lock, and i_size with it: writeback, which takes that lock to find the page clean, sees the size
// that the page's content belongs to.
//
// What is a device's memory (dax.h) is only mapped: all of these refuse it, with -EINVAL or -ENODEV as Linux.
//
// Callers are CPUs with no lock held; all may sleep. Natively only.
#pragma once

#include <cstddef>

#include "mm/fs.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Bytes from `pos` on, fewer at the end of the file. How many, or -EBADF, -EINVAL for a range that cannot
/// be, -EIO, -ENOMEM.
long vfs_read(file& f, std::byte* to, u64 bytes, u64 pos);
/// The file grows if it ends before pos + bytes. How many have been written, if any have; or -EBADF for a
/// file that is not open for it, -EINVAL as above, -EFBIG, -ENOSPC, -EIO, -ENOMEM.
long vfs_write(file& f, const std::byte* from, u64 bytes, u64 pos);

/// ftruncate(). 0, or -EINVAL for a file that is not open for writing, or a size that cannot be; what the
/// disk says otherwise.
int vfs_truncate(file& f, u64 bytes);
/// fallocate(FALLOC_FL_PUNCH_HOLE). 0; -EBADF, -EINVAL, -EFBIG; what the disk says otherwise.
int vfs_punch_hole(file& f, u64 offset, u64 bytes);

/// Everything that was stored to pages [first, last] before the call is on the disk, or an error is returned:
/// also that of a writeback that nobody on this opening has been told of. `datasync`: fdatasync(). Files of
/// memory are where they are.
int vfs_fsync_range(file& f, u64 first, u64 last, bool datasync);

} // namespace racewalk::inline RACEWALK_BACKEND
