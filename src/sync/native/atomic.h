// Shared words and atomics, natively: a thin face over std::atomic with Linux's ordering rules.
//
// READ_ONCE/WRITE_ONCE are relaxed atomics; value-returning atomics are seq_cst; void atomics are relaxed,
// and smp_mb__before/after_atomic upgrade them. An address dependency needs nothing natively: dep_t is empty.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstring>
#include <type_traits>

#include "sync/types.h"

#if defined(__has_feature)
#define RACEWALK_HAS_TSAN __has_feature(thread_sanitizer)
#else
#define RACEWALK_HAS_TSAN 0
#endif

/// The default argument of a `site` parameter.
#define RW_HERE ::racewalk::site()

namespace racewalk::inline native {

/// Where in the source an access was asked for: the model's counterexamples name it. Empty natively.
struct site {};

/// The read that a value came from. Natively the hardware knows; nothing is stored.
struct dep_t {};

/// A variable that several CPUs access. Access it through the primitives below only.
template <class T> class shared {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);

 public:
  constexpr shared() : v_{} {}
  constexpr explicit shared(T v) : v_(v) {}
  shared(const shared&) = delete;
  shared& operator=(const shared&) = delete;

  std::atomic<T>& raw() { return v_; }
  const std::atomic<T>& raw() const { return v_; }

 private:
  std::atomic<T> v_;
};

/// A variable that a lock protects.
template <class T> class plain {
 public:
  constexpr plain() : v_{} {}
  constexpr explicit plain(T v) : v_(v) {}
  T get(site = {}) const { return v_; }
  void set(T v, site = {}) { v_ = v; }

 private:
  T v_;
};

/// A shared<T> reached through `dep`.
template <class T> class ref {
 public:
  ref(shared<T>& s) : s_(&s) {} // NOLINT(google-explicit-constructor): a variable is its own reference
  ref(shared<T>* s, dep_t) : s_(s) {}
  shared<T>* get() const { return s_; }
  dep_t dep() const { return {}; }
  std::atomic<T>& raw() const { return s_->raw(); }
  friend bool operator==(ref a, ref b) { return a.s_ == b.s_; }

 private:
  shared<T>* s_;
};

template <class T> struct dep_value {
  T value;
  [[no_unique_address]] dep_t dep;
};

using atomic_t = shared<s32>;
using atomic64_t = shared<s64>;
using word_t = shared<u64>; ///< an entry of a page table, a flags word

namespace detail {
template <class T> struct unwrap;
template <class T> struct unwrap<shared<T>> { using type = T; };
template <class T> struct unwrap<ref<T>> { using type = T; };
/// The value type behind a shared<T>& or a ref<T>.
template <class R> using value_of = typename unwrap<std::remove_cvref_t<R>>::type;
constexpr std::memory_order mo(order o) {
  switch (o) {
  case order::relaxed:
    return std::memory_order_relaxed;
  case order::acquire:
    return std::memory_order_acquire;
  case order::release:
    return std::memory_order_release;
  case order::full:
    break;
  }
  return std::memory_order_seq_cst;
}
} // namespace detail

// ---- single accesses -------------------------------------------------------------------------------------

namespace detail {
#if defined(__SANITIZE_THREAD__) || RACEWALK_HAS_TSAN
// ThreadSanitizer knows neither a fence before a store nor an address dependency after a load. With one order
// on both sides it sees that what was filled, published after smp_wmb() and found by read_dep() is no race.
inline constexpr std::memory_order store_once = std::memory_order_release;
inline constexpr std::memory_order dependency = std::memory_order_acquire;
#else
inline constexpr std::memory_order store_once = std::memory_order_relaxed;
// consume: an address dependency orders what follows on every architecture that C++ knows
inline constexpr std::memory_order dependency = std::memory_order_relaxed;
#endif
} // namespace detail

template <class R> auto READ_ONCE(const R& r, site = {}) { return r.raw().load(std::memory_order_relaxed); }
template <class R> void WRITE_ONCE(R&& r, detail::value_of<R> v, site = {}) {
  r.raw().store(v, detail::store_once);
}
template <class R> auto smp_load_acquire(const R& r, site = {}) {
  return r.raw().load(std::memory_order_acquire);
}
template <class R> void smp_store_release(R&& r, detail::value_of<R> v, site = {}) {
  r.raw().store(v, std::memory_order_release);
}
template <class R> dep_value<detail::value_of<R>> read_dep(const R& r, site = {}) {
  return {r.raw().load(detail::dependency), {}};
}

