// arm64, 4 KiB granule, 48-bit addresses, with hardware update of A and D (FEAT_HAFDBS); entries as Linux
// lays them out since 6.11.
//
//   63 soft dirty (Linux has none; hardware ignores the bit) | 58 uffd-wp | 57 devmap | 56 special
//   55 software dirty
//   54 UXN | 53 PXN | 51 DBM (Linux: WRITE) | 47..12 pfn | 11 nG, PRESENT_INVALID if not valid | 10 AF
//   9..8 SH | 7 RDONLY | 6 USER | 1 table/page | 0 VALID
//
// What is kept true:
//  - Writable is DBM. A writable clean entry has RDONLY set; hardware clears it at the first store, and
//    that is the dirty bit. Whatever removes DBM or sets RDONLY must first move that to the software
//    dirty bit.
//  - Every user leaf has nG set, so bit 11 is already in place when VALID goes.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace arm {

using namespace entry_bits;

inline constexpr u64 VALID = bit(0);
inline constexpr u64 NOT_BLOCK = bit(1); ///< a table above the PTE level, a page at it
inline constexpr u64 USER = bit(6);
inline constexpr u64 RDONLY = bit(7);
inline constexpr u64 SHARED = bits(9, 8);
inline constexpr u64 AF = bit(10);
inline constexpr u64 NG = bit(11);
inline constexpr u64 PRESENT_INVALID = NG; ///< only if not VALID
inline constexpr u64 DBM = bit(51);
inline constexpr u64 PXN = bit(53);
inline constexpr u64 UXN = bit(54);
inline constexpr u64 SW_DIRTY = bit(55);
inline constexpr u64 SPECIAL = bit(56);
inline constexpr u64 DEVMAP = bit(57);
inline constexpr u64 UFFD_WP = bit(58);
inline constexpr u64 SOFT_DIRTY = bit(63);
inline constexpr u64 PFN = bits(47, PAGE_SHIFT);
inline constexpr u64 TABLE_PXN = bit(59);
inline constexpr u64 TABLE = VALID | NOT_BLOCK;
inline constexpr u64 TYPE = VALID | NOT_BLOCK;

inline constexpr u64 CHANGED_BY_MODIFY = VALID | PRESENT_INVALID | USER | RDONLY | DBM | PXN | UXN;

inline constexpr unsigned SWP_TYPE_SHIFT = 6;
inline constexpr unsigned SWP_TYPE_BITS = 5;
inline constexpr unsigned SWP_OFFSET_SHIFT = 12;
inline constexpr unsigned SWP_OFFSET_BITS = 50;
inline constexpr u64 SWP_TYPE = bits(SWP_TYPE_SHIFT + SWP_TYPE_BITS - 1, SWP_TYPE_SHIFT);
inline constexpr u64 SWP_OFFSET = bits(SWP_OFFSET_SHIFT + SWP_OFFSET_BITS - 1, SWP_OFFSET_SHIFT);
inline constexpr u64 SWP_UFFD_WP = bit(3);
inline constexpr u64 SWP_SOFT_DIRTY = bit(4);

static_assert(disjoint(VALID, NOT_BLOCK, USER, RDONLY, SHARED, AF, NG, DBM, PXN, UXN, SW_DIRTY, SPECIAL,
                       DEVMAP, SOFT_DIRTY, UFFD_WP, PFN));
static_assert(disjoint(TYPE, PRESENT_INVALID, SWP_TYPE, SWP_OFFSET, SWP_UFFD_WP, SWP_SOFT_DIRTY));

/// Present to software, but hardware faults on it.
constexpr bool present_invalid(u64 e) { return (e & (VALID | PRESENT_INVALID)) == PRESENT_INVALID; }
constexpr bool hw_dirty(u64 e) { return (e & DBM) != 0 && (e & RDONLY) == 0; }

constexpr bool none(u64 e) { return e == 0; }
constexpr bool present(u64 e, level_t) { return (e & (VALID | PRESENT_INVALID)) != 0; }
constexpr bool valid(u64 e) { return (e & VALID) != 0; }
constexpr bool leaf(u64 e, level_t level) {
  return present(e, level) && (level.number == PTE_LEVEL || (e & TYPE) != TABLE);
}
/// Looks at the type as if VALID were set: an invalid leaf is huge, whatever it was made from. And a device's
/// memory is, too.
constexpr bool trans_huge(u64 e) { return (e & (VALID | PRESENT_INVALID)) != 0 && (e & NOT_BLOCK) == 0; }
constexpr bool bad(u64 e, level_t) { return (e & TYPE) != TABLE; }
/// PROT_NONE is the one leaf that is invalid and grants neither access nor execution to anybody.
constexpr bool protnone(u64 e) { return present_invalid(e) && (e & USER) == 0 && (e & UXN) != 0; }

constexpr bool write(u64 e) { return (e & DBM) != 0; }
constexpr bool dirty(u64 e) { return (e & SW_DIRTY) != 0 || hw_dirty(e); }
constexpr bool young(u64 e) { return (e & AF) != 0; }
constexpr bool special(u64 e) { return (e & SPECIAL) != 0; }
constexpr pfn_t pfn(u64 e, level_t level) {
  return (e & PFN & (~u64{0} << (PAGE_SHIFT + level.order()))) >> PAGE_SHIFT;
}
constexpr pfn_t table_pfn(u64 e) { return (e & PFN) >> PAGE_SHIFT; }
constexpr bool access_permitted(u64 e, level_t, bool for_write) {
  const u64 need = VALID | USER | bit_if(for_write, DBM);
  return (e & need) == need;
}
constexpr bool accessible(u64 e, bool flush_pending) {
  return valid(e) || (flush_pending && present_invalid(e));
}
constexpr bool needs_flush(u64, u64, level_t) { return true; }

