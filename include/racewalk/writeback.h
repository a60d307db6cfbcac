// Writeback in the background: a thread that writes what is dirty of the host's files (Linux's flusher).
//
//   racewalk::Writeback writeback(system);
//   writeback.tune({.dirty_expire = std::chrono::seconds(1)}).value();
//   writeback.start();
//
// Without it pages are written by sync() and msync(), and when nobody has the file any more. One for a
// System. All functions may be called by any number of threads at any time.
#pragma once

#include <cstdint>

#include "mm/fs_writeback.h"
#include "racewalk/address_space.h"
#include "racewalk/house_thread.h"

namespace racewalk::inline RACEWALK_BACKEND {

class Writeback {
 public:
  /// dirty_writeback, dirty_expire, dirty_background_ratio, dirty_ratio.
  using Tuning = writeback_settings;

  struct Statistics {
    std::uint64_t dirty;     ///< pages, about
    std::uint64_t written;   ///< since the System began, by whomever
    std::uint64_t passes;    ///< of the thread
    std::uint64_t throttled; ///< how often a writer has waited for it
    std::uint64_t reads;     ///< transfers from the host's files, each of as many pages as follow each other
    std::uint64_t writes;    ///< and to them
  };

  explicit Writeback(System& system);
  /// Ends the thread. The System is there still.
  ~Writeback();
  Writeback(const Writeback&) = delete;
  Writeback& operator=(const Writeback&) = delete;

  /// Starts the thread, unless it runs. Throws std::system_error if there can be none.
  void start();
  /// Ends it; what it is writing is written first.
  void stop();
  [[nodiscard]] bool runs() const;
  /// invalid_argument: a ratio above 100, or a negative time.
  expected<void> tune(const Tuning& how);
  [[nodiscard]] Tuning tuning() const;
  /// Ends its sleep.
  void wake();

  [[nodiscard]] Statistics statistics() const;

 private:
  System& system_;
  house_thread flusher_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
