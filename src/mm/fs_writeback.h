// How much is dirty, who may make more of it, and when it is written (Linux's fs-writeback.c and the
// balancing of page-writeback.c).
//
// Two limits. Above the background limit the flusher is woken; above the dirty limit who dirties pages waits
// for it, a while at a time. The number of dirty pages is an estimate: it moves with each page that is
// dirtied or written, and each pass of the flusher, which looks at all of them, makes it right again.
//
// Natively only.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// /proc/sys/vm/dirty_*, with Linux's defaults.
struct writeback_settings {
  std::chrono::milliseconds dirty_writeback{5'000}; ///< between two passes of the flusher
  std::chrono::milliseconds dirty_expire{30'000}; ///< what has been dirty for so long is written by the next
  unsigned dirty_background_ratio = 10; ///< percent of the memory: above, the flusher starts at once
  unsigned dirty_ratio = 20;            ///< above, writers wait for it
};

class bdi_writeback {
 public:
  [[nodiscard]] writeback_settings tuning() const;
  /// False, and nothing has changed, for numbers that cannot be: a ratio above 100 or a negative time.
  /// `memory`: pages that there are.
  [[nodiscard]] bool tune(const writeback_settings& how, u64 memory);

  // Who dirties and who writes.

  void dirtied() { nr_dirty_.fetch_add(1, std::memory_order_relaxed); }
  void written() {
    nr_dirty_.fetch_sub(1, std::memory_order_relaxed);
    nr_written_.fetch_add(1, std::memory_order_relaxed);
  }
  /// Before a page is dirtied. No folio is locked; may sleep, but not for ever.
  void balance_dirty_pages();

  // The flusher.

  /// There is one from now on, or there is none: then nobody waits.
  void set_running(bool running);
  /// Sleeps until the next pass is due.
  void wait_work(const std::stop_token& stop);
  /// A pass has found so many dirty pages.
  void found(u64 nr_dirty) { nr_dirty_.store(static_cast<s64>(nr_dirty), std::memory_order_relaxed); }
  [[nodiscard]] bool over_background() const { return nr_dirty() > background_limit_.load(); }
  /// A pass is done: who waits looks again.
  void pass_done();
  /// Ends its sleep, or the next one.
  void wake();

  [[nodiscard]] u64 nr_dirty() const;
  [[nodiscard]] u64 nr_written() const { return nr_written_; }
  [[nodiscard]] u64 passes() const { return passes_; }
  [[nodiscard]] u64 throttled() const { return throttled_; }

 private:
  /// As Linux's MAX_PAUSE.
  static constexpr std::chrono::milliseconds MAX_PAUSE{200};

  std::atomic<s64> nr_dirty_{0}; ///< may be below 0 for a while
  std::atomic<u64> nr_written_{0};
  std::atomic<u64> passes_{0};
  std::atomic<u64> throttled_{0}; ///< how often a writer has waited
  std::atomic<bool> running_{false};
  std::atomic<u64> background_limit_{~u64{0}}; ///< pages
  std::atomic<u64> dirty_limit_{~u64{0}};
  mutable std::mutex lock_;
  std::condition_variable_any work_; ///< for the flusher
  std::condition_variable done_;     ///< for writers
  writeback_settings tuning_;        ///< under lock_
  bool wakeup_ = false;              ///< under lock_
};

} // namespace racewalk::inline RACEWALK_BACKEND
