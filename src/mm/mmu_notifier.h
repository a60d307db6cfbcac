// MMU notifiers: who keeps translations of an mm elsewhere hears what becomes of them (M27).
//
// Two kinds of clients (secondary MMUs), two kinds of notifications:
//   shadow tables  (KVM, HMM) hold pages' frames in tables of their own. They are told before a range changes
//                  and after: invalidate_range_start drops what they have, and until invalidate_range_end
//                  they take nothing new. Who looks an address up without a lock in between finds out by an
//                  interval notifier's sequence: mmu_interval_read_begin() before, mmu_interval_read_retry()
//                  under the client's own lock.
//   shared tables  (an IOMMU under SVA) walk the CPU's tables themselves. They are told when the CPUs' TLBs
//   are
//                  flushed: after entries have changed, before what they led to is used again.
//
// Invariant: from the end of a notification on, until the mapping is there again, no client uses what the
// range mapped. A range's start and end come in pairs for everyone who is registered meanwhile: registration
// excludes ranges (mm_take_all_locks), so nobody hears an end without its start.
//
// Locks: a start may sleep and comes before any page-table lock; arch_invalidate_secondary_tlbs comes under
// page-table locks and must not sleep. Subscriptions are read in an SRCU section: who unsubscribes waits for
// the callbacks under way, and can therefore not do so inside one: there mmu_notifier_put() unsubscribes
// without waiting.
#pragma once

#include "sync/srcu.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct mm_struct;
struct mmu_notifier;
struct mmu_interval_notifier;

/// Why a range is invalidated.
enum class mmu_notifier_event : u8 {
  unmap,           ///< the mapping goes away
  clear,           ///< pages are replaced: by a copy, by a huge page
  protection_vma,  ///< the area's rights change
  protection_page, ///< entries lose rights or their dirtiness, the area keeps its rights
  release,         ///< the mm goes away, and with it the subscription
};

/// What is invalidated: [start, end) of mm.
struct mmu_notifier_range {
  mm_struct& mm;
  mmu_notifier_event event;
  vaddr_t start;
  vaddr_t end; ///< exclusive
};

/// Any of them may be null. A client of shared tables has no range callbacks and one of shadow tables nothing
/// else: -EINVAL.
struct mmu_notifier_ops {
  /// The range is about to change: drops what the client has of it. May sleep.
  void (*invalidate_range_start)(mmu_notifier&, const mmu_notifier_range&);
  /// It has changed. May sleep.
  void (*invalidate_range_end)(mmu_notifier&, const mmu_notifier_range&);
  /// The TLBs of CPUs have been flushed for [start, end). Under page-table locks.
  void (*arch_invalidate_secondary_tlbs)(mmu_notifier&, vaddr_t start, vaddr_t end);
  /// The mm goes away: the last that is heard of it. The subscription has ended.
  void (*release)(mmu_notifier&);
  /// After mmu_notifier_put(): no callback is under way or will come.
  void (*free_notifier)(mmu_notifier&);
};

/// A subscription. Its memory is the client's, until it has ended.
struct mmu_notifier {
  const mmu_notifier_ops* ops = nullptr;
  mm_struct* mm = nullptr; ///< null while there is no subscription
  shared<mmu_notifier*> next{nullptr};
  mmu_notifier* next_retired = nullptr; ///< after mmu_notifier_put()
};

/// A subscription to what becomes of one range, with the sequence that tells whether anything did.
struct mmu_interval_notifier {
  /// [range.start, range.end) is about to change. Takes the client's lock, calls mmu_interval_set_seq() with
  /// `seq` and drops what the client has of the range.
  void (*invalidate)(mmu_interval_notifier&, const mmu_notifier_range& range, u64 seq) = nullptr;
  mm_struct* mm = nullptr; ///< null while there is no subscription
  vaddr_t start = 0;
  vaddr_t end = 0;            ///< exclusive
  shared<u64> invalidate_seq; ///< changes under the client's lock
  shared<mmu_interval_notifier*> next{nullptr};
};

