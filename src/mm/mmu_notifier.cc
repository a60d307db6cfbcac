#include "mm/mmu_notifier.h"

#include <cerrno>
#include <utility>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// A section in which subscriptions that are found stay, and in which this CPU is known to be in callbacks.
class callback_section {
 public:
  explicit callback_section(mmu_notifier_subscriptions& subscriptions)
      : subscriptions_(subscriptions), cpu_(smp_processor_id()), index_(srcu_read_lock(subscriptions.srcu)) {
    count(1);
  }
  ~callback_section() {
    count(-1);
    srcu_read_unlock(subscriptions_.srcu, index_);
  }
  callback_section(const callback_section&) = delete;
  callback_section& operator=(const callback_section&) = delete;

 private:
  void count(int by) {
    auto& mine = subscriptions_.in_callback[cpu_];
    WRITE_ONCE(mine, READ_ONCE(mine) + static_cast<u32>(by));
  }

  mmu_notifier_subscriptions& subscriptions_;
  const unsigned cpu_;
  const unsigned index_;
};

/// Would this CPU wait for itself?
bool in_callback(const mmu_notifier_subscriptions& subscriptions) {
  return READ_ONCE(subscriptions.in_callback[smp_processor_id()]) != 0;
}

/// Caller is in a callback_section, or keeps the list as it is.
template <class Subscription, class F> void for_each(const shared<Subscription*>& list, F&& visit) {
  // acquire: what the client has set up before it subscribed; pairs with link()
  for (Subscription* at = smp_load_acquire(list); at != nullptr; at = smp_load_acquire(at->next))
    visit(*at);
}

template <class Subscription> void link(shared<Subscription*>& list, Subscription& subscription) {
  WRITE_ONCE(subscription.next, READ_ONCE(list));
  smp_store_release(list, &subscription); // pairs with for_each()
}

/// Takes it out. It goes on leading to what comes after it, for those who are at it.
template <class Subscription> void unlink(shared<Subscription*>& list, Subscription& subscription) {
  shared<Subscription*>* at = &list;
  while (READ_ONCE(*at) != &subscription)
    at = &READ_ONCE(*at)->next;
  smp_store_release(*at, READ_ONCE(subscription.next)); // pairs with for_each()
}

/// Ends a subscription; nobody is in one of its callbacks, or comes to it, when this returns 0.
template <class Subscription>
int unsubscribe(shared<Subscription*> mmu_notifier_subscriptions::*list, Subscription& subscription) {
  if (subscription.mm == nullptr) return -EINVAL;
  mmu_notifier_subscriptions& subscriptions = subscription.mm->notifier_subscriptions;
  if (in_callback(subscriptions)) return -EDEADLK;
  {
    spin_guard lock(subscriptions.lock);
    unlink(subscriptions.*list, subscription);
  }
  synchronize_srcu(subscriptions.srcu);
  subscription.mm = nullptr;
  return 0;
}

bool overlap(const mmu_interval_notifier& interval, const mmu_notifier_range& range) {
  return interval.start < range.end && range.start < interval.end;
}

// ---- the sequence -----------------------------------------------------------------------------------------

/// A range begins to be invalidated. Returns the sequence that its callbacks set.
u64 invalidation_begins(mmu_notifier_subscriptions& subscriptions, const mmu_notifier_range& range) {
  spin_guard lock(subscriptions.lock);
  WRITE_ONCE(subscriptions.active_invalidate_ranges, READ_ONCE(subscriptions.active_invalidate_ranges) + 1);
  u64 seq = READ_ONCE(subscriptions.invalidate_seq);
  bool concerned = false;
  for_each(subscriptions.intervals, [&](mmu_interval_notifier& i) { concerned |= overlap(i, range); });
  if (concerned) WRITE_ONCE(subscriptions.invalidate_seq, seq |= 1);
  return seq;
}

