// powerpc64 (book3s) with the hash MMU: the page table is software's alone, and the MMU looks up a hash table
// that low-level faults fill from it (machine/hash_mmu.h). Entries as with radix, 4 KiB pages, and
//
//   6 H_PAGE_BUSY: the entry is locked while a translation is made from it
//
// Linux notes in H_PAGE_HASHPTE that there is one; here flushes remove it without asking.
#pragma once

#include "arch/powerpc64.h"

namespace racewalk {

inline constexpr arch_desc powerpc64_hash = [] {
  arch_desc d = powerpc64;
  d.name = "powerpc64-hash";
  d.hash_busy = entry_bits::bit(6);
  d.mm_cpumask = cpumask_rule_t::set_only;
  return d;
}();

static_assert((powerpc64_hash.hash_busy & (radix::PFN | radix::KEPT_BY_MODIFY | radix::RWX |
                                           radix::PRIVILEGED | radix::INVALID | radix::PRESENT)) == 0);

} // namespace racewalk
