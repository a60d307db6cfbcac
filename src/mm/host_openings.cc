#include "mm/host_openings.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "arch/arch_desc.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Whether the host can transfer single pages of the file past its page cache, as far as it says.
bool can_bypass(int fd) {
  struct statfs fs;
  // A checksum is made of what is written: with pages that are stored to meanwhile it would be wrong.
  if (::fstatfs(fd, &fs) != 0 || static_cast<u64>(fs.f_type) == BTRFS_SUPER_MAGIC) return false;
#ifdef STATX_DIOALIGN
  struct statx st;
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 && (st.stx_mask & STATX_DIOALIGN) != 0)
    return st.stx_dio_offset_align != 0 && st.stx_dio_offset_align <= PAGE_SIZE &&
           st.stx_dio_mem_align <= PAGE_SIZE;
#endif
  return true; // it will say so when it is tried
}

/// The same file, opened with O_DIRECT; or -1.
int reopen_direct(int fd, io_dir dir) {
  if (fd < 0 || !can_bypass(fd)) return -1;
  const int mode = dir == io_dir::read ? O_RDONLY : O_RDWR;
  return ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), mode | O_DIRECT | O_CLOEXEC | O_NOCTTY);
}

} // namespace

host_openings::~host_openings() {
  const int for_reading = fd(io_dir::read);
  const int for_writing = fd(io_dir::write);
  for (const int fd : {for_reading, for_writing == for_reading ? -1 : for_writing,
                       READ_ONCE(of(io_dir::read).direct), READ_ONCE(of(io_dir::write).direct)})
    if (fd >= 0) ::close(fd);
}

void host_openings::adopt(int fd, bool writable) {
  const bool first = this->fd(io_dir::read) < 0;
  const bool first_for_writing = writable && this->fd(io_dir::write) < 0;
  if (first) WRITE_ONCE(of(io_dir::read).fd, fd);
  if (first_for_writing) WRITE_ONCE(of(io_dir::write).fd, fd);
  if (!first && !first_for_writing) ::close(fd);
}

void host_openings::bypass_page_cache() {
  for (const io_dir dir : {io_dir::read, io_dir::write})
    if (!bypasses_page_cache(dir)) WRITE_ONCE(of(dir).direct, reopen_direct(fd(dir), dir));
}

void host_openings::finish(io_dir dir, host_io& io) {
  if (io.error != -EINVAL || io.fd == fd(dir)) return;
  // The file system does not do it, or the file ends there, other than it was thought to.
  io.fd = fd(dir);
  io.error = 0;
  io.result = -EAGAIN;
  transfer(dir, io);
}

} // namespace racewalk::inline RACEWALK_BACKEND
