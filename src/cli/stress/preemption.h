// `racewalk stress --preempt`: every thread is stopped again and again, for a random time, wherever it is.
//
// A race needs one CPU to be slow in a window of a few instructions while another goes on. With as few CPUs
// as there are threads nobody is slow on his own, and with fewer the scheduler stops a thread a few hundred
// times a second, seldom where it matters. Here each thread has a timer of the host's: its signal finds the
// thread at any instruction, with whatever locks it holds, waits, and draws when it comes again.
//
// The library knows nothing of it, and pays nothing: threads are found in /proc/self/task, its own among them
// (kswapd, khugepaged, the flusher, the merger, liburcu's). The host's for io_uring block signals and go on.
// System calls continue where they were (SA_RESTART), or end with EINTR where the host does not restart them:
// fallocate(), io_uring_enter(), poll().
#pragma once

#include <cstdint>
#include <thread>

#include <sys/types.h>

namespace racewalk::cli::stress {

/// Threads are stopped while it lives. One at a time.
class preemption {
 public:
  /// So often each, on average; when, and for how long, is drawn from the seed. Throws std::system_error if
  /// the host refuses.
  preemption(std::uint64_t per_second, std::uint64_t seed);
  ~preemption();
  preemption(const preemption&) = delete;
  preemption& operator=(const preemption&) = delete;

  /// How often any thread was.
  [[nodiscard]] std::uint64_t count() const;

 private:
  void stop_new_threads(pid_t but);

  const std::uint64_t seed_;
  std::uint64_t threads_ = 0;
  std::jthread search_; ///< for threads that begin
};

} // namespace racewalk::cli::stress
