// khugepaged: whoever looks at all address spaces, a few pages at a time, for what can be made huge pages:
// small pages of anonymous memory and of files that are made of memory, and huge pages of such files that are
// mapped page by page.
//
// Native only: under the explorer a collapse is called by name.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

#include "mm/mm_list.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// /sys/kernel/mm/transparent_hugepage/khugepaged, with Linux's defaults.
struct khugepaged_settings {
  u64 pages_to_scan = u64{8} * hpage_pmd_nr();   ///< in one go, at least 1
  std::chrono::milliseconds scan_sleep{10'000};  ///< between two goes
  std::chrono::milliseconds alloc_sleep{60'000}; ///< the same after one that found no free huge page
  unsigned max_ptes_none = hpage_pmd_nr() - 1;   ///< how many never touched pages a collapse may fill
  unsigned max_ptes_shared = hpage_pmd_nr() / 2; ///< how many pages of other mms, too, one may copy
  unsigned max_ptes_swap = hpage_pmd_nr() / 8;   ///< how many pages of a file may be in the swap file
};

class khugepaged_scan {
 public:
  [[nodiscard]] khugepaged_settings tuning() const;
  /// False, and nothing has changed, for numbers that cannot be. Holds from the next range on that is looked
  /// at, also within a go.
  [[nodiscard]] bool tune(const khugepaged_settings& how);

  /// One go: looks at the next pages_to_scan pages of the mms and collapses what it can. Returns whether
  /// there was a free huge page when one was needed. Caller is a CPU that holds no lock; one caller at a
  /// time.
  bool do_scan(mm_list& mms, const std::stop_token& stop);
  /// Sleeps until the next go is due.
  void wait_work(const std::stop_token& stop, bool had_huge_pages);
  /// Ends that sleep, or the next one. May be called with locks held.
  void wake();
  /// The same; and the next go makes room first: somebody has found no huge page.
  void wake_to_make_room();

  [[nodiscard]] u64 pages_collapsed() const { return pages_collapsed_; }
  /// How often everything has been looked at.
  [[nodiscard]] u64 full_scans() const { return full_scans_; }

 private:
  // where the next go begins: only do_scan() looks
  mm_struct* mm_ = nullptr; ///< may be gone
  vaddr_t address_ = 0;

  std::atomic<bool> make_room_{false};
  std::atomic<u64> pages_collapsed_{0};
  std::atomic<u64> full_scans_{0};
  mutable std::mutex lock_;
  std::condition_variable_any changed_;
  khugepaged_settings tuning_; ///< under lock_
  bool wakeup_ = false;        ///< under lock_
};

} // namespace racewalk::inline RACEWALK_BACKEND
