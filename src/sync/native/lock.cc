// The contended paths of the locks.
#include "sync/native/lock.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace racewalk::inline native {

void spin_wait::once() {
  constexpr unsigned SPINS_BEFORE_YIELD = 64; // a few microseconds
  if (++spins_ <= SPINS_BEFORE_YIELD)
    cpu_relax();
  else
    sched_yield();
}

namespace detail {

void spin_lock_contended(spinlock_t& l) NO_THREAD_SAFETY_ANALYSIS {
  spin_wait wait;
  do
    wait.once();
  while (!spin_trylock(l));
}

// The state says that there may be waiters before anyone sleeps, and whoever slept takes the mutex in that
// state: it cannot know whether it was the last.
void mutex_lock_contended(mutex_t& m) {
  while (m.state.exchange(mutex_t::HELD_WITH_WAITERS, std::memory_order_acquire) != mutex_t::FREE)
    m.state.wait(mutex_t::HELD_WITH_WAITERS, std::memory_order_relaxed);
}

// A waiter sets its bit and sleeps while the state is what it has set. Whoever makes the semaphore free for
// someone clears the bits and wakes all; who loses the race sets its bit again.

void down_read_contended(rwsem_t& r) {
  u32 s = r.state.load(std::memory_order_relaxed);
  for (;;) {
    if (!(s & (rwsem_t::WRITER | rwsem_t::WRITER_WAITING))) {
      if (r.state.compare_exchange_weak(s, s + 1, std::memory_order_acquire, std::memory_order_relaxed))
        return;
      continue;
    }
    u32 waiting = s | rwsem_t::READER_WAITING;
    if (s != waiting && !r.state.compare_exchange_weak(s, waiting, std::memory_order_relaxed)) continue;
    r.state.wait(waiting, std::memory_order_relaxed);
    s = r.state.load(std::memory_order_relaxed);
  }
}

void down_write_contended(rwsem_t& r) {
  u32 s = r.state.load(std::memory_order_relaxed);
  for (;;) {
    if (!(s & (rwsem_t::WRITER | rwsem_t::READERS))) {
      // the bits of others who wait stay: they are woken when this writer is done
      if (r.state.compare_exchange_weak(s, s | rwsem_t::WRITER, std::memory_order_acquire,
                                        std::memory_order_relaxed))
        return;
      continue;
    }
    u32 waiting = s | rwsem_t::WRITER_WAITING;
    if (s != waiting && !r.state.compare_exchange_weak(s, waiting, std::memory_order_relaxed)) continue;
    r.state.wait(waiting, std::memory_order_relaxed);
    s = r.state.load(std::memory_order_relaxed);
  }
}

void rwsem_wake(rwsem_t& r) {
  r.state.fetch_and(~rwsem_t::WAITING, std::memory_order_relaxed);
  r.state.notify_all();
}

// Not by std::atomic's wait(), which yields the processor a few times first: with others waiting for it that
// costs more than the sleep.
void sleep_on(wait_queue& q, u32 changes) {
  static_assert(sizeof q.changes == sizeof(u32));
  (void)syscall(SYS_futex, &q.changes, FUTEX_WAIT_PRIVATE, changes, nullptr, nullptr, 0);
}
void wake_sleepers(wait_queue& q) {
  (void)syscall(SYS_futex, &q.changes, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

wait_queue& wait_queue_of(const void* word) {
  static wait_queue queues[256];
  auto hash = (reinterpret_cast<std::uintptr_t>(word) >> 3) * 0x9e3779b97f4a7c15;
  return queues[hash >> 56];
}

} // namespace detail

} // namespace racewalk::inline native
