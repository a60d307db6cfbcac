// Memory that is taken back: when, from what, and where it goes.
//
//   system.reclaim().swapon("/var/tmp/swap", std::uint64_t{1} << 30).value(); // for what memory alone holds
//   system.reclaim().start_kswapd(); // keeps some frames free
//
// A System's memory is its limit. When an allocation finds none, it takes back what was not used for longest:
// pages of files, written first if they are dirty, and with a swap file anonymous memory and files made of
// memory. Only what is in use (pinned, on its way, a page that stands for others) stays. If nothing can be
// had, the call fails for want of memory, and nothing has changed. All functions may be called by any number
// of threads at any time.
#pragma once

#include <cstdint>
#include <string>

#include "mm/mmzone.h"
#include "racewalk/expected.h"
#include "racewalk/house_thread.h"

namespace racewalk::inline RACEWALK_BACKEND {

class System;

class Reclaim {
 public:
  /// low, high: kswapd begins when fewer than so many thousandths of the frames are free, and then frees as
  /// many as `high` says.
  using Tuning = kswapd_settings;

  /// Since the System began, in pages; Linux's events of /proc/vmstat. And the swap file as it is now.
  struct Statistics {
    std::uint64_t scanned;      ///< frames looked at
    std::uint64_t stolen;       ///< taken back
    std::uint64_t written;      ///< dirty pages of files that were written for it
    std::uint64_t swapped_out;  ///< written to the swap file
    std::uint64_t swapped_in;   ///< and read from it
    std::uint64_t swap_ra;      ///< of these, before anybody has asked for them
    std::uint64_t swap_ra_hits; ///< and somebody has then
    std::uint64_t refaults;     ///< came back soon after they were taken
    std::uint64_t alloc_stalls; ///< how often an allocation has had to wait for it
    std::uint64_t kswapd_runs;  ///< how often kswapd has begun
    std::uint64_t swap_total;   ///< pages that fit the swap file
    std::uint64_t swap_used;    ///< and how many of them are in use
    std::uint64_t swap_cached;  ///< of these, by a page that is in memory and only keeps its place
  };

  explicit Reclaim(System& system);
  ~Reclaim();
  Reclaim(const Reclaim&) = delete;
  Reclaim& operator=(const Reclaim&) = delete;

  /// Starts the thread that takes memory back before somebody has to wait for it, unless it runs. Throws
  /// std::system_error if there can be no thread.
  void start_kswapd();
  /// Ends it; what it is at is finished first. Not called by a CpuSession's thread with interrupts off.
  void stop_kswapd();
  [[nodiscard]] bool kswapd_runs() const;
  /// invalid_argument: low is above high, or high not below 1000.
  expected<void> tune_kswapd(const Tuning& how);
  [[nodiscard]] Tuning kswapd_tuning() const { return pgdat_.kswapd.tuning(); }

  /// Takes so many pages back, now, or as many as can be had. How many.
  std::uint64_t shrink(std::uint64_t pages);

  /// Anonymous memory, and files made of memory, go to a file when memory is short and they are not in use:
  /// one file at a time, which is made if it is not there; what it held is lost. The errors of open(),
  /// ftruncate(), fallocate() (no_space_on_device) and swapon(): device_or_resource_busy if there is one,
  /// invalid_argument if it is no regular file, or for fewer bytes than two pages.
  expected<void> swapon(const std::string& path, std::uint64_t bytes);
  /// Brings back what is there, and ends that. not_enough_memory, io_error: then it goes on.
  expected<void> swapoff();
  // Which transfers to and from the swap file fail, for tests.
  [[nodiscard]] fault_attr& fail_swap_read() { return pgdat_.swap.fail_read; }
  [[nodiscard]] fault_attr& fail_swap_write() { return pgdat_.swap.fail_write; }

  [[nodiscard]] Statistics statistics() const;

 private:
  void set_watermark();

  System& system_;
  pglist_data pgdat_;
  house_thread kswapd_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
