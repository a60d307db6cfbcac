// Transfers between the host's files and memory, many at a time: through io_uring where the host has it.
//
// Who has several transfers gives them all at once and waits for all: the host's disk sees them together. A
// ring belongs to one thread while that waits, and is kept for the next. Where the host has no io_uring, or
// no room for another ring, and for a transfer alone, it is preadv() and pwritev().
//
// Who does not wait submits a transfer that says what is to be done at its end, to one more ring, which all
// share; a thread of the house waits for what comes out of that. Where there can be no such ring or thread,
// and while it is full, the transfer is done by who submits it.
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

/// A transfer that nobody waits for. Lives until `done` is called, which may give it up.
struct async_io {
  io_dir dir;
  host_io io;
  void (*done)(async_io& io); ///< called once at its end, by whichever thread; may sleep
};

class host_io_queue {
 public:
  host_io_queue();
  ~host_io_queue();
  host_io_queue(const host_io_queue&) = delete;
  host_io_queue& operator=(const host_io_queue&) = delete;

  /// Does them all, in any order. May sleep.
  void submit_and_wait(io_dir dir, std::span<host_io> ios);

  /// Begins it. May sleep.
  void submit(async_io& a);
  /// Waits until all that has been submitted so far is done.
  void drain();

  io_fault_attr fail_io{EIO};

  /// Transfers asked for so far.
  [[nodiscard]] u64 nr_ios(io_dir dir) const { return nr_ios_[static_cast<unsigned>(dir)]; }

 private:
  class ring;
  class background_ring;

  host_io& count(io_dir dir, host_io& io);
  background_ring* background();

  std::unique_ptr<ring> take_ring();
  void keep_ring(std::unique_ptr<ring> r);

  std::mutex lock_;
  std::unique_ptr<ring> idle_;        ///< under lock_: each has the next
  std::atomic<bool> no_rings_{false}; ///< the host has none
  std::atomic<u64> nr_ios_[2]{};
  std::unique_ptr<background_ring> background_; ///< under lock_; null: it was not needed, or cannot be had
  bool background_tried_ = false;               ///< under lock_
};

} // namespace racewalk::inline RACEWALK_BACKEND
