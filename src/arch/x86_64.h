// x86-64: 4-level tables, hardware A and D bits, TLB shootdown by interrupt.
//
//   63 NX | 58 saved dirty | 57 devmap | 51..12 pfn | 11 soft dirty | 10 uffd-wp | 9 special
//   8 G, PROT_NONE if not P | 7 PSE | 6 D | 5 A | 2 U | 1 W | 0 P
//
// What is kept true:
//  - An entry that is not none and not present to hardware holds its pfn inverted, so that speculation
//    past the cleared P bit (L1TF) reaches no memory.
//  - W=0, D=1 means a shadow stack to CPUs that have them, so no entry is ever made so: a dirty entry
//    that loses W keeps its dirtiness in bit 58. Such a CPU never sets D on a read-only entry (profile
//    HW-A).
//  - Swap entries leave bits 5 and 6 clear: a CPU with an erratum sets stray A and D in non-present
//    entries, and none() ignores them for the same reason.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace x86 {

using namespace entry_bits;

inline constexpr u64 PRESENT = bit(0);
inline constexpr u64 RW = bit(1);
inline constexpr u64 USER = bit(2);
inline constexpr u64 ACCESSED = bit(5);
inline constexpr u64 DIRTY = bit(6);
inline constexpr u64 PSE = bit(7);      ///< a leaf, above the PTE level
inline constexpr u64 PROTNONE = bit(8); ///< the global bit, which means nothing to hardware unless P
inline constexpr u64 SPECIAL = bit(9);
inline constexpr u64 UFFD_WP = bit(10);
inline constexpr u64 SOFT_DIRTY = bit(11);
inline constexpr u64 DEVMAP = bit(57);
inline constexpr u64 SAVED_DIRTY = bit(58);
inline constexpr u64 NX = bit(63);
inline constexpr u64 PFN = bits(51, PAGE_SHIFT);
inline constexpr u64 TABLE = PRESENT | RW | USER | ACCESSED | DIRTY;

/// The bits that say what is mapped and what happened to it, not who may do what: pte_modify keeps them.
inline constexpr u64 KEPT_BY_MODIFY =
    PFN | ACCESSED | DIRTY | SAVED_DIRTY | SOFT_DIRTY | PSE | SPECIAL | UFFD_WP | DEVMAP;

inline constexpr unsigned SWP_TYPE_BITS = 5;
inline constexpr unsigned SWP_TYPE_SHIFT = 64 - SWP_TYPE_BITS;
inline constexpr unsigned SWP_OFFSET_SHIFT = 9; ///< above PROTNONE
inline constexpr unsigned SWP_OFFSET_BITS = SWP_TYPE_SHIFT - SWP_OFFSET_SHIFT;
inline constexpr u64 SWP_OFFSET = bits(SWP_TYPE_SHIFT - 1, SWP_OFFSET_SHIFT);
inline constexpr u64 SWP_UFFD_WP = USER;
inline constexpr u64 SWP_SOFT_DIRTY = RW;

static_assert(disjoint(PRESENT, RW, USER, ACCESSED, DIRTY, PSE, PROTNONE, SPECIAL, UFFD_WP, SOFT_DIRTY,
                       DEVMAP, SAVED_DIRTY, NX, PFN));
static_assert(disjoint(SWP_OFFSET, bits(63, SWP_TYPE_SHIFT), PRESENT, PROTNONE, PSE, ACCESSED, DIRTY,
                       SWP_UFFD_WP, SWP_SOFT_DIRTY));

/// The pfn field of a leaf of this level: the bits below its alignment are not part of it.
constexpr u64 leaf_pfn_mask(level_t level) { return PFN & (~u64{0} << (PAGE_SHIFT + level.order())); }

/// All ones if an entry with these bits stores its pfn inverted.
constexpr u64 inversion(u64 e) { return e != 0 && (e & PRESENT) == 0 ? ~u64{0} : 0; }

/// D is allowed beside W only; without W dirtiness lives in SAVED_DIRTY.
constexpr u64 place_dirty(u64 e) {
  if ((e & (DIRTY | SAVED_DIRTY)) == 0) return e;
  return (e & ~(DIRTY | SAVED_DIRTY)) | ((e & RW) != 0 ? DIRTY : SAVED_DIRTY);
}

