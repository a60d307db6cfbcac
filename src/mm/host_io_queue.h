// Transfers between the host's files and memory, many at a time: through io_uring where the host has it.
//
// Who has several transfers gives them all at once and waits for all: the host's disk sees them together. A
// ring belongs to one thread while that waits, and is kept for the next. Where the host has no io_uring, or
// no room for another ring, and for a transfer alone, it is preadv() and pwritev().
//
// Natively only.
#pragma once

#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <span>

#include "mm/fault_inject.h"
#include "mm/host_io.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Which transfers fail, for tests, and with what (Linux's fail_make_request).
struct io_fault_attr : fault_attr {
  std::atomic<int> error; ///< an errno

  explicit io_fault_attr(int with);
};

class host_io_queue {
 public:
  host_io_queue();
  ~host_io_queue();
  host_io_queue(const host_io_queue&) = delete;
  host_io_queue& operator=(const host_io_queue&) = delete;

  /// Does them all, in any order. May sleep.
  void submit_and_wait(io_dir dir, std::span<host_io> ios);

  io_fault_attr fail_io{EIO};

  /// Transfers asked for so far.
  [[nodiscard]] u64 nr_ios(io_dir dir) const { return nr_ios_[static_cast<unsigned>(dir)]; }

 private:
  class ring;

  std::unique_ptr<ring> take_ring();
  void keep_ring(std::unique_ptr<ring> r);

  std::mutex lock_;
  std::unique_ptr<ring> idle_;        ///< under lock_: each has the next
  std::atomic<bool> no_rings_{false}; ///< the host has none
  std::atomic<u64> nr_ios_[2]{};
};

} // namespace racewalk::inline RACEWALK_BACKEND
