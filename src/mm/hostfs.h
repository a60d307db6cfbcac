// Files of the host, mapped (Linux's hostfs has the same for user-mode kernels).
//
// A file of the host is one inode here, however often and by whatever name it is opened, so all who use it
// share one page cache. Pages come and go through host_io.h; a size that changes here changes there at once,
// so that the host's file is never shorter than i_size says, unless another program has cut it.
//
// Lifetimes: inodes are found by device and number while somebody has them open or mapped. With the last
// reference what is dirty is written, and the inode goes; who opens the file meanwhile waits for that. An
// inode of which a page is still pinned stays, for what the device stores to be written when it is unpinned:
// it goes when the file is next put, or with the hostfs.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "mm/fs.h"
#include "mm/fs_writeback.h"
#include "mm/host_io_queue.h"
#include "mm/host_openings.h"

namespace racewalk::inline RACEWALK_BACKEND {

class hostfs;

struct hostfs_inode : inode {
  using number = std::pair<dev_t, ino_t>;

  hostfs_inode(hostfs& of, number n) : fs(of), i_no(n) {}

  hostfs& fs;
  const number i_no;
  host_openings openings;
  /// Parts of the host's file may have no room on its disk. Set before i_size includes them, and before what
  /// is in memory of them goes.
  std::atomic<bool> i_sparse{false};
  std::mutex room_lock;   ///< innermost: while room on the disk is found for stores, or given back
  u64 room_start = 0;     ///< under room_lock: pages for which it was found last
  u64 room_end = 0;       ///< ...
  bool i_freeing = false; ///< being written for the last time; under the hostfs's lock
  /// Since when a pass of the flusher has found it dirty; only the flusher looks.
  std::optional<std::chrono::steady_clock::time_point> dirtied_when;
};

class hostfs {
 public:
  /// How far files are read ahead, in pages, while that is a guess: 128 KiB, as in Linux. Who goes on in
  /// order gets more by and by, up to a part of the memory.
  static constexpr unsigned RA_PAGES = 32;
  static constexpr unsigned RA_PAGES_IN_ORDER = 1024;
  static constexpr unsigned RA_PART_OF_MEMORY = 64;

  hostfs() = default;
  /// Writes what is dirty. Nothing is open or mapped, and nothing pinned. Caller is a CPU.
  ~hostfs();
  hostfs(const hostfs&) = delete;
  hostfs& operator=(const hostfs&) = delete;

  /// Opens a regular file. `flags`: O_RDONLY or O_RDWR; O_CREAT, O_EXCL, O_NOFOLLOW as open(); O_DIRECT: from
  /// now on past the host's page cache, whoever has it open, where the host can. 0 or a negative errno: those
  /// of open(), -EACCES for O_WRONLY (who writes a part of a page reads the rest), -EISDIR, -ENODEV for what
  /// else is no regular file, -EINVAL for other flags, -ENOMEM. May sleep.
  int open(const char* path, int flags, mode_t mode, file** opened);

  /// Drops a reference (inode_operations::put).
  void put(hostfs_inode& i);

  /// One pass of the flusher: writes the files that have been dirty for long enough, or all of them if too
  /// much is dirty. What goes wrong the next fsync() of the file says. One caller at a time, a CPU with no
  /// lock held. May sleep.
  void do_writeback(const std::stop_token& stop);

  bdi_writeback wb;
  host_io_queue io;
  io_fault_attr fail_reserve{ENOSPC}; ///< which reservations fail

 private:
  std::vector<hostfs_inode*> grab_all();
  int iget(int fd, int flags, hostfs_inode** got);
  bool drop(hostfs_inode& i);

  std::mutex lock_;
  std::condition_variable changed_;                      ///< an inode is not freeing any more, or gone
  std::map<hostfs_inode::number, hostfs_inode*> inodes_; ///< under lock_
};

} // namespace racewalk::inline RACEWALK_BACKEND
