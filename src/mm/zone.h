// The buddy allocator's core: which frames are free, by order, with a list per thread in front.
//
// It deals in frame numbers and knows nothing of struct page; page_alloc.h puts pages on top.
//
// Invariant: a free block of order n begins at a multiple of 2^n frames, is not in any thread's list, and its
// buddy is not a free block of the same order (they would have been merged).
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <cstddef>
#include <memory>

#include "mm/fault_inject.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct zone {
  static constexpr unsigned MAX_ORDER = 10; ///< the largest block is 2^MAX_ORDER frames
  static constexpr pfn_t NO_FRAME = ~pfn_t{0};

  /// `frames` is where frame 0 is. All frames from `first` to `first + count` (exclusive) are free, but for
  /// `explored_slots` blocks at the end, which explored allocations are served from.
  zone(std::byte* frames, pfn_t first, u64 count, unsigned explored_slots = 0);

  struct block_found {
    pfn_t pfn;   ///< of the first frame, or NO_FRAME
    bool zeroed; ///< the content is zeros
  };
  /// `zeroed`: that is wanted, which need not be, of what comes.
  block_found rmqueue(unsigned order, bool zeroed = true);
  void free_block(pfn_t pfn, unsigned order);

  // Frames whose words are all zero, which is what a page table is when it is freed and when it is allocated
  // (Linux's quicklists).
  /// NO_FRAME if there is none.
  pfn_t take_zeroed();
  void give_zeroed(pfn_t pfn);

  /// The block of an explored allocation: slots are large enough for a huge page and never used twice in a
  /// run.
  pfn_t explored_block(unsigned slot) const;

  // A block of hpage_pmd_nr() frames, which begins at a multiple of that, for compaction.
  using claimed_frames = std::bitset<512>; ///< by their place in the block
  /// How many of its frames are in the buddy lists.
  u64 nr_free_in(pfn_t first) const;
  /// Takes those for the caller, and adds them to `claimed`.
  void claim_free(pfn_t first, claimed_frames& claimed);
  void give_claimed(pfn_t first, const claimed_frames& claimed);

  /// Gives what the threads' lists and the list of zeroed frames hold back to the buddy lists, where it
  /// merges.
  void drain_all_pages();
  /// Frames that nobody holds.
  u64 nr_free() const;
  u64 nr_frames() const { return count_; }

  /// So few frames were free when a thread last came to the buddy lists that kswapd is to be woken. Its free
  /// frames are those of the buddy lists: what threads' lists hold comes on top.
  bool is_low() const { return low_.load(std::memory_order_relaxed); }
  void set_watermark(u64 frames) { watermark_.store(frames, std::memory_order_relaxed); }

  /// Batches of page tables that wait for a grace period to be freed.
  std::atomic<u64> deferred_batches{0};
  /// Which allocations of frames and tables fail, for tests (Linux's fail_page_alloc).
  fault_attr fail_page_alloc;
  /// Which allocations of the manager's own objects fail (Linux's failslab; mm/slab.h).
  fault_attr failslab;

 private:
  static constexpr u32 NIL = ~u32{0};
  static constexpr u8 NOT_FREE = 0xff;
  /// Frames in one thread's list, and how many move between it and the buddy lists at once: large enough that
  /// the zone's lock is rare, small enough that a list stays in its CPU's cache.
  static constexpr unsigned PCP_HIGH = 256;
  static constexpr unsigned PCP_BATCH = 64;
  /// Zeroed frames in one thread's list, how many move between it and the common one at once, and in the
  /// common one.
  static constexpr unsigned ZEROED_HIGH = 32;
  static constexpr unsigned ZEROED_BATCH_ORDER = 4;
  static constexpr unsigned ZEROED_BATCH = 1 << ZEROED_BATCH_ORDER;
  static constexpr unsigned MAX_ZEROED = 1 << 14;

  /// A thread's free frames of order 0, last in, first out: the frame freed last is the one still in the
  /// cache. (A CPU is a thread; those that are none, such as the one that runs RCU callbacks, have a list all
  /// the same.)
  struct alignas(64) per_thread_pages {
    spinlock_t lock; ///< taken by its thread, by others that share the slot, and to drain
    unsigned count GUARDED_BY(lock) = 0;
    unsigned
        zeroed GUARDED_BY(lock) = 0; ///< so many at the bottom came from the buddy lists, and were zeroed
    unsigned kept_zeroed GUARDED_BY(lock) = 0;
    std::array<u32, ZEROED_HIGH> zeroed_frame GUARDED_BY(lock); ///< the frames of give_zeroed()
    std::array<u32, PCP_HIGH> frame GUARDED_BY(lock);
  };

  struct block {
    u32 next = NIL;
    u32 prev = NIL;
    u8 order = NOT_FREE; ///< of the free block that begins here
  };

  /// Calls visit(frame, order) for the free blocks in the block of a huge page that begins at `first`.
  template <class F> void for_each_free_in(pfn_t first, F&& visit) const REQUIRES(lock_);
  /// The calling thread's list.
  per_thread_pages& local_pages();
  void link(u32 frame, unsigned order) REQUIRES(lock_);
  void unlink(u32 frame) REQUIRES(lock_);
  u32 take(unsigned order) REQUIRES(lock_);
  void give(u32 frame, unsigned order) REQUIRES(lock_);
  void refill(per_thread_pages& pcp, bool zeroed) REQUIRES(pcp.lock) EXCLUDES(lock_);
  void spill(per_thread_pages& pcp, unsigned frames) REQUIRES(pcp.lock) EXCLUDES(lock_);
  void refill_zeroed(per_thread_pages& pcp) REQUIRES(pcp.lock) EXCLUDES(zeroed_lock_, lock_);
  void spill_zeroed(per_thread_pages& pcp, unsigned frames) REQUIRES(pcp.lock) EXCLUDES(zeroed_lock_, lock_);

  std::atomic<u64> watermark_{0};
  std::atomic<bool> low_{false};
  std::byte* const frames_;
  const pfn_t first_;
  const u64 count_;
  const unsigned explored_slots_;
  mutable spinlock_t lock_;
  std::array<u32, MAX_ORDER + 1> free_list_ GUARDED_BY(lock_);
  u64 free_ GUARDED_BY(lock_) = 0;
  mutable spinlock_t zeroed_lock_;
  unsigned zeroed_count_ GUARDED_BY(zeroed_lock_) = 0;
  std::array<u32, MAX_ZEROED> zeroed_ GUARDED_BY(zeroed_lock_);
  std::unique_ptr<block[]> blocks_;
  mutable std::array<per_thread_pages, MAX_CPUS> pcp_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
