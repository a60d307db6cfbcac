// x86 with PAE, under a hypervisor that flushes: entries of 64 bits that a CPU of 32 bits reads and writes in
// two halves.
//
// Each half is a memory access of its own, so an entry may be read while it is half written (M1 step 3). The
// entries themselves are x86-64's, without migration entries for huge pages. The halves meet at bit 14, not
// 32, so that in the few frames of a scenario both hold a part of the pfn.
//
// What is kept true: the low half has P and says by itself whether a pmd is none.
#pragma once

#include "arch/x86_64_pv.h"

namespace racewalk {

namespace pae {

inline constexpr u64 LOW_HALF = entry_bits::bits(13, 0);

constexpr bool none(u64 e, level_t level) { return x86::none(level.number == PTE_LEVEL ? e : e & LOW_HALF); }

} // namespace pae

inline constexpr arch_desc x86_pae = [] {
  arch_desc d = x86_64_pv;
  d.name = "x86-pae";
  d.low_half = pae::LOW_HALF;
  d.none = pae::none;
  d.thp_migration = false;
  d.devmap = 0; // Linux has it with 64-bit kernels only
  d.phys_bits = 36;
  return d;
}();

static_assert(round_trips(x86_pae));

} // namespace racewalk