constexpr bool none(u64 e) { return (e & ~(ACCESSED | DIRTY)) == 0; }
constexpr bool present(u64 e, level_t level) {
  switch (level.number) {
  case PTE_LEVEL:
    return (e & (PRESENT | PROTNONE)) != 0;
  case PMD_LEVEL:
    return (e & (PRESENT | PROTNONE | PSE)) != 0; // PSE alone: an invalid leaf, see mkinvalid
  default:
    return (e & PRESENT) != 0;
  }
}
constexpr bool valid(u64 e) { return (e & PRESENT) != 0; }
constexpr bool leaf(u64 e, level_t level) {
  switch (level.number) {
  case PTE_LEVEL:
    return present(e, level);
  case PMD_LEVEL:
    return (e & PSE) != 0;
  default:
    return (e & (PSE | PRESENT)) == (PSE | PRESENT);
  }
}
constexpr bool trans_huge(u64 e) { return (e & (PSE | DEVMAP)) == PSE; }
constexpr bool bad(u64 e, level_t) { return (e & ~PFN & ~(USER | ACCESSED)) != (TABLE & ~(USER | ACCESSED)); }
constexpr bool protnone(u64 e) { return (e & (PRESENT | PROTNONE)) == PROTNONE; }

constexpr bool write(u64 e) { return (e & RW) != 0; }
constexpr bool dirty(u64 e) { return (e & (DIRTY | SAVED_DIRTY)) != 0; }
constexpr bool young(u64 e) { return (e & ACCESSED) != 0; }
constexpr bool special(u64 e) { return (e & SPECIAL) != 0; }
constexpr pfn_t pfn(u64 e, level_t level) {
  const u64 mask = level.number != PTE_LEVEL && (e & PSE) != 0 ? leaf_pfn_mask(level) : PFN;
  return ((e ^ inversion(e)) & mask) >> PAGE_SHIFT;
}
constexpr pfn_t table_pfn(u64 e) { return (e & PFN) >> PAGE_SHIFT; }
constexpr bool access_permitted(u64 e, level_t, bool for_write) {
  const u64 need = PRESENT | USER | bit_if(for_write, RW);
  return (e & need) == need;
}
constexpr bool accessible(u64 e, bool flush_pending) { return valid(e) || (protnone(e) && flush_pending); }
constexpr bool needs_flush(u64 from, u64 to, level_t level) {
  if (!valid(from)) return false; // such entries are not cached
  if (pfn(from, level) != pfn(to, level)) return true;
  const u64 diff = from ^ to;
  // A huge page's A bit is not ignored: its young test is what decides whether to keep it huge.
  const u64 when_cleared = PRESENT | DIRTY | bit_if(level.number != PTE_LEVEL, ACCESSED);
  return (diff & from & when_cleared) != 0 || (diff & (RW | USER | PSE | PROTNONE | NX)) != 0;
}

/// `pfn` and flags put together, inverted where the flags make the entry one that must be.
constexpr u64 compose(pfn_t pfn, u64 flags, u64 mask) {
  return (((pfn << PAGE_SHIFT) ^ inversion(flags)) & mask) | flags;
}
constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return PROTNONE;
  return PRESENT | bit_if(prot.write, RW) | bit_if(prot.user, USER) | bit_if(!prot.exec, NX);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t level) {
  const u64 flags = rights(prot) | ACCESSED | bit_if(level.number != PTE_LEVEL, PSE);
  return compose(pfn, flags, leaf_pfn_mask(level));
}
constexpr u64 mk_table(pfn_t pfn, level_t) { return compose(pfn, TABLE, PFN); }
constexpr u64 modify(u64 e, pgprot_t prot, level_t level) {
  const u64 changed = (e & KEPT_BY_MODIFY) | rights(prot);
  return place_dirty(inversion(e) == inversion(changed) ? changed : changed ^ leaf_pfn_mask(level));
}
constexpr u64 wrprotect(u64 e) { return place_dirty(e & ~RW); }
constexpr u64 mkwrite(u64 e) { return place_dirty(e | RW); }
constexpr u64 mkdirty(u64 e) { return place_dirty(e | DIRTY); }
constexpr u64 mkclean(u64 e) { return e & ~(DIRTY | SAVED_DIRTY); }
constexpr u64 mkyoung(u64 e) { return e | ACCESSED; }
constexpr u64 mkold(u64 e) { return e & ~ACCESSED; }
constexpr u64 mkspecial(u64 e) { return e | SPECIAL; }
/// Rebuilds the entry around its pfn, so that the inversion follows P. Only the leaf's pfn bits survive: a
/// swap entry that comes here loses the low bits of its offset (S4.1).
constexpr u64 mkinvalid(u64 e, level_t level) {
  const u64 mask = (e & PSE) != 0 ? leaf_pfn_mask(level) : PFN;
  return compose(pfn(e, level), e & ~mask & ~(PRESENT | PROTNONE), leaf_pfn_mask(level));
}