/// Copies to or from memory that others may use meanwhile, a byte at a time as far as they can tell.
inline void copy_relaxed(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__SANITIZE_THREAD__) || RACEWALK_HAS_TSAN
  for (std::size_t i = 0; i < bytes; ++i)
    __atomic_store_n(to + i, __atomic_load_n(from + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
#else
  std::memcpy(to, from, bytes);
#endif
}

// ---- fences ----------------------------------------------------------------------------------------------

#if defined(__SANITIZE_THREAD__) || RACEWALK_HAS_TSAN
// ThreadSanitizer does not know fences; an RMW on a common word gives it the same edges.
inline std::atomic<int> tsan_fence_word{0};
inline void smp_mb(site = {}) { tsan_fence_word.fetch_add(0, std::memory_order_seq_cst); }
inline void smp_wmb(site = {}) { smp_mb(); }
inline void smp_rmb(site = {}) { smp_mb(); }
#else
inline void smp_mb(site = {}) { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void smp_wmb(site = {}) { std::atomic_thread_fence(std::memory_order_release); }
inline void smp_rmb(site = {}) { std::atomic_thread_fence(std::memory_order_acquire); }
#endif
inline void smp_mb__before_atomic(site = {}) { smp_mb(); }
inline void smp_mb__after_atomic(site = {}) { smp_mb(); }
/// Compiler barrier.
inline void barrier() { std::atomic_signal_fence(std::memory_order_seq_cst); }

// ---- read-modify-write -----------------------------------------------------------------------------------

template <class R> auto xchg(R&& r, detail::value_of<R> v, order o = order::full, site = {}) {
  return r.raw().exchange(v, detail::mo(o));
}
/// Stores `desired` if the value is `expected`; a failed one updates `expected` and orders nothing.
template <class R>
bool try_cmpxchg(R&& r, detail::value_of<R>& expected, detail::value_of<R> desired, order o = order::full,
                 site = {}) {
  return r.raw().compare_exchange_strong(expected, desired, detail::mo(o), std::memory_order_relaxed);
}
template <class R>
auto cmpxchg(R&& r, detail::value_of<R> expected, detail::value_of<R> desired, order o = order::full,
             site = {}) {
  try_cmpxchg(r, expected, desired, o);
  return expected;
}

template <class R> auto atomic_read(const R& r, site = {}) { return READ_ONCE(r); }
template <class R> void atomic_set(R&& r, detail::value_of<R> v, site = {}) { WRITE_ONCE(r, v); }
template <class R> auto atomic_fetch_add(R&& r, detail::value_of<R> n, order o = order::full, site = {}) {
  return r.raw().fetch_add(n, detail::mo(o));
}
template <class R> auto atomic_fetch_or(R&& r, detail::value_of<R> n, order o = order::full, site = {}) {
  return r.raw().fetch_or(n, detail::mo(o));
}
template <class R> auto atomic_fetch_and(R&& r, detail::value_of<R> n, order o = order::full, site = {}) {
  return r.raw().fetch_and(n, detail::mo(o));
}
template <class R> void atomic_add(R&& r, detail::value_of<R> n, site = {}) {
  r.raw().fetch_add(n, std::memory_order_relaxed);
}
template <class R> void atomic_sub(R&& r, detail::value_of<R> n, site = {}) {
  r.raw().fetch_sub(n, std::memory_order_relaxed);
}
template <class R> void atomic_inc(R&& r, site = {}) { atomic_add(r, 1); }
template <class R> void atomic_dec(R&& r, site = {}) { atomic_sub(r, 1); }
template <class R> void atomic_or(R&& r, detail::value_of<R> n, site = {}) {
  r.raw().fetch_or(n, std::memory_order_relaxed);
}
template <class R> void atomic_and(R&& r, detail::value_of<R> n, site = {}) {
  r.raw().fetch_and(n, std::memory_order_relaxed);
}
template <class R> auto atomic_add_return(R&& r, detail::value_of<R> n, order o = order::full, site = {}) {
  return static_cast<detail::value_of<R>>(r.raw().fetch_add(n, detail::mo(o)) + n);
}
template <class R> auto atomic_sub_return(R&& r, detail::value_of<R> n, order o = order::full, site = {}) {
  return static_cast<detail::value_of<R>>(r.raw().fetch_sub(n, detail::mo(o)) - n);
}
template <class R> auto atomic_inc_return(R&& r, order o = order::full, site = {}) {
  return atomic_add_return(r, 1, o);
}
template <class R> auto atomic_dec_return(R&& r, order o = order::full, site = {}) {
  return atomic_sub_return(r, 1, o);
}
template <class R> bool atomic_sub_and_test(R&& r, detail::value_of<R> n, site = {}) {
  return atomic_sub_return(r, n) == 0;
}
template <class R> bool atomic_dec_and_test(R&& r, site = {}) { return atomic_sub_and_test(r, 1); }
/// Adds `n` unless the value is `unless`; true if it added.
template <class R>
bool atomic_add_unless(R&& r, detail::value_of<R> n, detail::value_of<R> unless, site = {}) {
  auto v = READ_ONCE(r);
  while (v != unless)
    if (try_cmpxchg(r, v, static_cast<detail::value_of<R>>(v + n))) return true;
  return false;
}
template <class R> bool atomic_inc_not_zero(R&& r, site = {}) { return atomic_add_unless(r, 1, 0); }
/// Adds `n` if the value is positive (0: frozen or free; negative: overflowed); true if it added.
template <class R> bool atomic_add_positive(R&& r, detail::value_of<R> n, site = {}) {
  auto v = READ_ONCE(r);
  while (v > 0)
    if (try_cmpxchg(r, v, static_cast<detail::value_of<R>>(v + n))) return true;
  return false;
}

// ---- bits of a flags word --------------------------------------------------------------------------------

inline constexpr u64 BIT(unsigned nr) { return u64{1} << nr; }
inline bool test_bit(unsigned nr, const word_t& w, site = {}) { return (READ_ONCE(w) & BIT(nr)) != 0; }
inline void set_bit(unsigned nr, word_t& w, site = {}) { atomic_or(w, BIT(nr)); }
inline void clear_bit(unsigned nr, word_t& w, site = {}) { atomic_and(w, ~BIT(nr)); }
inline bool test_and_set_bit(unsigned nr, word_t& w, site = {}) {
  return (atomic_fetch_or(w, BIT(nr)) & BIT(nr)) != 0;
}
inline bool test_and_clear_bit(unsigned nr, word_t& w, site = {}) {
  return (atomic_fetch_and(w, ~BIT(nr)) & BIT(nr)) != 0;
}
inline bool test_and_set_bit_lock(unsigned nr, word_t& w, site = {}) {
  return (atomic_fetch_or(w, BIT(nr), order::acquire) & BIT(nr)) != 0;
}
inline void clear_bit_unlock(unsigned nr, word_t& w, site = {}) {
  atomic_fetch_and(w, ~BIT(nr), order::release);
}

} // namespace racewalk::inline native
