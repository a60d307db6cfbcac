// One transfer between a file of the host's and memory, done to its end.
//
// Natively only.
#pragma once

#include <sys/uio.h>

#include <cerrno>
#include <span>

#include "sync/types.h"

namespace racewalk::inline RACEWALK_BACKEND {

enum class io_dir : u8 { read, write };

/// One transfer of consecutive bytes of a file.
struct host_io {
  int fd;
  u64 offset;               ///< in the file, in bytes
  std::span<iovec> vectors; ///< where to or from, at most IOV_MAX of them; used up
  u64 bytes;                ///< in all of them; used up, too
  long result = -EAGAIN;    ///< of the last step; at first: it is to be done
  u64 done = 0;             ///< bytes transferred: fewer at the end of the file, or if there is an error
  int error = 0;            ///< 0 or a negative errno
};

/// Does what is left of a transfer after the step that `result` tells of. May sleep.
void transfer(io_dir dir, host_io& io);
/// May this step be done again, as nothing came of it and nothing is wrong? -ECANCELED is what io_uring says
/// of a transfer for which it could not begin a thread, since signals came in between.
inline bool is_temporary(long result) {
  return result == -EINTR || result == -EAGAIN || result == -ECANCELED;
}

} // namespace racewalk::inline RACEWALK_BACKEND
