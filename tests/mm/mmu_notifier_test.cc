// MMU notifiers: who subscribes hears of every change before and after it, and of nothing once it has
// unsubscribed; what cannot be is refused as in Linux.
#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

#include "mm/mmu_notifier.h"
#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

/// A client that counts what it hears.
struct Listener : mmu_notifier {
  explicit Listener(const mmu_notifier_ops& how) { ops = &how; }

  std::atomic<int> starts{0};
  std::atomic<int> ends{0};
  std::atomic<int> flushes{0};
  int releases = 0;
  int frees = 0;
  vaddr_t start = 0;
  vaddr_t end = 0;
  mmu_notifier_event event{};
  std::function<void()> at_start; ///< run inside the callback
};

Listener& of(mmu_notifier& n) { return static_cast<Listener&>(n); }

const mmu_notifier_ops shadow_ops{
    .invalidate_range_start =
        [](mmu_notifier& n, const mmu_notifier_range& range) {
          of(n).starts++;
          of(n).start = range.start;
          of(n).end = range.end;
          of(n).event = range.event;
          if (of(n).at_start) of(n).at_start();
        },
    .invalidate_range_end = [](mmu_notifier& n, const mmu_notifier_range&) { of(n).ends++; },
    .arch_invalidate_secondary_tlbs = nullptr,
    .release = [](mmu_notifier& n) { of(n).releases++; },
    .free_notifier = [](mmu_notifier& n) { of(n).frees++; },
};
const mmu_notifier_ops shared_ops{
    .invalidate_range_start = nullptr,
    .invalidate_range_end = nullptr,
    .arch_invalidate_secondary_tlbs =
        [](mmu_notifier& n, vaddr_t start, vaddr_t end) {
          of(n).flushes++;
          of(n).start = start;
          of(n).end = end;
        },
    .release = nullptr,
    .free_notifier = nullptr,
};

class MmuNotifier : public World {
 protected:
  vaddr_t touched(u64 bytes) {
    const vaddr_t at = map(bytes);
    for (vaddr_t a = at; a < at + bytes; a += PAGE_SIZE)
      touch(a);
    return at;
  }
  void expect_heard(const Listener& l, mmu_notifier_event event, vaddr_t start, vaddr_t end) {
    EXPECT_EQ(l.starts, 1);
    EXPECT_EQ(l.ends, 1);
    EXPECT_EQ(l.event, event);
    EXPECT_LE(l.start, start);
    EXPECT_GE(l.end, end);
  }
};

TEST_F(MmuNotifier, AnUnmapIsToldBeforeTheMemoryGoesAndAfter) {
  const vaddr_t at = touched(2 * PAGE_SIZE);
  Listener l(shadow_ops);
  bool readable_at_start = false;
  l.at_start = [&] {
    EXPECT_EQ(l.ends, 0);
    readable_at_start = pte_present(ptep_get(pte_offset(pmdp_get(find_pmd(mm, at).pmdp), at)));
  };
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  EXPECT_EQ(vm_munmap(mm, at, 2 * PAGE_SIZE), 0);
  expect_heard(l, mmu_notifier_event::unmap, at, at + 2 * PAGE_SIZE);
  EXPECT_TRUE(readable_at_start);
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
}

TEST_F(MmuNotifier, AProtectionIsTold) {
  const vaddr_t at = touched(PAGE_SIZE);
  Listener l(shadow_ops);
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  expect_heard(l, mmu_notifier_event::protection_vma, at, at + PAGE_SIZE);
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
}

TEST_F(MmuNotifier, ACollapseIsTold) {
  const vaddr_t at = touched(2 * MIB);
  Listener l(shadow_ops);
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  EXPECT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), 0);
  expect_heard(l, mmu_notifier_event::clear, at, at + 2 * MIB);
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
}

TEST_F(MmuNotifier, AFlushOfTheCpusIsToldToWhoSharesTheirTables) {
  const vaddr_t at = touched(PAGE_SIZE);
  Listener l(shared_ops);
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(l.flushes, 1);
  EXPECT_LE(l.start, at);
  EXPECT_GE(l.end, at + PAGE_SIZE);
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
  EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  EXPECT_EQ(l.flushes, 1) << "after it has unsubscribed";
}

