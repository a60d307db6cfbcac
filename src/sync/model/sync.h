// The model backend: the primitives of sync.h as events.
//
// Locks and waits are primitives: a blocked thread is not spinning, it is not scheduled. Grace periods,
// rendezvous IPIs and TLB broadcasts are one thing, quiescence: the engine is told where sections begin and
// end and who waits for them. An IPI with a handler is ordinary code: the sender posts a request in a word of
// the target, which reads it at every point where it has interrupts on and, once its thread has ended, at any
// time; it runs the handler and acknowledges in another word, for which the sender waits.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include "sync/annotations.h"
#include "sync/model/atomic.h"

namespace racewalk::inline model {

// ---- reports ---------------------------------------------------------------------------------------------

/// Thrown by violation() during set-up, where there is no run to end.
struct setup_violation : std::runtime_error {
  setup_violation(const char* invariant, const char* text)
      : std::runtime_error(std::string("set-up: ") + invariant + ": " + text) {}
};
/// Ends the run: `invariant` does not hold.
[[noreturn]] void violation(const char* invariant, const char* text, site s = RW_HERE);
inline void VM_BUG_ON(bool cond, const char* invariant, const char* text, site s = RW_HERE) {
  if (cond) [[unlikely]]
    violation(invariant, text, s);
}

// ---- the run ---------------------------------------------------------------------------------------------

/// The run's object of type T, or the default.
template <class T> const T& run_setting(const T& fallback) {
  return current_setting<T> ? *current_setting<T> : fallback;
}
/// Are fibres running? (Set-up is not explored.)
inline bool explored() { return current_engine != nullptr; }
inline constexpr unsigned EXPLORED_ALLOCATIONS_PER_THREAD = 8;
/// The slot for this thread's next allocation, never reused within a run; nullopt during set-up.
std::optional<unsigned> explored_allocation();
/// Is this one of the words through which IPIs and RCU callbacks travel?
bool carries_messages(const void* addr);
/// Later accesses to these bytes, and those not ordered before this, are INV-UAF.
void object_free(const void* p, std::size_t bytes, site s = RW_HERE);

// ---- CPUs and interrupts ---------------------------------------------------------------------------------

unsigned smp_processor_id();
void local_irq_disable(site s = RW_HERE);
void local_irq_enable(site s = RW_HERE);
bool irqs_disabled();

class irq_guard {
 public:
  explicit irq_guard(site s = RW_HERE) : where_(s) { local_irq_disable(s); }
  ~irq_guard() { local_irq_enable(where_); }
  irq_guard(const irq_guard&) = delete;
  irq_guard& operator=(const irq_guard&) = delete;

 private:
  site where_;
};

using ipi_handler = void (*)(unsigned cpu, const void* arg);
inline constexpr std::size_t MAX_IPI_ARG = 64;
/// Runs fn(cpu, arg) on each other CPU of the mask, with that CPU's interrupts on, and waits; `arg` is a copy
/// of the given `bytes` bytes. A null fn is a rendezvous only. A full barrier on both sides. INV-LIVE with
/// interrupts off.
void smp_call_function_many(cpumask_bits mask, ipi_handler fn, const void* arg, std::size_t bytes,
                            site s = RW_HERE);

// ---- the MMU ---------------------------------------------------------------------------------------------

/// What the walker reads: any value that no completed invalidation on this CPU has ruled out.
dep_value<u64> translation_read(ref<u64> entry, const translation& t, site s = RW_HERE);
/// The access that the last translation_read()s were for has been made.
void user_access_end(site s = RW_HERE);
/// This CPU's TLB no longer holds what `range` covers.
void tlb_invalidated(const tlb_range& range, site s = RW_HERE);
/// TLBI; DSB: removes `range` from the TLB of every CPU of the mask, and waits. Interrupts nobody; orders the
/// targets' accesses through the translations it removed, and nothing else of theirs.
void tlb_broadcast(cpumask_bits mask, const tlb_range& range, site s = RW_HERE);

// ---- locks -----------------------------------------------------------------------------------------------

class CAPABILITY("spinlock") spinlock_t {
 public:
  atomic_t word; ///< 0 free, 1 held
};
void spin_lock(spinlock_t& l, site s = RW_HERE) ACQUIRE(l);
bool spin_trylock(spinlock_t& l, site s = RW_HERE) TRY_ACQUIRE(true, l);
void spin_unlock(spinlock_t& l, site s = RW_HERE) RELEASE(l);

class SCOPED_CAPABILITY spin_guard {
 public:
  explicit spin_guard(spinlock_t& l, site s = RW_HERE) ACQUIRE(l) : l_(l), where_(s) { spin_lock(l, s); }
  ~spin_guard() RELEASE() { spin_unlock(l_, where_); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;

 private:
  spinlock_t& l_;
  site where_;
};

class CAPABILITY("mutex") mutex_t {
 public:
  atomic_t word;
};
void mutex_lock(mutex_t& m, site s = RW_HERE) ACQUIRE(m);
bool mutex_trylock(mutex_t& m, site s = RW_HERE) TRY_ACQUIRE(true, m);
void mutex_unlock(mutex_t& m, site s = RW_HERE) RELEASE(m);

class CAPABILITY("rwsem") rwsem_t {
 public:
  static constexpr s32 WRITER = 1 << 16;
  atomic_t word; ///< readers, or WRITER
};
void down_read(rwsem_t& r, site s = RW_HERE) ACQUIRE_SHARED(r);
bool down_read_trylock(rwsem_t& r, site s = RW_HERE) TRY_ACQUIRE_SHARED(true, r);
void up_read(rwsem_t& r, site s = RW_HERE) RELEASE_SHARED(r);
void down_write(rwsem_t& r, site s = RW_HERE) ACQUIRE(r);
bool down_write_trylock(rwsem_t& r, site s = RW_HERE) TRY_ACQUIRE(true, r);
void up_write(rwsem_t& r, site s = RW_HERE) RELEASE(r);
void downgrade_write(rwsem_t& r, site s = RW_HERE) NO_THREAD_SAFETY_ANALYSIS;

class SCOPED_CAPABILITY read_guard {
 public:
  explicit read_guard(rwsem_t& r, site s = RW_HERE) ACQUIRE_SHARED(r) : r_(r), where_(s) { down_read(r, s); }
  ~read_guard() RELEASE() { up_read(r_, where_); }
  read_guard(const read_guard&) = delete;
  read_guard& operator=(const read_guard&) = delete;

