// Huge pages without being asked: how a System uses them, and khugepaged, which makes them of small ones,
// also in files that are made of memory.
//
//   system.huge_pages().set_enabled(racewalk::TransparentHugePages::Enabled::always);
//   system.huge_pages().start_khugepaged();
//
// The modes are those of Linux's /sys/kernel/mm/transparent_hugepage. All functions may be called by any
// number of threads at any time.
#pragma once

#include <cstdint>

#include "mm/thp.h"
#include "racewalk/expected.h"
#include "racewalk/house_thread.h"

namespace racewalk::inline RACEWALK_BACKEND {

class System;

class TransparentHugePages {
 public:
  using Enabled = thp_enabled;
  using Defrag = thp_defrag;
  /// Of khugepaged: pages_to_scan, scan_sleep, alloc_sleep, max_ptes_none,
  /// max_ptes_shared, max_ptes_swap.
  using Tuning = khugepaged_settings;

  /// Since the System began; Linux's thp_ events of /proc/vmstat, zero_page_mapped, and khugepaged's own two.
  struct Statistics {
    std::uint64_t fault_alloc;            ///< huge pages that faults have got
    std::uint64_t fault_fallback;         ///< and how often there was none
    std::uint64_t collapse_alloc;         ///< the same of collapses
    std::uint64_t collapse_alloc_failed;  ///< and how often there was none
    std::uint64_t split_pmd;              ///< huge entries that became tables
    std::uint64_t split_page;             ///< huge pages that became small ones
    std::uint64_t split_page_failed;      ///< because they were in use
    std::uint64_t deferred_split_page;    ///< huge pages that began to wait for it
    std::uint64_t zero_page_alloc;        ///< huge pages of zeros, of which there is one at a time
    std::uint64_t zero_page_alloc_failed; ///< and how often there was no memory for it
    std::uint64_t zero_page_mapped;       ///< faults that have got it
    std::uint64_t compact_success;        ///< free blocks made by moving pages
    std::uint64_t compact_fail;           ///< and how often that was tried in vain
    std::uint64_t compact_pages_moved;    ///< pages moved for it
    std::uint64_t pages_collapsed;        ///< by khugepaged
    std::uint64_t full_scans;             ///< how often khugepaged has looked at everything
  };

  explicit TransparentHugePages(System& system);
  ~TransparentHugePages();
  TransparentHugePages(const TransparentHugePages&) = delete;
  TransparentHugePages& operator=(const TransparentHugePages&) = delete;

  /// Which areas get huge pages by themselves; at first Enabled::madvise. What is huge already stays so.
  void set_enabled(Enabled mode) { thp_.enabled = mode; }
  [[nodiscard]] Enabled enabled() const { return thp_.enabled; }
  /// What a fault does when no huge page is free; at first Defrag::madvise.
  void set_defrag(Defrag mode) { thp_.defrag = mode; }
  [[nodiscard]] Defrag defrag() const { return thp_.defrag; }

  /// Whether what is only read where a huge page is wanted gets the huge page of zeros, of which there is one
  /// for all, until it is stored to; at first it does.
  void set_use_zero_page(bool use) { thp_.use_zero_page = use; }
  [[nodiscard]] bool use_zero_page() const { return thp_.use_zero_page; }

  /// Starts the thread that collapses, unless it runs. It looks at every AddressSpace of the System. Throws
  /// std::system_error if there can be no thread.
  void start_khugepaged();
  /// Ends it; a collapse under way is finished first. Not called by a CpuSession's thread with interrupts
  /// off.
  void stop_khugepaged();
  [[nodiscard]] bool khugepaged_runs() const;
  /// invalid_argument: nothing to scan, as many empty or shared pages as a huge page has, or a negative time.
  expected<void> tune_khugepaged(const Tuning& how);
  [[nodiscard]] Tuning khugepaged_tuning() const { return thp_.khugepaged.tuning(); }
  /// Ends its sleep.
  void wake_khugepaged() { thp_.khugepaged.wake(); }

  /// A huge page of which a part has been unmapped keeps all its memory until it is split: that happens when
  /// memory is short, or here, at once. How many have been split; those in use are not.
  std::uint64_t split_deferred();

  [[nodiscard]] Statistics statistics() const;

 private:
  System& system_;
  transparent_hugepage thp_;
  house_thread khugepaged_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
