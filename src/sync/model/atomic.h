// Shared words and atomics of the model backend: each primitive is an event of the current engine.
//
// Without an engine (set-up) a primitive acts on the storage, which holds the initial values. Orderings are
// those of sync.h; what they mean is the memory model's business (explore/consistency.h).
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "sync/model/engine.h"

namespace racewalk::inline model {

/// A variable that several CPUs access. Access it through the primitives below only.
template <class T> class shared {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);

 public:
  constexpr shared() : v_{} {}
  constexpr explicit shared(T v) : v_(v) {}
  shared(const shared&) = delete;
  shared& operator=(const shared&) = delete;

  T& storage() const { return v_; }

 private:
  mutable T v_;
};

template <class T> class ref {
 public:
  ref(shared<T>& s) : s_(&s) {} // NOLINT(google-explicit-constructor): a variable is its own reference
  ref(shared<T>* s, dep_t dep) : s_(s), dep_(dep) {}
  shared<T>* get() const { return s_; }
  dep_t dep() const { return dep_; }
  T& storage() const { return s_->storage(); } // NOLINT(clang-analyzer-core.CallAndMessage): not if null
  friend bool operator==(ref a, ref b) { return a.s_ == b.s_; }

 private:
  shared<T>* s_;
  dep_t dep_;
};