 private:
  rwsem_t& r_;
  site where_;
};

class SCOPED_CAPABILITY write_guard {
 public:
  explicit write_guard(rwsem_t& r, site s = RW_HERE) ACQUIRE(r) : r_(r), where_(s) { down_write(r, s); }
  ~write_guard() RELEASE() { up_write(r_, where_); }
  write_guard(const write_guard&) = delete;
  write_guard& operator=(const write_guard&) = delete;

 private:
  rwsem_t& r_;
  site where_;
};

/// To be called in each round of a loop that only reads and goes on until what it reads changes: the thread
/// goes no further before that. A loop that gives up after some rounds must not call it, or it never does.
inline void cpu_relax(site s = RW_HERE) {
  if (current_engine) current_engine->relax(s);
}

/// INV-LIVE if this thread may not sleep here (interrupts off, a spinlock held, in an RCU section).
void might_sleep(const char* what, site s = RW_HERE);

namespace detail {

/// Waits until ((READ_ONCE(r) & mask) == v) == `met`; returns the value seen (acquire). Set-up does not wait.
template <class R> auto await_bits(const R& r, value_of<R> mask, value_of<R> v, bool met, site s) {
  using T = value_of<R>;
  if (!explored()) {
    const T now = READ_ONCE(r, s);
    VM_BUG_ON(((now & mask) == v) != met, "INV-LIVE", "set-up waits for what nobody will do", s);
    return now;
  }
  interruptible_point(s);
  const u64 seen = current_engine->await(access_of(r, order::acquire, s), {to_bits(mask), to_bits(v), met});
  return from_bits<T>(seen);
}

} // namespace detail

/// Sleeps while (READ_ONCE(r) & mask) == v; returns the value seen (acquire).
template <class R>
auto wait_while(const R& r, detail::value_of<R> mask, detail::value_of<R> v, site s = RW_HERE) {
  might_sleep("waits for another thread", s);
  return detail::await_bits(r, mask, v, false, s);
}
/// Spins until (READ_ONCE(r) & mask) == v; returns the value seen (acquire).
template <class R>
auto smp_cond_load_acquire(const R& r, detail::value_of<R> mask, detail::value_of<R> v, site s = RW_HERE) {
  return detail::await_bits(r, mask, v, true, s);
}
/// Wakes the sleepers of wait_while(); the change itself is what the model waits for.
template <class R> void wake_up_all(R&&, site = RW_HERE) {}

// ---- RCU -------------------------------------------------------------------------------------------------

struct rcu_head {
  void (*fn)(rcu_head*) = nullptr;
};
void rcu_read_lock(site s = RW_HERE);
void rcu_read_unlock(site s = RW_HERE);
bool rcu_read_lock_held();
void synchronize_rcu(site s = RW_HERE);
inline constexpr unsigned MAX_CALLBACKS = 8; ///< call_rcu()s of one thread in one run
/// `fn` runs after every read-side section that has begun by now has ended.
void call_rcu(rcu_head* head, void (*fn)(rcu_head*), site s = RW_HERE);
/// Nothing to wait for: callbacks run in threads of their own, to the end of the run.
inline void rcu_barrier(site = RW_HERE) {}

class rcu_guard {
 public:
  explicit rcu_guard(site s = RW_HERE) : where_(s) { rcu_read_lock(s); }
  ~rcu_guard() { rcu_read_unlock(where_); }
  rcu_guard(const rcu_guard&) = delete;
  rcu_guard& operator=(const rcu_guard&) = delete;

 private:
  site where_;
};

// ---- thread bodies (called by the engine on the fibres) ---------------------------------------------------

/// What a CPU does after its thread has ended: it takes every request that comes. Never returns.
void cpu_idle();
/// The callback thread of `owner`: runs what that thread gives to call_rcu(). Never returns.
void rcu_callback_thread(unsigned owner);

} // namespace racewalk::inline model
