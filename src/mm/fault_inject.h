// Allocations that fail on purpose (Linux's fault injection).
//
// Who allocates asks should_fail() first; unless something is set, that costs a load. What is set may change
// at any time, by any thread.
#pragma once

#include <atomic>

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Which of a kind of allocations fail.
class fault_attr {
 public:
  /// The nth from now on, once; 0: none.
  void fail_nth(u64 n);
  /// Every nth; 0: none.
  void fail_every(u64 n);
  /// At random, so many in a million.
  void fail_with_probability(u32 millionths);

  /// Is fail_nth()'s still to come?
  [[nodiscard]] bool pending() const { return nth_.load(std::memory_order_relaxed) != 0; }
  /// How many have failed so far.
  [[nodiscard]] u64 failed() const { return failed_.load(std::memory_order_relaxed); }

  bool should_fail() { return armed_.load(std::memory_order_relaxed) && decide(); }

 private:
  void arm();
  bool decide();
  bool is_nth();

  std::atomic<bool> armed_{false};
  std::atomic<u64> nth_{0};
  std::atomic<u64> interval_{0};
  std::atomic<u64> seen_{0}; ///< since interval_ was set
  std::atomic<u32> probability_{0};
  std::atomic<u64> failed_{0};
};

} // namespace racewalk::inline RACEWALK_BACKEND