template <class T> struct dep_value {
  T value;
  dep_t dep;
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

template <class T> u64 to_bits(T v) {
  u64 bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  return bits;
}
template <class T> T from_bits(u64 bits) {
  T v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

template <class T> const shared<T>* address(const shared<T>& s) { return &s; }
template <class T> const shared<T>* address(const ref<T>& r) { return r.get(); }
template <class T> dep_t dependency(const shared<T>&) { return {}; }
template <class T> dep_t dependency(const ref<T>& r) { return r.dep(); }

template <class R> access access_of(const R& r, order o, site s, bool is_plain = false) {
  return {address(r), sizeof(value_of<R>), o, is_plain, dependency(r), s};
}

/// Interrupts that are pending for this CPU are taken here if it lets them.
void interruptible_point(site s);
/// The same before an access that others or handlers can notice: before any other it makes no difference.
void interruptible_point_before(const access& a);

/// The variable's own storage, which is what there is without an engine.
template <class R> auto& storage_of(const R& r, site s) {
  if (stray_access) [[unlikely]]
    stray_access(s);
  return r.storage();
}

template <class R> value_of<R> do_read(const R& r, order o, site s) {
  if (!current_engine) return storage_of(r, s);
  const access a = access_of(r, o, s);
  interruptible_point_before(a);
  return from_bits<value_of<R>>(current_engine->read(a));
}
template <class R> void do_write(const R& r, value_of<R> v, order o, site s) {
  if (!current_engine) {
    storage_of(r, s) = v;
    return;
  }
  const access a = access_of(r, o, s);
  interruptible_point_before(a);
  current_engine->write(a, to_bits(v));
}
template <class R> rmw_result do_rmw(const R& r, const rmw_op& op, order o, site s) {
  using T = value_of<R>;
  if (!current_engine) {
    T& storage = storage_of(r, s);
    u64 old = to_bits(storage);
    u64 now = 0;
    bool done = apply(op, sizeof(T), old, &now);
    if (done) storage = from_bits<T>(now);
    return {old, done};
  }
  const access a = access_of(r, o, s);
  interruptible_point_before(a);
  return current_engine->rmw(a, op);
}
void do_fence(fence_kind k, site s);
} // namespace detail

/// A variable that a lock protects; the model reports unordered conflicting accesses to it.
template <class T> class plain {
 public:
  constexpr plain() : v_{} {}
  constexpr explicit plain(T v) : v_(v) {}
  T get(site s = RW_HERE) const {
    if (!current_engine) return detail::storage_of(v_, s);
    const access a = detail::access_of(v_, order::relaxed, s, true);
    detail::interruptible_point_before(a);
    return detail::from_bits<T>(current_engine->read(a));
  }
  void set(T v, site s = RW_HERE) {
    if (!current_engine) {
      detail::storage_of(v_, s) = v;
      return;
    }
    const access a = detail::access_of(v_, order::relaxed, s, true);
    detail::interruptible_point_before(a);
    current_engine->write(a, detail::to_bits(v));
  }

 private:
  shared<T> v_;
};

// ---- single accesses -------------------------------------------------------------------------------------

template <class R> auto READ_ONCE(const R& r, site s = RW_HERE) {
  return detail::do_read(r, order::relaxed, s);
}
template <class R> void WRITE_ONCE(R&& r, detail::value_of<R> v, site s = RW_HERE) {
  detail::do_write(r, v, order::relaxed, s);
}
template <class R> auto smp_load_acquire(const R& r, site s = RW_HERE) {
  return detail::do_read(r, order::acquire, s);
}
template <class R> void smp_store_release(R&& r, detail::value_of<R> v, site s = RW_HERE) {
  detail::do_write(r, v, order::release, s);
}
template <class R> dep_value<detail::value_of<R>> read_dep(const R& r, site s = RW_HERE) {
  auto v = READ_ONCE(r, s);
  return {v, current_engine ? current_engine->last_read() : dep_t{}};
}
/// Native programs' bulk accesses; scenarios make theirs word by word.
inline void copy_relaxed(std::byte* to, const std::byte* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}

// ---- fences ----------------------------------------------------------------------------------------------

inline void smp_mb(site s = RW_HERE) { detail::do_fence(fence_kind::mb, s); }
inline void smp_wmb(site s = RW_HERE) { detail::do_fence(fence_kind::wmb, s); }
inline void smp_rmb(site s = RW_HERE) { detail::do_fence(fence_kind::rmb, s); }
inline void smp_mb__before_atomic(site s = RW_HERE) { detail::do_fence(fence_kind::atomic, s); }
inline void smp_mb__after_atomic(site s = RW_HERE) { detail::do_fence(fence_kind::atomic, s); }
/// Compiler barrier: orders nothing between CPUs.
inline void barrier() {}

// ---- read-modify-write -----------------------------------------------------------------------------------

template <class R> auto xchg(R&& r, detail::value_of<R> v, order o = order::full, site s = RW_HERE) {
  using T = detail::value_of<R>;
  return detail::from_bits<T>(detail::do_rmw(r, {rmw_kind::exchange, detail::to_bits(v)}, o, s).old);
}
/// Stores `desired` if the value is `expected`; a failed one updates `expected` and orders nothing.
template <class R>
bool try_cmpxchg(R&& r, detail::value_of<R>& expected, detail::value_of<R> desired, order o = order::full,
                 site s = RW_HERE) {
  using T = detail::value_of<R>;
  rmw_result res = detail::do_rmw(
      r, {rmw_kind::compare_exchange, detail::to_bits(desired), detail::to_bits(expected)}, o, s);
  expected = detail::from_bits<T>(res.old);
  return res.done;
}
template <class R>
auto cmpxchg(R&& r, detail::value_of<R> expected, detail::value_of<R> desired, order o = order::full,
             site s = RW_HERE) {
  try_cmpxchg(r, expected, desired, o, s);
  return expected;
}

namespace detail {
template <class R> value_of<R> fetch(const R& r, rmw_kind k, value_of<R> n, order o, site s) {
  return from_bits<value_of<R>>(do_rmw(r, {k, to_bits(n)}, o, s).old);
}
} // namespace detail

template <class R> auto atomic_read(const R& r, site s = RW_HERE) { return READ_ONCE(r, s); }
template <class R> void atomic_set(R&& r, detail::value_of<R> v, site s = RW_HERE) { WRITE_ONCE(r, v, s); }
template <class R>
auto atomic_fetch_add(R&& r, detail::value_of<R> n, order o = order::full, site s = RW_HERE) {
  return detail::fetch(r, rmw_kind::add, n, o, s);
}
template <class R>
auto atomic_fetch_or(R&& r, detail::value_of<R> n, order o = order::full, site s = RW_HERE) {
  return detail::fetch(r, rmw_kind::bit_or, n, o, s);
}
template <class R>
auto atomic_fetch_and(R&& r, detail::value_of<R> n, order o = order::full, site s = RW_HERE) {
  return detail::fetch(r, rmw_kind::bit_and, n, o, s);
}
template <class R> void atomic_add(R&& r, detail::value_of<R> n, site s = RW_HERE) {
  detail::do_rmw(r, {rmw_kind::add, detail::to_bits(n), 0, true}, order::relaxed, s);
}
template <class R> void atomic_sub(R&& r, detail::value_of<R> n, site s = RW_HERE) {
  atomic_add(r, static_cast<detail::value_of<R>>(-n), s);
}
template <class R> void atomic_inc(R&& r, site s = RW_HERE) { atomic_add(r, 1, s); }
template <class R> void atomic_dec(R&& r, site s = RW_HERE) { atomic_sub(r, 1, s); }
template <class R> void atomic_or(R&& r, detail::value_of<R> n, site s = RW_HERE) {
  detail::fetch(r, rmw_kind::bit_or, n, order::relaxed, s);
}
template <class R> void atomic_and(R&& r, detail::value_of<R> n, site s = RW_HERE) {
  detail::fetch(r, rmw_kind::bit_and, n, order::relaxed, s);
}
template <class R>
auto atomic_add_return(R&& r, detail::value_of<R> n, order o = order::full, site s = RW_HERE) {
  return static_cast<detail::value_of<R>>(atomic_fetch_add(r, n, o, s) + n);
}
template <class R>
auto atomic_sub_return(R&& r, detail::value_of<R> n, order o = order::full, site s = RW_HERE) {
  return atomic_add_return(r, static_cast<detail::value_of<R>>(-n), o, s);
}
template <class R> auto atomic_inc_return(R&& r, order o = order::full, site s = RW_HERE) {
  return atomic_add_return(r, 1, o, s);
}
template <class R> auto atomic_dec_return(R&& r, order o = order::full, site s = RW_HERE) {
  return atomic_sub_return(r, 1, o, s);
}
template <class R> bool atomic_sub_and_test(R&& r, detail::value_of<R> n, site s = RW_HERE) {
  return atomic_sub_return(r, n, order::full, s) == 0;
}
template <class R> bool atomic_dec_and_test(R&& r, site s = RW_HERE) { return atomic_sub_and_test(r, 1, s); }
/// Adds `n` unless the value is `unless`; true if it added.
template <class R>
bool atomic_add_unless(R&& r, detail::value_of<R> n, detail::value_of<R> unless, site s = RW_HERE) {
  rmw_op op{rmw_kind::add_unless, detail::to_bits(n), detail::to_bits(unless)};
  return detail::do_rmw(r, op, order::full, s).done;
}
template <class R> bool atomic_inc_not_zero(R&& r, site s = RW_HERE) { return atomic_add_unless(r, 1, 0, s); }
/// Adds `n` if the value is positive (0: frozen or free; negative: overflowed); true if it added.
template <class R> bool atomic_add_positive(R&& r, detail::value_of<R> n, site s = RW_HERE) {
  return detail::do_rmw(r, {rmw_kind::add_positive, detail::to_bits(n)}, order::full, s).done;
}

// ---- bits of a flags word --------------------------------------------------------------------------------

inline constexpr u64 BIT(unsigned nr) { return u64{1} << nr; }
inline bool test_bit(unsigned nr, const word_t& w, site s = RW_HERE) {
  return (READ_ONCE(w, s) & BIT(nr)) != 0;
}
inline void set_bit(unsigned nr, word_t& w, site s = RW_HERE) { atomic_or(w, BIT(nr), s); }
inline void clear_bit(unsigned nr, word_t& w, site s = RW_HERE) { atomic_and(w, ~BIT(nr), s); }
inline bool test_and_set_bit(unsigned nr, word_t& w, site s = RW_HERE) {
  return (atomic_fetch_or(w, BIT(nr), order::full, s) & BIT(nr)) != 0;
}
inline bool test_and_clear_bit(unsigned nr, word_t& w, site s = RW_HERE) {
  return (atomic_fetch_and(w, ~BIT(nr), order::full, s) & BIT(nr)) != 0;
}
inline bool test_and_set_bit_lock(unsigned nr, word_t& w, site s = RW_HERE) {
  return (atomic_fetch_or(w, BIT(nr), order::acquire, s) & BIT(nr)) != 0;
}
inline void clear_bit_unlock(unsigned nr, word_t& w, site s = RW_HERE) {
  atomic_fetch_and(w, ~BIT(nr), order::release, s);
}

} // namespace racewalk::inline model
