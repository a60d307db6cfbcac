// Small words for describing the fields of an entry, and the checks that each description makes of its own.
#pragma once

#include "arch/arch_desc.h"

namespace racewalk::entry_bits {

/// Bit `n` of an entry.
consteval u64 bit(unsigned n) { return u64{1} << n; }

/// Bits `low` to `high`, both included.
constexpr u64 bits(unsigned high, unsigned low) { return (~u64{0} >> (63 - high)) & (~u64{0} << low); }

/// True if no bit belongs to two of the fields.
constexpr bool disjoint(auto... fields) {
  u64 seen = 0;
  bool ok = true;
  ((ok = ok && (seen & fields) == 0, seen |= fields), ...);
  return ok;
}

/// `flag` if `condition`, else no bit.
constexpr u64 bit_if(bool condition, u64 flag) { return condition ? flag : 0; }

} // namespace racewalk::entry_bits

namespace racewalk {

/// A function of an entry whose layout is the same at every level, in the form in which arch_desc wants it:
/// with the level, and without looking at it.
template <auto F, class Signature = decltype(F)> inline constexpr auto at_any_level = F;
template <auto F, class R, class... Rest>
inline constexpr auto at_any_level<F, R (*)(u64, Rest...)> = +[](u64 e, level_t, Rest... rest) -> R {
  return F(e, rest...);
};

/// Does each encoding give back what was put in? Every bit of a pfn at every level, every bit of a swap
/// offset, every swap type. The rest of the contract is tested in tests/arch.
consteval bool round_trips(const arch_desc& a) {
  const geometry_t geometry{};
  const unsigned pfn_bits = a.phys_bits - PAGE_SHIFT;
  for (unsigned n = PTE_LEVEL; n <= PUD_LEVEL; n++) {
    const level_t level = geometry.level(n);
    for (unsigned b = level.order(); b < pfn_bits; b++) {
      const pfn_t pfn = pfn_t{1} << b;
      for (const pgprot_t prot : {PAGE_NONE, PAGE_READONLY, PAGE_SHARED_EXEC})
        if (a.pfn(a.mk_leaf(pfn, prot, level), level) != pfn) return false;
    }
    for (unsigned b = 0; b < pfn_bits; b++)
      if (a.table_pfn(a.mk_table(pfn_t{1} << b, level)) != pfn_t{1} << b) return false;
  }
  for (unsigned type = 0; type < 1U << a.swp_type_bits; type++)
    for (unsigned b = 0; b < a.swp_offset_bits; b++) {
      const u64 e = a.swp_entry(type, u64{1} << b, geometry.level(PTE_LEVEL));
      if (a.swp_type(e) != type || a.swp_offset(e) != u64{1} << b) return false;
    }
  return true;
}

} // namespace racewalk
