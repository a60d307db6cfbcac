// The descriptors of one file of the host's, and which of them a transfer goes through.
//
// There is one for reading and one for writing, which may be the same; and each once more with O_DIRECT, if
// somebody wants the file past the host's page cache. Whole pages go that way then, into and out of the very
// frames; what is no whole page at the end of the file does not, nor what the host refuses that way. The host
// keeps its cache true to both, so that other programs see the same as without.
//
// Natively only.
#pragma once

#include "mm/host_io.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

class host_openings {
 public:
  host_openings() = default;
  ~host_openings();
  host_openings(const host_openings&) = delete;
  host_openings& operator=(const host_openings&) = delete;

  // One caller at a time of these two.
  /// Takes a descriptor, which is closed if it is of no use. The first one is before any other call.
  void adopt(int fd, bool writable);
  /// From now on past the host's page cache, where its file system can do that by pages and does not have to
  /// be sure that nobody changes a page that is being written.
  void bypass_page_cache();

  /// The one for whatever it is; -1: there is none for writing.
  [[nodiscard]] int fd(io_dir dir) const { return READ_ONCE(of(dir).fd); }
  /// The one for whole pages.
  [[nodiscard]] int fd_for_pages(io_dir dir) const {
    const int direct = READ_ONCE(of(dir).direct);
    return direct >= 0 ? direct : fd(dir);
  }
  [[nodiscard]] bool bypasses_page_cache(io_dir dir) const { return READ_ONCE(of(dir).direct) >= 0; }
  /// A transfer has ended: what the host has refused of it goes through its page cache. May sleep.
  void finish(io_dir dir, host_io& io);

 private:
  struct opening {
    shared<int> fd{-1};
    shared<int> direct{-1}; ///< -1: there is none
  };

  opening& of(io_dir dir) { return openings_[static_cast<unsigned>(dir)]; }
  [[nodiscard]] const opening& of(io_dir dir) const { return openings_[static_cast<unsigned>(dir)]; }

  opening openings_[2];
};

} // namespace racewalk::inline RACEWALK_BACKEND
