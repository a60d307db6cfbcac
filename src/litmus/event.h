// What a process does to memory, as the Linux kernel memory model sees it: reads, writes, fences and RCU
// steps, each with the model's annotations and with the earlier reads of the same process that it depends on.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "litmus/syntax.h"

namespace racewalk::litmus {

/// Events of one candidate execution that relations speak of: accesses, RCU and SRCU steps, initial writes.
constexpr std::size_t max_events = 256;

enum class event_kind : std::uint8_t { read, write, fence };

enum class ordering : std::uint8_t {
  plain, ///< an access that the compiler may tear, fuse and invent
  once,
  acquire,
  release,
  noreturn, ///< the read of an atomic operation whose result nobody gets: smp_rmb() does not order it
};

enum class fence_kind : std::uint8_t {
  none,
  wmb,
  rmb,
  mb,
  barrier,
  before_atomic,
  after_atomic,
  after_spinlock,
  after_unlock_lock,
  rcu_lock,
  rcu_unlock,
  sync_rcu,
  srcu_lock,
  srcu_unlock,
  sync_srcu,
};

/// The accesses that lock operations consist of.
enum class lock_role : std::uint8_t {
  none,
  lock_read,     ///< LKR: the read of a successful spin_lock() or spin_trylock()
  lock_write,    ///< LKW: its write
  unlock,        ///< UL
  seen_locked,   ///< LF: a spin_trylock() that failed, or a spin_is_locked() that said yes
  seen_unlocked, ///< RU: a spin_is_locked() that said no
};

/// A set of reads of one process, by their position among its events.
using dependency_set = std::bitset<max_events>;

/// Names an expression of a process's expression_pool.
using expression_id = std::uint32_t;

struct event {
  event_kind kind = event_kind::fence;
  ordering order = ordering::plain;
  fence_kind fence = fence_kind::none;
  lock_role lock = lock_role::none;
  bool atomic = false;                   ///< of a read-modify-write operation, even if that wrote nothing
  std::optional<std::size_t> location{}; ///< of accesses and SRCU steps
  expression_id value = 0; ///< what a write writes; the index that an SRCU step got or was given
  std::optional<std::size_t> rmw_read{}; ///< of the write of a read-modify-write: its read, by position
  dependency_set address{};
  dependency_set data{};
  dependency_set control{};
};

constexpr bool is_srcu(fence_kind f) { return f >= fence_kind::srcu_lock; }
constexpr bool is_rcu(fence_kind f) { return f >= fence_kind::rcu_lock; }

} // namespace racewalk::litmus