/// The offset is stored inverted, for the same reason as a pfn.
constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  return (u64{type} << SWP_TYPE_SHIFT) | (~(offset << SWP_OFFSET_SHIFT) & SWP_OFFSET);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>(e >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return (~e & SWP_OFFSET) >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, bool store) {
  const u64 need = PRESENT | USER | bit_if(store, RW);
  return (e & need) == need;
}
constexpr u64 mmu_update(u64 e, bool store) { return e | ACCESSED | bit_if(store, DIRTY); }

} // namespace x86

inline constexpr arch_desc x86_64{
    .name = "x86-64",

    .memory_model = memory_model_t::tso,
    .ad_profile = ad_profile_t::hw_a,
    .flush_kind = flush_kind_t::ipi,
    .flush_targets = flush_targets_t::cpumask,
    .walk_cache = walk_cache_rule_t::any_flush, // INVLPG drops all paging-structure entries of the PCID
    .table_free =
        table_free_rule_t::ipi_flush, // a kernel without PARAVIRT, before table freeing became always RCU
    .mm_cpumask = cpumask_rule_t::clear_on_switch,
    .xchg_order = order::full,
    .thp_migration = true,
    .phys_bits = 46,

    .none = at_any_level<x86::none>,
    .present = x86::present,
    .valid = at_any_level<x86::valid>,
    .leaf = x86::leaf,
    .trans_huge = x86::trans_huge,
    .bad = x86::bad,
    .protnone = at_any_level<x86::protnone>,

    .write = at_any_level<x86::write>,
    .dirty = at_any_level<x86::dirty>,
    .young = at_any_level<x86::young>,
    .special = at_any_level<x86::special>,
    .pfn = x86::pfn,
    .table_pfn = x86::table_pfn,
    .access_permitted = x86::access_permitted,
    .accessible = at_any_level<x86::accessible>,
    .needs_flush = x86::needs_flush,

    .mk_leaf = x86::mk_leaf,
    .mk_table = x86::mk_table,
    .modify = x86::modify,
    .wrprotect = at_any_level<x86::wrprotect>,
    .mkwrite = at_any_level<x86::mkwrite>,
    .mkdirty = at_any_level<x86::mkdirty>,
    .mkclean = at_any_level<x86::mkclean>,
    .mkyoung = at_any_level<x86::mkyoung>,
    .mkold = at_any_level<x86::mkold>,
    .mkspecial = at_any_level<x86::mkspecial>,
    .mkinvalid = x86::mkinvalid,

    .uffd_wp = x86::UFFD_WP,
    .swp_uffd_wp = x86::SWP_UFFD_WP,
    .soft_dirty = x86::SOFT_DIRTY,
    .swp_soft_dirty = x86::SWP_SOFT_DIRTY,
    .devmap = x86::DEVMAP,

    .swp_type_bits = x86::SWP_TYPE_BITS,
    .swp_offset_bits = x86::SWP_OFFSET_BITS,
    .swp_entry = x86::swp_entry,
    .swp_type = x86::swp_type,
    .swp_offset = x86::swp_offset,

    .mmu_permits = at_any_level<x86::mmu_permits>,
    .mmu_update = at_any_level<x86::mmu_update>,
};

/// CPUs from before shadow stacks: a store that has begun may set D in an entry that has become read-only
/// meanwhile, and complete (HW-B). Everything else is the same, so what depends on it asks for this one by
/// itself.
inline constexpr arch_desc x86_64_hw_b = [] {
  arch_desc d = x86_64;
  d.ad_profile = ad_profile_t::hw_b;
  return d;
}();

static_assert(x86::SWP_OFFSET_BITS >= x86_64.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(x86_64));
// mechanisms M30: what a stray pmdp_invalidate does to the offset of a migration entry
static_assert(x86::swp_offset(x86::mkinvalid(x86::swp_entry(0, 0x2468a00, {PMD_LEVEL, 9}), {PMD_LEVEL, 9})) ==
              0x2468ff8);

} // namespace racewalk
