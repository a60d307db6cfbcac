// The synchronisation interface: Linux's primitives with Linux's ordering, in two backends.
//
// Everything above (arch, machine, mm, scenarios) is written against this file and compiled once per backend:
//   native/  each primitive is a std::atomic operation or a futex: real threads are CPUs.
//   model/   each primitive is an event reported to an engine that decides what a read returns.
// The build sets RACEWALK_BACKEND to `native` or `model`; it is also the name of the inline namespace in
// which the code above lives (`namespace racewalk::inline RACEWALK_BACKEND`), so both can be linked into one
// binary. This directory is the only place that knows which backend is in use.
//
// The contract, for both backends:
//
//   shared<T>        a variable that other CPUs read or write (T: trivially copyable, at most 8 bytes).
//   plain<T>         a variable that a lock protects; .get()/.set(). The model reports a data race on it.
//   ref<T>           a shared<T> reached through an address dependency (`dep`): what a pointer to a
//                    page-table entry is. A shared<T>& converts to one without a dependency.
//   dep_t            the read that a value came from; empty natively.
//
//   READ_ONCE(r) WRITE_ONCE(r, v) smp_load_acquire(r) smp_store_release(r, v)
//   read_dep(r)      READ_ONCE that also returns the dep_t of the read: {value, dep}
//   smp_mb() smp_wmb() smp_rmb() smp_mb__before_atomic() smp_mb__after_atomic() barrier()
//   xchg(r, v, order) cmpxchg(r, old, new, order) try_cmpxchg(r, &old, new, order)
//   atomic_read atomic_set; atomic_{add,sub,inc,dec,or,and} (void: no ordering);
//   atomic_{add,sub,inc,dec}_return(r.., order = full), atomic_fetch_{add,or,and}(r, v, order = full),
//   atomic_dec_and_test, atomic_sub_and_test, atomic_add_unless(r, a, unless), atomic_inc_not_zero:
//                    value-returning: full barriers on both sides when they succeed, nothing when they fail.
//   test_bit set_bit clear_bit (void: no ordering) test_and_set_bit test_and_clear_bit (full)
//   clear_bit_unlock (release) test_and_set_bit_lock (acquire on success)
//
//   spinlock_t: spin_lock spin_unlock spin_trylock; guard: spin_guard
//   mutex_t:    mutex_lock mutex_unlock mutex_trylock
//   rwsem_t:    down_read up_read down_write up_write down_read_trylock down_write_trylock downgrade_write;
//               guards: read_guard, write_guard
//   smp_cond_load_acquire(r, mask, v)   spin until (READ_ONCE(r) & mask) == v; returns the value seen
//   cpu_relax()      in each round of a loop that only reads and goes on until what it reads changes. The
//   model
//                    takes that at its word: the thread goes no further before something has changed, so
//                    `while (!READ_ONCE(x)) cpu_relax();` is a wait, and a hang if nobody ever writes x. A
//                    loop that gives up after some rounds must not call it.
//   (acquire) wait_while(r, mask, v)   sleep while (READ_ONCE(r) & mask) == v; returns the value seen
//   (acquire);
//                            wake_up_all(r) after the change. Never with interrupts off or a spinlock held.
//
//   rcu_read_lock/unlock (nestable), rcu_guard, synchronize_rcu(), call_rcu(rcu_head*, fn), rcu_barrier()
//   local_irq_disable/enable (nestable here: disable counts), irq_guard, irqs_disabled()
//   smp_processor_id(); smp_call_function_many(mask, fn, arg): runs fn(cpu, arg) for each CPU of the mask
//   other
//                    than the caller once that CPU has interrupts on, and waits. The handler runs as that CPU
//                    or on its behalf: it may touch only that CPU's TLB state. A null fn is a rendezvous
//                    only. A full barrier on both sides.
//
//   violation(inv, text)     an invariant does not hold: ends the run (model: a counterexample; native: the
//                            installed handler, which aborts by default).
//   VM_BUG_ON(cond, inv, text)
#pragma once

#include "sync/annotations.h"
#include "sync/types.h"

#define RACEWALK_BACKEND_native 1
#define RACEWALK_BACKEND_model 2
#define RACEWALK_BACKEND_ID_(name) RACEWALK_BACKEND_##name
#define RACEWALK_BACKEND_ID(name) RACEWALK_BACKEND_ID_(name)

#ifndef RACEWALK_BACKEND
#define RACEWALK_BACKEND native // a program that links the native library
#endif

#if RACEWALK_BACKEND_ID(RACEWALK_BACKEND) == RACEWALK_BACKEND_native
#include "sync/native/sync.h"
#else
#include "sync/model/cpu.h"
#include "sync/model/sync.h"
#endif
