// Locks, and waiting for a word to change.
//
// The uncontended paths are one atomic operation and inline; the contended ones are in lock.cc and sleep in
// the kernel through std::atomic::wait, except the spinlock's, which spins and then yields: a machine may
// have fewer processors than CPUs.
//
// Lock order is documented with the mm (M42); clang's thread-safety analysis checks who holds what.
#pragma once

#include <algorithm>

#include "sync/annotations.h"
#include "sync/native/atomic.h"

namespace racewalk::inline native {

/// Tells the processor that this is a spin loop.
inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Spins a while, then yields the processor: whoever is waited for may not be running.
class spin_wait {
 public:
  void once();

 private:
  unsigned spins_ = 0;
};

// ---- spinlock --------------------------------------------------------------------------------------------

class CAPABILITY("spinlock") spinlock_t {
 public:
  constexpr spinlock_t() = default;
  spinlock_t(const spinlock_t&) = delete;
  spinlock_t& operator=(const spinlock_t&) = delete;

  std::atomic<u32> held{0};
};

namespace detail {
void spin_lock_contended(spinlock_t& l);
}

inline bool spin_trylock(spinlock_t& l, site = {}) TRY_ACQUIRE(true, l) NO_THREAD_SAFETY_ANALYSIS {
  return l.held.load(std::memory_order_relaxed) == 0 && l.held.exchange(1, std::memory_order_acquire) == 0;
}
inline void spin_lock(spinlock_t& l, site = {}) ACQUIRE(l) NO_THREAD_SAFETY_ANALYSIS {
  if (l.held.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
    detail::spin_lock_contended(l);
}
inline void spin_unlock(spinlock_t& l, site = {}) RELEASE(l) NO_THREAD_SAFETY_ANALYSIS {
  l.held.store(0, std::memory_order_release);
}

class SCOPED_CAPABILITY spin_guard {
 public:
  explicit spin_guard(spinlock_t& l, site = {}) ACQUIRE(l) : l_(l) { spin_lock(l); }
  ~spin_guard() RELEASE() { spin_unlock(l_); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;

 private:
  spinlock_t& l_;
};

// ---- mutex -----------------------------------------------------------------------------------------------

class CAPABILITY("mutex") mutex_t {
 public:
  constexpr mutex_t() = default;
  mutex_t(const mutex_t&) = delete;
  mutex_t& operator=(const mutex_t&) = delete;

  static constexpr u32 FREE = 0, HELD = 1, HELD_WITH_WAITERS = 2;
  std::atomic<u32> state{FREE};
};

namespace detail {
void mutex_lock_contended(mutex_t& m);
}

inline bool mutex_trylock(mutex_t& m, site = {}) TRY_ACQUIRE(true, m) NO_THREAD_SAFETY_ANALYSIS {
  u32 expected = mutex_t::FREE;
  return m.state.compare_exchange_strong(expected, mutex_t::HELD, std::memory_order_acquire,
                                         std::memory_order_relaxed);
}
inline void mutex_lock(mutex_t& m, site = {}) ACQUIRE(m) NO_THREAD_SAFETY_ANALYSIS {
  if (!mutex_trylock(m)) [[unlikely]]
    detail::mutex_lock_contended(m);
}
inline void mutex_unlock(mutex_t& m, site = {}) RELEASE(m) NO_THREAD_SAFETY_ANALYSIS {
  if (m.state.exchange(mutex_t::FREE, std::memory_order_release) == mutex_t::HELD_WITH_WAITERS) [[unlikely]]
    m.state.notify_one();
}

// ---- rwsem -----------------------------------------------------------------------------------------------

/// Many readers or one writer. A waiting writer keeps new readers out, so it is never starved.
class CAPABILITY("rwsem") rwsem_t {
 public:
  constexpr rwsem_t() = default;
  rwsem_t(const rwsem_t&) = delete;
  rwsem_t& operator=(const rwsem_t&) = delete;

  static constexpr u32 WRITER = 1U << 31;         ///< held for writing
  static constexpr u32 WRITER_WAITING = 1U << 30; ///< keeps readers out
  static constexpr u32 READER_WAITING = 1U << 29;
  static constexpr u32 WAITING = WRITER_WAITING | READER_WAITING;
  static constexpr u32 READERS = READER_WAITING - 1; ///< how many hold it for reading
  std::atomic<u32> state{0};
};

namespace detail {
void down_read_contended(rwsem_t& r);
void down_write_contended(rwsem_t& r);
void rwsem_wake(rwsem_t& r);
} // namespace detail

inline bool down_read_trylock(rwsem_t& r, site = {}) TRY_ACQUIRE_SHARED(true, r) NO_THREAD_SAFETY_ANALYSIS {
  u32 s = r.state.load(std::memory_order_relaxed);
  while (!(s & (rwsem_t::WRITER | rwsem_t::WRITER_WAITING)))
    if (r.state.compare_exchange_weak(s, s + 1, std::memory_order_acquire, std::memory_order_relaxed))
      return true;
  return false;
}
inline void down_read(rwsem_t& r, site = {}) ACQUIRE_SHARED(r) NO_THREAD_SAFETY_ANALYSIS {
  if (!down_read_trylock(r)) [[unlikely]]
    detail::down_read_contended(r);
}
inline void up_read(rwsem_t& r, site = {}) RELEASE_SHARED(r) NO_THREAD_SAFETY_ANALYSIS {
  u32 s = r.state.fetch_sub(1, std::memory_order_release) - 1;
  if ((s & rwsem_t::READERS) == 0 && (s & rwsem_t::WAITING)) [[unlikely]]
    detail::rwsem_wake(r);
}
inline bool down_write_trylock(rwsem_t& r, site = {}) TRY_ACQUIRE(true, r) NO_THREAD_SAFETY_ANALYSIS {
  u32 expected = 0;
  return r.state.compare_exchange_strong(expected, rwsem_t::WRITER, std::memory_order_acquire,
                                         std::memory_order_relaxed);
}
inline void down_write(rwsem_t& r, site = {}) ACQUIRE(r) NO_THREAD_SAFETY_ANALYSIS {
  if (!down_write_trylock(r)) [[unlikely]]
    detail::down_write_contended(r);
}
inline void up_write(rwsem_t& r, site = {}) RELEASE(r) NO_THREAD_SAFETY_ANALYSIS {
  if (r.state.fetch_and(~rwsem_t::WRITER, std::memory_order_release) & rwsem_t::WAITING) [[unlikely]]
    detail::rwsem_wake(r);
}
/// From writer to reader, with no moment in between at which another could write.
inline void downgrade_write(rwsem_t& r, site = {}) NO_THREAD_SAFETY_ANALYSIS {
  if (r.state.fetch_sub(rwsem_t::WRITER - 1, std::memory_order_release) & rwsem_t::WAITING) [[unlikely]]
    detail::rwsem_wake(r);
}

class SCOPED_CAPABILITY read_guard {
 public:
  explicit read_guard(rwsem_t& r, site = {}) ACQUIRE_SHARED(r) : r_(r) { down_read(r); }
  ~read_guard() RELEASE() { up_read(r_); }
  read_guard(const read_guard&) = delete;
  read_guard& operator=(const read_guard&) = delete;

 private:
  rwsem_t& r_;
};

class SCOPED_CAPABILITY write_guard {
 public:
  explicit write_guard(rwsem_t& r, site = {}) ACQUIRE(r) : r_(r) { down_write(r); }
  ~write_guard() RELEASE() { up_write(r_); }
  write_guard(const write_guard&) = delete;
  write_guard& operator=(const write_guard&) = delete;

 private:
  rwsem_t& r_;
};

// ---- waiting for a word ----------------------------------------------------------------------------------

namespace detail {
/// Sleepers of all words that hash to it. `changes` counts wake-ups, so that one between a sleeper's look at
/// its word and its sleep is not lost.
struct alignas(64) wait_queue {
  std::atomic<u32> sleepers{0};
  std::atomic<u32> changes{0};
};
wait_queue& wait_queue_of(const void* word);
/// Sleeps unless `changes` is another number by now; may wake for no reason.
void sleep_on(wait_queue& q, u32 changes);
void wake_sleepers(wait_queue& q);

/// How often a thread looks at a word before it sleeps. Whoever is to change it may be running: to be told by
/// the word then saves both sides a call of the host's kernel. So the more often that has been so, the longer
/// the next look; one in vain is shorter the next time.
class spin_before_sleep {
 public:
  /// Lets some time pass, unless it has been enough.
  bool once() {
    if (left_ == 0) {
      budget_ = std::max(LEAST, budget_ / 2);
      return false;
    }
    --left_;
    cpu_relax();
    return true;
  }
  /// The word has changed.
  void paid() { budget_ = std::min(MOST, budget_ * 2); }

 private:
  static constexpr u32 LEAST = 16;
  static constexpr u32 MOST = 512; // some ten microseconds
  inline static constinit thread_local u32 budget_ = MOST;
  u32 left_ = budget_;
};
} // namespace detail

/// Sleeps while (READ_ONCE(r) & mask) == v; returns the value seen (acquire).
template <class R> auto wait_while(const R& r, detail::value_of<R> mask, detail::value_of<R> v, site = {}) {
  auto seen = smp_load_acquire(r);
  if ((seen & mask) != v) return seen;
  for (detail::spin_before_sleep spin; spin.once();) {
    seen = smp_load_acquire(r);
    if ((seen & mask) == v) continue;
    spin.paid();
    return seen;
  }
  detail::wait_queue& q = detail::wait_queue_of(&r.raw());
  q.sleepers.fetch_add(1, std::memory_order_relaxed);
  smp_mb(); // pairs with wake_up_all(): it sees a sleeper, or the sleeper sees the change
  for (;;) {
    u32 changes = q.changes.load(std::memory_order_acquire);
    seen = smp_load_acquire(r);
    if ((seen & mask) != v) break;
    detail::sleep_on(q, changes);
  }
  q.sleepers.fetch_sub(1, std::memory_order_relaxed);
  return seen;
}
/// Spins until (READ_ONCE(r) & mask) == v; returns the value seen (acquire).
template <class R>
auto smp_cond_load_acquire(const R& r, detail::value_of<R> mask, detail::value_of<R> v, site = {}) {
  for (;;) {
    const auto seen = smp_load_acquire(r);
    if ((seen & mask) == v) return seen;
    cpu_relax();
  }
}
/// Wakes the sleepers of wait_while(); comes after the change.
template <class R> void wake_up_all(R&& r, site = {}) {
  smp_mb(); // pairs with wait_while()
  detail::wait_queue& q = detail::wait_queue_of(&r.raw());
  if (q.sleepers.load(std::memory_order_relaxed) == 0) return;
  q.changes.fetch_add(1, std::memory_order_release);
  detail::wake_sleepers(q);
}

} // namespace racewalk::inline native