/// A range has been invalidated. The sequence becomes even with the last one.
void invalidation_ends(mmu_notifier_subscriptions& subscriptions) {
  {
    spin_guard lock(subscriptions.lock);
    const s32 active = READ_ONCE(subscriptions.active_invalidate_ranges) - 1;
    if (active < 0) return; // it began when there was no interval, or its intervals have been removed
    WRITE_ONCE(subscriptions.active_invalidate_ranges, active);
    const u64 seq = READ_ONCE(subscriptions.invalidate_seq);
    if (active != 0 || (seq & 1) == 0) return;
    WRITE_ONCE(subscriptions.invalidate_seq, seq + 1);
  }
  wake_up_all(subscriptions.invalidate_seq); // pairs with wait_while() in mmu_interval_read_begin()
}

} // namespace

u64 mmu_interval_read_begin(mmu_interval_notifier& subscription) {
  mmu_notifier_subscriptions& subscriptions = subscription.mm->notifier_subscriptions;
  u64 seq;
  bool invalidating;
  {
    // The lock orders this with the beginning and the end of invalidations: either the callback that sets the
    // sequence comes later, and the retry sees it, or it is seen here that one is under way, or what it
    // changed is seen by whoever reads the page table now.
    spin_guard lock(subscriptions.lock);
    seq = READ_ONCE(subscription.invalidate_seq);
    invalidating = seq == READ_ONCE(subscriptions.invalidate_seq);
  }
  if (invalidating) wait_while(subscriptions.invalidate_seq, ~u64{0}, seq);
  return seq;
}

// ---- notifying
// ----------------------------------------------------------------------------------------------

mmu_notifier_invalidation::mmu_notifier_invalidation(mm_struct& mm, mmu_notifier_event event, vaddr_t start,
                                                     vaddr_t end)
    : range_{mm, event, start, end},
      told_(policy().notify_ranges && mm_has_notifiers(mm.notifier_subscriptions)) {
  if (!told_) return;
  mmu_notifier_subscriptions& subscriptions = mm.notifier_subscriptions;
  callback_section section(subscriptions);
  if (READ_ONCE(subscriptions.intervals) != nullptr) {
    const u64 seq = invalidation_begins(subscriptions, range_);
    for_each(subscriptions.intervals, [&](mmu_interval_notifier& i) {
      if (overlap(i, range_)) i.invalidate(i, range_, seq);
    });
  }
  for_each(subscriptions.list, [&](mmu_notifier& n) {
    if (n.ops->invalidate_range_start != nullptr) n.ops->invalidate_range_start(n, range_);
  });
}

mmu_notifier_invalidation::~mmu_notifier_invalidation() {
  if (!told_) return;
  mmu_notifier_subscriptions& subscriptions = range_.mm.notifier_subscriptions;
  callback_section section(subscriptions);
  for_each(subscriptions.list, [&](mmu_notifier& n) {
    if (n.ops->invalidate_range_end != nullptr) n.ops->invalidate_range_end(n, range_);
  });
  if (READ_ONCE(subscriptions.active_invalidate_ranges) != 0) invalidation_ends(subscriptions);
}

void mmu_notifier_arch_invalidate_secondary_tlbs(mm_struct& mm, vaddr_t start, vaddr_t end) {
  if (!mm_has_notifiers(mm.notifier_subscriptions)) return;
  callback_section section(mm.notifier_subscriptions);
  for_each(mm.notifier_subscriptions.list, [&](mmu_notifier& n) {
    if (n.ops->arch_invalidate_secondary_tlbs != nullptr)
      n.ops->arch_invalidate_secondary_tlbs(n, start, end);
  });
}

// ---- subscribing ------------------------------------------------------------------------------------------

namespace {

/// Every region's locks: no range of the mm is being invalidated (Linux's mm_take_all_locks).
class mm_all_locks {
 public:
  explicit mm_all_locks(mm_struct& mm) NO_THREAD_SAFETY_ANALYSIS : mm_(mm) { mm_.take_all_locks(); }
  ~mm_all_locks() NO_THREAD_SAFETY_ANALYSIS { mm_.drop_all_locks(); }
  mm_all_locks(const mm_all_locks&) = delete;
  mm_all_locks& operator=(const mm_all_locks&) = delete;

 private:
  mm_struct& mm_;
};

} // namespace

