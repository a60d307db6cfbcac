// What a machine knows of the use of its memory, for taking it back: Linux's pglist_data.
//
// Machine::pgdat leads here; it is null where nothing is ever taken back by itself, such as under the
// explorer. Who takes back what is in vmscan.h, where it goes in swapfile.h.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>

#include "machine/machine.h"
#include "mm/fault_inject.h"
#include "mm/workingset.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// As in Linux's /proc/vmstat.
enum vm_event : unsigned {
  PGSCAN,              ///< folios looked at
  PGSTEAL,             ///< pages taken back
  PSWPOUT,             ///< pages written to the swap file
  PSWPIN,              ///< and read from it
  SWAP_RA,             ///< of these, before anybody has asked for them
  SWAP_RA_HIT,         ///< and somebody has then
  PGPGOUT,             ///< dirty pages of files that reclaim has written
  ALLOCSTALL,          ///< allocations that have taken memory back themselves
  PAGEOUTRUN,          ///< times that kswapd has
  WORKINGSET_REFAULT,  ///< pages that came back soon after they were taken
  WORKINGSET_ACTIVATE, ///< and are kept longer for it
  NR_VM_EVENTS
};

struct swap_info;
class host_io_queue;

/// Folios of slots that follow each other, on their way to a swap file.
struct swap_run {
  u64 slot; ///< the first one's
  std::span<folio* const> folios;
  u64 done = 0; ///< how many have been written, from the first
};

/// What the slots of a swap file lie on (Linux's swap_rw).
struct swap_operations {
  /// Reads slots that follow each other into folios. How many could be, from the first. May sleep.
  u64 (*read)(swap_info& swap, u64 slot, std::span<folio* const> folios);
  /// Writes folios there, at most SWAP_CLUSTER_MAX: all runs at once. Says of each how many could be. May
  /// sleep.
  void (*write)(swap_info& swap, std::span<swap_run> runs);
  /// Reads for who will want them later, at most SWAP_CLUSTER_MAX: ends with swap_end_read() for each,
  /// perhaps only after it has returned. Null: nothing is read ahead.
  void (*readahead)(swap_info& swap, u64 slot, std::span<folio* const> folios) = nullptr;
};

/// The swap file, if there is one (swapfile.h).
struct swap_info {
  struct slot {
    plain<u32> count;   ///< entries that name it
    plain<u32> folio;   ///< the frame of its folio in the cache; 0: none
    plain<u64> mapping; ///< of the folio that was here last: where it was mapped
    plain<u64> index;

    /// In mapping: it is a page of a file; or one that stands for others, whose node has a reference for it.
    static constexpr u64 SHMEM = 1;
    static constexpr u64 KSM = 2;
    [[nodiscard]] bool is_free() const { return count.get() == 0 && folio.get() == 0; }
    /// Nobody but its folio needs it (swap_only_has_cache()).
    [[nodiscard]] bool only_has_cache() const { return count.get() == 0 && folio.get() != 0; }
  };

  std::atomic<bool> on{false};
  const swap_operations* ops = nullptr;
  fault_attr fail_read;
  fault_attr fail_write;

  mutable spinlock_t lock;
  bool writeok GUARDED_BY(lock) = false; ///< new slots are given
  std::unique_ptr<slot[]> slots GUARDED_BY(lock);
  u64 max GUARDED_BY(lock) = 0; ///< slots, 0 included
  plain<u64> inuse GUARDED_BY(lock);
  plain<u64> cached GUARDED_BY(lock); ///< of these, how many only have the cache
  plain<u64> next GUARDED_BY(lock);   ///< where to look for a free one

  std::mutex swapon_mutex;
  int fd = -1;                 ///< changes under swapon_mutex while nothing is in use
  host_io_queue* io = nullptr; ///< what nobody waits for goes through it

  ~swap_info();
};

/// When kswapd begins and ends: free frames, in thousandths of all.
struct kswapd_settings {
  unsigned low = 20;
  unsigned high = 40;
};

/// kswapd's sleep, and who ends it.
class kswapd_wait {
 public:
  [[nodiscard]] kswapd_settings tuning() const;
  /// False, and nothing has changed, for numbers that cannot be: low is above high, or high not below 1000.
  [[nodiscard]] bool tune(const kswapd_settings& how);
  /// Ends the sleep, or the next one. Any lock may be held but those of this file.
  void wake();
  /// Sleeps until it is woken; after a go in `vain`, a while at least.
  void wait(const std::stop_token& stop, bool vain);

 private:
  std::atomic<bool> wakeup_{false};
  mutable std::mutex lock_;
  std::condition_variable_any changed_;
  kswapd_settings tuning_; ///< under lock_
};

struct pglist_data {
  explicit pglist_data(u64 frames)
      : nr_frames(frames), age(new std::atomic<u8>[frames]()), evictions(frames) {}

  const u64 nr_frames;
  /// How many rounds ago each frame's folio was used, when it was looked at last (vmscan.h).
  std::unique_ptr<std::atomic<u8>[]> age;
  std::atomic<u64> hand{0};
  nonresident_pages evictions;
  std::array<std::atomic<u64>, NR_VM_EVENTS> events{};
  kswapd_wait kswapd;
  std::atomic<bool> kswapd_runs{false};
  swap_info swap;
};

inline void count_vm_events(vm_event event, u64 n = 1) {
  if (pglist_data* pgdat = machine().pgdat) pgdat->events[event].fetch_add(n, std::memory_order_relaxed);
}

} // namespace racewalk::inline RACEWALK_BACKEND