TEST_F(MmuNotifier, WhatCannotBeIsRefused) {
  Listener none(shared_ops);
  none.ops = nullptr;
  EXPECT_EQ(mmu_notifier_register(none, mm), -EINVAL);
  mmu_notifier_ops both = shadow_ops;
  both.arch_invalidate_secondary_tlbs = shared_ops.arch_invalidate_secondary_tlbs;
  Listener mixed(both);
  EXPECT_EQ(mmu_notifier_register(mixed, mm), -EINVAL);
  Listener l(shadow_ops);
  EXPECT_EQ(mmu_notifier_unregister(l), -EINVAL);
  EXPECT_EQ(mmu_notifier_put(l), -EINVAL);
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  EXPECT_EQ(mmu_notifier_register(l, mm), -EEXIST);
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
  EXPECT_EQ(mmu_notifier_unregister(l), -EINVAL);
}

TEST_F(MmuNotifier, InsideACallbackItCannotWaitForItself) {
  const vaddr_t at = touched(2 * PAGE_SIZE);
  Listener l(shadow_ops);
  Listener other(shadow_ops);
  int unregistered = 0;
  int registered = 0;
  int synchronized = 0;
  int put = -1;
  l.at_start = [&] {
    unregistered = mmu_notifier_unregister(l);
    registered = mmu_notifier_register(other, mm);
    put = mmu_notifier_put(l);
    synchronized = mmu_notifier_synchronize(mm);
  };
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  EXPECT_EQ(unregistered, -EDEADLK);
  EXPECT_EQ(registered, -EDEADLK);
  EXPECT_EQ(synchronized, -EDEADLK);
  EXPECT_EQ(put, 0);
  EXPECT_EQ(l.starts, 1);
  EXPECT_EQ(l.ends, 0) << "it had unsubscribed by then";
  EXPECT_EQ(vm_munmap(mm, at + PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(l.starts, 1);
  EXPECT_EQ(l.frees, 0);
  EXPECT_EQ(mmu_notifier_synchronize(mm), 0);
  EXPECT_EQ(l.frees, 1);
}

TEST_F(MmuNotifier, UnsubscribingWaitsForTheCallbacksUnderWay) {
  const vaddr_t at = touched(PAGE_SIZE);
  Listener l(shadow_ops);
  std::atomic<bool> entered{false};
  std::atomic<bool> leaving{false};
  l.at_start = [&] {
    entered = true;
    for (int i = 0; i < 50; ++i)
      std::this_thread::yield();
    leaving = true;
  };
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  std::thread other([&] {
    CpuSession session(system, 1, space);
    EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  });
  while (!entered)
    std::this_thread::yield();
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
  EXPECT_TRUE(leaving);
  other.join();
}

TEST_F(MmuNotifier, WhenTheMmGoesEverybodyHearsIt) {
  Listener l(shadow_ops);
  Listener put(shadow_ops);
  {
    AddressSpace brief(system);
    ASSERT_EQ(mmu_notifier_register(l, brief.mm()), 0);
    ASSERT_EQ(mmu_notifier_register(put, brief.mm()), 0);
    ASSERT_EQ(mmu_notifier_put(put), 0);
  }
  EXPECT_EQ(l.releases, 1);
  EXPECT_EQ(l.mm, nullptr);
  EXPECT_EQ(put.releases, 0);
  EXPECT_EQ(put.frees, 1);
}

TEST_F(MmuNotifier, StartsAndEndsComeInPairsWhileOthersSubscribe) {
  Listener steady(shadow_ops);
  ASSERT_EQ(mmu_notifier_register(steady, mm), 0);
  std::atomic<bool> over{false};
  std::thread churn([&] {
    CpuSession session(system, 1, space);
    while (!over) {
      const vaddr_t at = space.mmap(PAGE_SIZE).value();
      EXPECT_TRUE(session->store<u64>(at, 1).ok());
      EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
    }
  });
  for (int i = 0; i < 200; ++i) {
    Listener brief(shadow_ops);
    ASSERT_EQ(mmu_notifier_register(brief, mm), 0);
    touched(PAGE_SIZE);
    ASSERT_EQ(mmu_notifier_unregister(brief), 0);
    EXPECT_LE(brief.ends, brief.starts);
  }
  over = true;
  churn.join();
  EXPECT_EQ(mmu_notifier_unregister(steady), 0);
  EXPECT_EQ(steady.starts, steady.ends);
}

// ---- intervals
// ----------------------------------------------------------------------------------------------

struct Interval : mmu_interval_notifier {
  Interval() {
    invalidate = [](mmu_interval_notifier& n, const mmu_notifier_range&, u64 seq) {
      auto& self = static_cast<Interval&>(n);
      spin_guard guard(self.lock);
      mmu_interval_set_seq(n, seq);
      ++self.heard;
      if (self.at_invalidate) self.at_invalidate();
    };
  }
  bool retry(u64 seq) {
    spin_guard guard(lock);
    return mmu_interval_read_retry(*this, seq);
  }
  spinlock_t lock;
  int heard = 0;
  std::function<void()> at_invalidate;
};

TEST_F(MmuNotifier, AnIntervalHearsOfItsRangeOnly) {
  const vaddr_t at = touched(3 * PAGE_SIZE);
  Interval n;
  EXPECT_EQ(mmu_interval_notifier_remove(n), -EINVAL);
  EXPECT_EQ(mmu_interval_notifier_insert(n, mm, at, 0), -EINVAL);
  EXPECT_EQ(mmu_interval_notifier_insert(n, mm, at, ~u64{0}), -EINVAL);
  ASSERT_EQ(mmu_interval_notifier_insert(n, mm, at + PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(mmu_interval_notifier_insert(n, mm, at, PAGE_SIZE), -EEXIST);

  u64 seq = mmu_interval_read_begin(n);
  EXPECT_FALSE(n.retry(seq));
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(vm_mprotect(mm, at + 2 * PAGE_SIZE, PAGE_SIZE, PROT_READ), 0);
  EXPECT_FALSE(n.retry(seq));
  EXPECT_EQ(n.heard, 0);
  EXPECT_EQ(vm_mprotect(mm, at + PAGE_SIZE, PAGE_SIZE, PROT_READ), 0);
  EXPECT_TRUE(n.retry(seq));
  EXPECT_EQ(n.heard, 1);
  seq = mmu_interval_read_begin(n);
  EXPECT_FALSE(n.retry(seq));

  EXPECT_EQ(mmu_interval_notifier_remove(n), 0);
  EXPECT_EQ(vm_munmap(mm, at, 3 * PAGE_SIZE), 0);
  EXPECT_EQ(n.heard, 1);
}

TEST_F(MmuNotifier, AReadWaitsForTheInvalidationUnderWay) {
  const vaddr_t at = touched(PAGE_SIZE);
  Interval n;
  Listener l(shadow_ops);
  std::atomic<bool> begun{false};
  l.at_start = [&] { // after the interval was told
    begun = true;
    for (int i = 0; i < 50; ++i)
      std::this_thread::yield();
  };
  ASSERT_EQ(mmu_interval_notifier_insert(n, mm, at, PAGE_SIZE), 0);
  ASSERT_EQ(mmu_notifier_register(l, mm), 0);
  std::thread other([&] {
    CpuSession session(system, 1, space);
    EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  });
  while (!begun)
    std::this_thread::yield();
  const u64 seq = mmu_interval_read_begin(n);
  EXPECT_EQ(l.ends, 1);
  EXPECT_FALSE(n.retry(seq));
  other.join();
  EXPECT_EQ(mmu_interval_notifier_remove(n), 0);
  EXPECT_EQ(mmu_notifier_unregister(l), 0);
}

} // namespace
} // namespace racewalk::test
