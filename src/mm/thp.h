// How a machine uses huge pages: what Linux has in /sys/kernel/mm/transparent_hugepage, and the thp_ events
// of /proc/vmstat.
//
// Machine::thp leads here. It is null where nobody has set anything, such as under the explorer: then the
// modes are the defaults, and nothing is counted.
#pragma once

#include <array>
#include <atomic>

#include "machine/machine.h"
#include "mm/compaction.h"
#include "mm/deferred_split.h"
#include "mm/khugepaged_scan.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Which areas are to have huge pages without being asked each time.
enum class thp_enabled : u8 {
  always,  ///< all but those with MADV_NOHUGEPAGE
  madvise, ///< those with MADV_HUGEPAGE
  never,
};

/// What a fault does when no huge page is free at once. Waiting means: for memory that is on its way back,
/// and for pages to be moved (compaction.h).
enum class thp_defrag : u8 {
  always,        ///< it waits
  defer,         ///< it takes a small page and wakes khugepaged, which makes room
  defer_madvise, ///< in areas with MADV_HUGEPAGE it waits, elsewhere as defer
  madvise,       ///< in areas with MADV_HUGEPAGE it waits, elsewhere it takes a small page
  never,         ///< it takes a small page
};

enum thp_event : unsigned {
  THP_FAULT_ALLOC,
  THP_FAULT_FALLBACK, ///< there was no huge page
  THP_COLLAPSE_ALLOC,
  THP_COLLAPSE_ALLOC_FAILED,
  THP_SPLIT_PMD,
  THP_SPLIT_PAGE,
  THP_SPLIT_PAGE_FAILED,
  THP_DEFERRED_SPLIT_PAGE,
  THP_ZERO_PAGE_ALLOC,
  THP_ZERO_PAGE_ALLOC_FAILED,
  THP_ZERO_PAGE_MAPPED, ///< Linux does not count this one
  COMPACT_SUCCESS,
  COMPACT_FAIL,
  COMPACT_PAGES_MOVED,
  NR_THP_EVENTS
};

struct transparent_hugepage {
  std::atomic<thp_enabled> enabled{thp_enabled::madvise};
  std::atomic<thp_defrag> defrag{thp_defrag::madvise};
  std::atomic<bool> use_zero_page{true}; ///< what is only read gets the huge page of zeros
  std::array<std::atomic<u64>, NR_THP_EVENTS> events{};
  mm_list mms;
  khugepaged_scan khugepaged;
  deferred_split_queue deferred_split;
  compaction_deferral compaction;
};

inline thp_enabled thp_enabled_now() {
  const transparent_hugepage* thp = machine().thp;
  return thp == nullptr ? thp_enabled::madvise : thp->enabled.load(std::memory_order_relaxed);
}
inline thp_defrag thp_defrag_now() {
  const transparent_hugepage* thp = machine().thp;
  return thp == nullptr ? thp_defrag::madvise : thp->defrag.load(std::memory_order_relaxed);
}
inline bool thp_use_zero_page_now() {
  const transparent_hugepage* thp = machine().thp;
  return thp == nullptr || thp->use_zero_page.load(std::memory_order_relaxed);
}

inline void count_vm_event(thp_event event) {
  if (transparent_hugepage* thp = machine().thp) thp->events[event].fetch_add(1, std::memory_order_relaxed);
}

} // namespace racewalk::inline RACEWALK_BACKEND
