// x86-64 with shootdown by broadcast (INVLPGB) or by the hypervisor: the entries are x86-64's, the flush
// interrupts nobody, so it is no rendezvous and table pages wait for a grace period instead.
#pragma once

#include "arch/x86_64.h"

namespace racewalk {

inline constexpr arch_desc x86_64_pv = [] {
  arch_desc d = x86_64;
  d.name = "x86-64-pv";
  d.flush_kind = flush_kind_t::broadcast;
  d.walk_cache =
      walk_cache_rule_t::nonleaf_flush; // INVLPGB with "final translation only" spares the upper levels
  d.table_free = table_free_rule_t::rcu;
  return d;
}();

} // namespace racewalk
