// A thread of the library's own: khugepaged, the flusher, kswapd. It can be started and stopped at any time,
// by any thread, and is stopped with what it belongs to.
#pragma once

#include <mutex>
#include <thread>
#include <utility>

namespace racewalk::inline RACEWALK_BACKEND {

class house_thread {
 public:
  /// Starts body(stop_token), unless it runs; calls started() then. Throws std::system_error if there can be
  /// no thread.
  template <class Body, class Started> void start(Body&& body, Started&& started) {
    std::lock_guard guard(lock_);
    if (thread_.joinable()) return;
    thread_ = std::jthread(std::forward<Body>(body));
    started();
  }
  template <class Body> void start(Body&& body) {
    start(std::forward<Body>(body), [] {});
  }

  /// Ends it, if it runs; what it is at is finished first. Calls stopped() then.
  template <class Stopped> void stop(Stopped&& stopped) {
    std::lock_guard guard(lock_);
    if (!thread_.joinable()) return;
    thread_.request_stop();
    thread_.join();
    stopped();
  }
  void stop() {
    stop([] {});
  }

  [[nodiscard]] bool runs() const {
    std::lock_guard guard(lock_);
    return thread_.joinable();
  }

 private:
  mutable std::mutex lock_;
  std::jthread thread_; ///< under lock_
};

} // namespace racewalk::inline RACEWALK_BACKEND
