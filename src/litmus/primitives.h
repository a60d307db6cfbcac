// The kernel's primitives by name: what each does, with which ordering and in which order its arguments come.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "litmus/event.h"
#include "litmus/syntax.h"

namespace racewalk::litmus {

enum class primitive_kind : std::uint8_t {
  load,
  store,
  fence,
  exchange,         ///< xchg
  compare_exchange, ///< cmpxchg
  modify,           ///< atomic_add: no result
  modify_return,    ///< atomic_add_return: the new value
  fetch_modify,     ///< atomic_fetch_add: the old value
  modify_test_zero, ///< atomic_dec_and_test: is the new value 0?
  modify_negative,  ///< atomic_add_negative: is the new value below 0?
  add_unless,
  spin_lock,
  spin_unlock,
  spin_trylock,
  spin_is_locked,
  srcu_lock,
  srcu_unlock,
  srcu_sync,
};

struct primitive {
  primitive_kind kind = primitive_kind::fence;
  ordering order = ordering::once;
  bool full_fences = false;       ///< smp_mb() before and after, unless a condition failed
  bool takes_lvalue = false;      ///< its first argument is `*p`, not `p`
  bool pointer_is_last = false;   ///< atomic_add(1, v)
  std::optional<value_t> operand; ///< atomic_inc adds 1
  operation op = operation::add;
  fence_kind fence = fence_kind::none; ///< of a fence; of a store that a fence follows
  unsigned arguments = 0;
};

std::optional<primitive> find_primitive(std::string_view name);

} // namespace racewalk::litmus