int mmu_notifier_register(mmu_notifier& subscription, mm_struct& mm) {
  const mmu_notifier_ops* ops = subscription.ops;
  if (ops == nullptr) return -EINVAL;
  const bool ranges = ops->invalidate_range_start != nullptr || ops->invalidate_range_end != nullptr;
  if (ranges && ops->arch_invalidate_secondary_tlbs != nullptr) return -EINVAL;
  if (subscription.mm != nullptr) return -EEXIST;
  mmu_notifier_subscriptions& subscriptions = mm.notifier_subscriptions;
  if (in_callback(subscriptions)) return -EDEADLK;
  mm_all_locks no_range(mm);
  spin_guard lock(subscriptions.lock);
  subscription.mm = &mm;
  link(subscriptions.list, subscription);
  return 0;
}

int mmu_notifier_unregister(mmu_notifier& subscription) {
  return unsubscribe(&mmu_notifier_subscriptions::list, subscription);
}

int mmu_notifier_put(mmu_notifier& subscription) {
  if (subscription.mm == nullptr) return -EINVAL;
  mmu_notifier_subscriptions& subscriptions = subscription.mm->notifier_subscriptions;
  spin_guard lock(subscriptions.lock);
  unlink(subscriptions.list, subscription);
  subscription.mm = nullptr;
  subscription.next_retired = subscriptions.retired;
  subscriptions.retired = &subscription;
  return 0;
}

namespace {

/// Nobody is at them any more.
void free_retired(mmu_notifier* retired) {
  while (retired != nullptr) {
    mmu_notifier& subscription = *retired;
    retired = subscription.next_retired;
    if (subscription.ops->free_notifier != nullptr) subscription.ops->free_notifier(subscription);
  }
}

mmu_notifier* take_retired(mmu_notifier_subscriptions& subscriptions) {
  spin_guard lock(subscriptions.lock);
  return std::exchange(subscriptions.retired, nullptr);
}

} // namespace

int mmu_notifier_synchronize(mm_struct& mm) {
  mmu_notifier_subscriptions& subscriptions = mm.notifier_subscriptions;
  if (in_callback(subscriptions)) return -EDEADLK;
  mmu_notifier* retired = take_retired(subscriptions);
  if (retired == nullptr) return 0;
  synchronize_srcu(subscriptions.srcu);
  free_retired(retired);
  return 0;
}

int mmu_interval_notifier_insert(mmu_interval_notifier& subscription, mm_struct& mm, vaddr_t start,
                                 u64 length) {
  const vaddr_t limit = geometry().address_limit();
  if (subscription.invalidate == nullptr || length == 0 || start >= limit || length > limit - start)
    return -EINVAL;
  if (subscription.mm != nullptr) return -EEXIST;
  mmu_notifier_subscriptions& subscriptions = mm.notifier_subscriptions;
  if (in_callback(subscriptions)) return -EDEADLK;
  mm_all_locks no_range(mm);
  spin_guard lock(subscriptions.lock);
  subscription.mm = &mm;
  subscription.start = start;
  subscription.end = start + length;
  // odd, and not that of an invalidation under way: there is none
  WRITE_ONCE(subscription.invalidate_seq, READ_ONCE(subscriptions.invalidate_seq) - 1);
  link(subscriptions.intervals, subscription);
  return 0;
}

int mmu_interval_notifier_remove(mmu_interval_notifier& subscription) {
  return unsubscribe(&mmu_notifier_subscriptions::intervals, subscription);
}

void mmu_notifier_release(mm_struct& mm) {
  mmu_notifier_subscriptions& subscriptions = mm.notifier_subscriptions;
  if (READ_ONCE(subscriptions.intervals) != nullptr) {
    const mmu_notifier_range everything{mm, mmu_notifier_event::release, 0, geometry().address_limit()};
    const u64 seq = invalidation_begins(subscriptions, everything);
    while (mmu_interval_notifier* interval = READ_ONCE(subscriptions.intervals)) {
      interval->invalidate(*interval, everything, seq);
      unlink(subscriptions.intervals, *interval);
      interval->mm = nullptr;
    }
    invalidation_ends(subscriptions);
  }
  while (mmu_notifier* subscription = READ_ONCE(subscriptions.list)) {
    unlink(subscriptions.list, *subscription);
    subscription->mm = nullptr;
    if (subscription->ops->release != nullptr) subscription->ops->release(*subscription);
  }
  free_retired(take_retired(subscriptions));
}

} // namespace racewalk::inline RACEWALK_BACKEND