/// An mm's subscriptions.
struct mmu_notifier_subscriptions {
  shared<mmu_notifier*> list{nullptr};               ///< changes under lock; read in SRCU sections
  shared<mmu_interval_notifier*> intervals{nullptr}; ///< the same
  mmu_notifier* retired = nullptr;                   ///< by mmu_notifier_put(), not freed yet; under lock
  srcu_struct srcu;
  spinlock_t lock;
  /// Odd while a range of an interval is being invalidated. Changes under lock.
  shared<u64> invalidate_seq{2};
  atomic_t active_invalidate_ranges; ///< starts without their end; changes under lock
  shared<u32> in_callback[MAX_CPUS]; ///< callbacks that each CPU is in
};

// ---- subscribing ------------------------------------------------------------------------------------------
// On no explored path. Caller is a CPU, holds no lock of the mm, and is in no callback of it: -EDEADLK.

/// 0, -EINVAL, -EEXIST if it is registered already, or -EDEADLK.
[[nodiscard]] int mmu_notifier_register(mmu_notifier& subscription, mm_struct& mm);
/// On return no callback is under way or will come. 0, -EINVAL if there is no subscription, or -EDEADLK:
/// inside a callback it would wait for itself.
int mmu_notifier_unregister(mmu_notifier& subscription);
/// Ends a subscription without waiting, also inside a callback. Its memory is in use until free_notifier,
/// which mmu_notifier_synchronize() or the end of the mm calls. 0, or -EINVAL if there is no subscription.
int mmu_notifier_put(mmu_notifier& subscription);
/// Waits until all that have been put can be freed, and frees them. 0 or -EDEADLK.
int mmu_notifier_synchronize(mm_struct& mm);

/// 0, -EINVAL for a range that cannot be, -EEXIST, or -EDEADLK.
[[nodiscard]] int mmu_interval_notifier_insert(mmu_interval_notifier& subscription, mm_struct& mm,
                                               vaddr_t start, u64 length);
/// As mmu_notifier_unregister().
int mmu_interval_notifier_remove(mmu_interval_notifier& subscription);

/// The mm goes away: tells everybody, also those who subscribe to intervals, and ends all subscriptions.
void mmu_notifier_release(mm_struct& mm);

// ---- the sequence of an interval --------------------------------------------------------------------------

/// Waits until nothing of the interval is being invalidated; returns the sequence to give to
/// mmu_interval_read_retry(). What is read of the page table after this is good if that says so. May sleep.
u64 mmu_interval_read_begin(mmu_interval_notifier& subscription);
/// Whether the interval has been invalidated since. Caller holds the lock that `invalidate` takes, and keeps
/// it until what it has read is where `invalidate` finds it.
inline bool mmu_interval_read_retry(const mmu_interval_notifier& subscription, u64 seq, site s = RW_HERE) {
  return READ_ONCE(subscription.invalidate_seq, s) != seq;
}
/// By `invalidate`, under the client's lock.
inline void mmu_interval_set_seq(mmu_interval_notifier& subscription, u64 seq, site s = RW_HERE) {
  WRITE_ONCE(subscription.invalidate_seq, seq, s);
}

// ---- notifying
// ----------------------------------------------------------------------------------------------

/// [start, end) of mm is being invalidated while this lives, from before the first entry changes until after
/// the last. No page-table lock is held at either end.
class mmu_notifier_invalidation {
 public:
  mmu_notifier_invalidation(mm_struct& mm, mmu_notifier_event event, vaddr_t start, vaddr_t end);
  ~mmu_notifier_invalidation();
  mmu_notifier_invalidation(const mmu_notifier_invalidation&) = delete;
  mmu_notifier_invalidation& operator=(const mmu_notifier_invalidation&) = delete;

 private:
  const mmu_notifier_range range_;
  const bool told_; ///< somebody subscribed when it began
};

/// Whether anybody subscribes. Registration excludes those who ask (mm_take_all_locks).
inline bool mm_has_notifiers(const mmu_notifier_subscriptions& subscriptions, site s = RW_HERE) {
  return READ_ONCE(subscriptions.list, s) != nullptr || READ_ONCE(subscriptions.intervals, s) != nullptr;
}

/// The machine's flush calls it (mm_context::flush_secondary_tlbs): the CPUs' TLBs have lost [start, end).
void mmu_notifier_arch_invalidate_secondary_tlbs(mm_struct& mm, vaddr_t start, vaddr_t end);

} // namespace racewalk::inline RACEWALK_BACKEND
