#include "mm/fs_writeback.h"

#include <algorithm>
#include <utility>

namespace racewalk::inline RACEWALK_BACKEND {

writeback_settings bdi_writeback::tuning() const {
  std::lock_guard guard(lock_);
  return tuning_;
}

bool bdi_writeback::tune(const writeback_settings& how, u64 memory) {
  if (how.dirty_background_ratio > 100 || how.dirty_ratio > 100 || how.dirty_writeback.count() < 0 ||
      how.dirty_expire.count() < 0)
    return false;
  {
    std::lock_guard guard(lock_);
    tuning_ = how;
    dirty_limit_ = memory * how.dirty_ratio / 100;
    // below the other in any case, as in Linux: the flusher has begun before anybody waits for it
    background_limit_ = std::min(memory * how.dirty_background_ratio / 100, dirty_limit_ / 2);
  }
  wake();
  return true;
}

u64 bdi_writeback::nr_dirty() const {
  return static_cast<u64>(std::max<s64>(nr_dirty_.load(std::memory_order_relaxed), 0));
}

void bdi_writeback::balance_dirty_pages() {
  if (!over_background() || !running_) return;
  std::unique_lock guard(lock_);
  if (!std::exchange(wakeup_, true)) work_.notify_one();
  if (nr_dirty() <= dirty_limit_) return;
  ++throttled_;
  done_.wait_for(guard, MAX_PAUSE, [this] { return nr_dirty() <= dirty_limit_ || !running_; });
}

void bdi_writeback::set_running(bool running) {
  {
    std::lock_guard guard(lock_);
    running_ = running;
  }
  done_.notify_all();
}

void bdi_writeback::wait_work(const std::stop_token& stop) {
  std::unique_lock guard(lock_);
  work_.wait_for(guard, stop, tuning_.dirty_writeback, [this] { return wakeup_; });
  wakeup_ = false;
}

void bdi_writeback::pass_done() {
  ++passes_;
  { std::lock_guard guard(lock_); } // nobody is between looking and waiting
  done_.notify_all();
}

void bdi_writeback::wake() {
  {
    std::lock_guard guard(lock_);
    wakeup_ = true;
  }
  work_.notify_one();
}

} // namespace racewalk::inline RACEWALK_BACKEND
