// RCU, by liburcu's memb flavour: readers pay a compiler barrier, grace periods pay membarrier(2).
//
// A thread registers itself at its first read-side section. Every section with interrupts off is one too
// (smp.h), so a grace period waits for lockless page-table walks whichever way they announce themselves.
#pragma once

#include "sync/native/run.h"
#include "sync/native/sanitizer.h"

#if !RACEWALK_TSAN // which must not look into liburcu
#ifndef _LGPL_SOURCE
#define _LGPL_SOURCE // inline read-side sections
#endif
// readers need not ask whether membarrier(2) works: registration makes sure
#ifndef CONFIG_RCU_FORCE_SYS_MEMBARRIER
#define CONFIG_RCU_FORCE_SYS_MEMBARRIER
#endif
#endif
#include <urcu/urcu-memb.h>

namespace racewalk::inline native {

/// Lives in the object that is to be freed.
struct rcu_head {
  ::rcu_head urcu;
  void (*fn)(rcu_head*);
  smp_domain* run_context; ///< of the thread that called call_rcu()
};

namespace detail {
inline constinit thread_local bool rcu_registered = false;
void rcu_register_this_thread();
/// ThreadSanitizer does not see into liburcu: give it the edges that sections and grace periods make.
inline void rcu_edge() {
  if constexpr (tsan_build) smp_mb();
}
} // namespace detail

inline void rcu_read_lock(site = {}) {
  if (!detail::rcu_registered) [[unlikely]]
    detail::rcu_register_this_thread();
  urcu_memb_read_lock();
  detail::rcu_edge();
}
inline void rcu_read_unlock(site = {}) {
  detail::rcu_edge();
  urcu_memb_read_unlock();
}
inline bool rcu_read_lock_held() { return detail::rcu_registered && urcu_memb_read_ongoing() != 0; }

/// Waits until every read-side section that has begun by now has ended. A full barrier on both sides.
void synchronize_rcu(site = {});
/// `fn` runs, in a thread of its own, after every read-side section that has begun by now has ended.
void call_rcu(rcu_head* head, void (*fn)(rcu_head*), site = {});
/// Waits until the callbacks of every earlier call_rcu() have run.
void rcu_barrier(site = {});

class rcu_guard {
 public:
  explicit rcu_guard(site = {}) { rcu_read_lock(); }
  ~rcu_guard() { rcu_read_unlock(); }
  rcu_guard(const rcu_guard&) = delete;
  rcu_guard& operator=(const rcu_guard&) = delete;
};

} // namespace racewalk::inline native