constexpr u64 mkdirty(u64 e) { return (e | SW_DIRTY) & ~bit_if((e & DBM) != 0, RDONLY); }
constexpr u64 mkclean(u64 e) { return (e & ~SW_DIRTY) | RDONLY; }
constexpr u64 wrprotect(u64 e) { return ((hw_dirty(e) ? e | SW_DIRTY : e) & ~DBM) | RDONLY; }
constexpr u64 mkwrite(u64 e) { return (e | DBM) & ~bit_if((e & SW_DIRTY) != 0, RDONLY); }
constexpr u64 mkyoung(u64 e) { return e | AF; }
constexpr u64 mkold(u64 e) { return e & ~AF; }
constexpr u64 mkspecial(u64 e) { return e | SPECIAL; }

constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return PRESENT_INVALID | RDONLY | PXN | UXN;
  return VALID | NG | RDONLY | PXN | bit_if(prot.user, USER) | bit_if(!prot.exec, UXN) |
         bit_if(prot.write, DBM);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t level) {
  return (pfn << PAGE_SHIFT) | rights(prot) | AF | SHARED | bit_if(level.number == PTE_LEVEL, NOT_BLOCK);
}
constexpr u64 mk_table(pfn_t pfn, level_t) { return (pfn << PAGE_SHIFT) | TABLE | TABLE_PXN; }
constexpr u64 modify(u64 e, pgprot_t prot, level_t) {
  const bool was_dirty = dirty(e);
  const u64 changed = (e & ~CHANGED_BY_MODIFY) | rights(prot);
  return was_dirty ? mkdirty(changed) : changed;
}
constexpr u64 mkinvalid(u64 e, level_t) { return (e | PRESENT_INVALID) & ~VALID; }

constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  return (u64{type} << SWP_TYPE_SHIFT) | (offset << SWP_OFFSET_SHIFT);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>((e & SWP_TYPE) >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return (e & SWP_OFFSET) >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, bool store) {
  if ((e & (VALID | USER)) != (VALID | USER)) return false;
  return !store || (e & DBM) != 0 || (e & RDONLY) == 0;
}
constexpr u64 mmu_update(u64 e, bool store) { return (e | AF) & ~bit_if(store && (e & DBM) != 0, RDONLY); }

} // namespace arm

inline constexpr arch_desc arm64{
    .name = "arm64",

    .memory_model = memory_model_t::weak,
    .ad_profile = ad_profile_t::hw_a,
    .flush_kind = flush_kind_t::broadcast,
    .flush_targets = flush_targets_t::all,
    .walk_cache = walk_cache_rule_t::nonleaf_flush, // the "last level" TLBI forms spare the upper levels
    .table_free = table_free_rule_t::rcu,
    .mm_cpumask = cpumask_rule_t::set_only, // flushes reach every CPU and do not look at the mask
    .fullmm_skips_flush = true,
    .xchg_order = order::relaxed,
    .thp_migration = true,
    .phys_bits = 48,

    .none = at_any_level<arm::none>,
    .present = arm::present,
    .valid = at_any_level<arm::valid>,
    .leaf = arm::leaf,
    .trans_huge = arm::trans_huge,
    .bad = arm::bad,
    .protnone = at_any_level<arm::protnone>,

    .write = at_any_level<arm::write>,
    .dirty = at_any_level<arm::dirty>,
    .young = at_any_level<arm::young>,
    .special = at_any_level<arm::special>,
    .pfn = arm::pfn,
    .table_pfn = arm::table_pfn,
    .access_permitted = arm::access_permitted,
    .accessible = at_any_level<arm::accessible>,
    .needs_flush = arm::needs_flush,

    .mk_leaf = arm::mk_leaf,
    .mk_table = arm::mk_table,
    .modify = arm::modify,
    .wrprotect = at_any_level<arm::wrprotect>,
    .mkwrite = at_any_level<arm::mkwrite>,
    .mkdirty = at_any_level<arm::mkdirty>,
    .mkclean = at_any_level<arm::mkclean>,
    .mkyoung = at_any_level<arm::mkyoung>,
    .mkold = at_any_level<arm::mkold>,
    .mkspecial = at_any_level<arm::mkspecial>,
    .mkinvalid = arm::mkinvalid,

    .uffd_wp = arm::UFFD_WP,
    .swp_uffd_wp = arm::SWP_UFFD_WP,
    .soft_dirty = arm::SOFT_DIRTY,
    .swp_soft_dirty = arm::SWP_SOFT_DIRTY,
    .devmap = arm::DEVMAP,

    .swp_type_bits = arm::SWP_TYPE_BITS,
    .swp_offset_bits = arm::SWP_OFFSET_BITS,
    .swp_entry = arm::swp_entry,
    .swp_type = arm::swp_type,
    .swp_offset = arm::swp_offset,

    .mmu_permits = at_any_level<arm::mmu_permits>,
    .mmu_update = at_any_level<arm::mmu_update>,
};

/// As a kernel that takes the right to store away and forgets that the entry says so by the same bits: it was
/// stored to (S2.4).
inline constexpr arch_desc arm64_wrprotect_forgets = [] {
  arch_desc d = arm64;
  d.wrprotect = [](u64 e, level_t) { return (e & ~arm::DBM) | arm::RDONLY; };
  return d;
}();

static_assert(arm::SWP_OFFSET_BITS >= arm64.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(arm64));

} // namespace racewalk
