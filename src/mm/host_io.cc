#include "mm/host_io.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Leaves out the first `done` bytes.
void advance(host_io& io, u64 done) {
  io.offset += done;
  io.bytes -= done;
  while (done != 0) {
    iovec& first = io.vectors.front();
    const u64 n = std::min<u64>(done, first.iov_len);
    first.iov_base = static_cast<std::byte*>(first.iov_base) + n;
    first.iov_len -= n;
    done -= n;
    if (first.iov_len == 0) io.vectors = io.vectors.subspan(1);
  }
}

/// Programs may store to what is written meanwhile, as they may while a disk reads it: hence the system call
/// itself, not a function of which ThreadSanitizer believes that it reads plainly.
long transfer_once(io_dir dir, const host_io& io) {
  const auto nr = static_cast<int>(io.vectors.size());
  const auto at = static_cast<off_t>(io.offset);
  const long n = dir == io_dir::read ? ::preadv(io.fd, io.vectors.data(), nr, at)
                                     : ::syscall(SYS_pwritev, io.fd, io.vectors.data(), nr, at, 0L);
  return n < 0 ? -errno : n;
}

} // namespace

void transfer(io_dir dir, host_io& io) {
  for (;; io.result = transfer_once(dir, io)) {
    if (is_temporary(io.result)) continue;
    if (io.result == 0 && dir == io_dir::write)
      io.result = -EIO; // a disk that takes nothing and says nothing
    if (io.result < 0) io.error = static_cast<int>(io.result);
    if (io.result <= 0) return;
    io.done += static_cast<u64>(io.result);
    advance(io, static_cast<u64>(io.result));
    if (io.bytes == 0) return;
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
