// powerpc64 (book3s) with the radix MMU, 4 KiB pages. Bits are numbered from the least significant one, in
// the value that the CPU computes with: radix trees stand in memory big-endian.
//
//   63 PRESENT | 62 PTE (a leaf) | 61 INVALID if not PRESENT | 52..12 pfn | 11 devmap | 10 special
//   9 soft dirty | 8 R (accessed) | 7 C (dirty) | 3 PRIVILEGED | 2 READ | 1 WRITE | 0 EXEC
//   in a table entry 4..0 are the log2 of the next table's entries
//
// What is kept true:
//  - Leaf or table is one bit, set in every leaf whatever its state; lockless readers test it first.
//    Swap entries carry it too, so a migration pmd is a "leaf" that is not present.
//  - R and C are set by faults: an access that would need to set one faults.
//  - PROT_NONE is a present leaf without any right.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace radix {

using namespace entry_bits;

inline constexpr u64 EXEC = bit(0);
inline constexpr u64 WRITE = bit(1);
inline constexpr u64 READ = bit(2);
inline constexpr u64 PRIVILEGED = bit(3);
inline constexpr u64 DIRTY = bit(7);
inline constexpr u64 ACCESSED = bit(8);
inline constexpr u64 SOFT_DIRTY = bit(9); ///< of swap entries, too
inline constexpr u64 SPECIAL = bit(10);
inline constexpr u64 DEVMAP = bit(11);
inline constexpr u64 PFN = bits(52, PAGE_SHIFT);
inline constexpr u64 INVALID = bit(61);
inline constexpr u64 PTE = bit(62);
inline constexpr u64 PRESENT = bit(63);
inline constexpr u64 RWX = READ | WRITE | EXEC;
/// What a table entry has clear: the marks of a leaf, and the reserved bits above the size of the next table.
inline constexpr u64 BAD = PTE | INVALID | bits(7, 5);

inline constexpr u64 KEPT_BY_MODIFY = PFN | DIRTY | ACCESSED | SOFT_DIRTY | SPECIAL | DEVMAP | PTE;

inline constexpr unsigned SWP_TYPE_BITS = 5;
inline constexpr unsigned SWP_OFFSET_SHIFT = PAGE_SHIFT;
inline constexpr unsigned SWP_OFFSET_BITS = 41;
inline constexpr u64 SWP_TYPE = bits(SWP_TYPE_BITS - 1, 0);
inline constexpr u64 SWP_OFFSET = PFN;

static_assert(disjoint(EXEC, WRITE, READ, PRIVILEGED, DIRTY, ACCESSED, SOFT_DIRTY, SPECIAL, DEVMAP, PFN,
                       INVALID, PTE, PRESENT));
static_assert(disjoint(SWP_TYPE, SWP_OFFSET, SOFT_DIRTY, PTE, INVALID, PRESENT));
static_assert(SWP_OFFSET == bits(SWP_OFFSET_SHIFT + SWP_OFFSET_BITS - 1, SWP_OFFSET_SHIFT));

/// Between pmdp_invalidate and what follows it: lockless lookups must not use the entry.
constexpr bool serializing(u64 e) { return (e & (PRESENT | INVALID)) == INVALID; }

constexpr bool none(u64 e) { return e == 0; }
constexpr bool present(u64 e, level_t level) {
  switch (level.number) {
  case PTE_LEVEL:
    return (e & PTE) != 0 && (e & (PRESENT | INVALID)) != 0;
  case PMD_LEVEL:
    return (e & (PRESENT | INVALID)) != 0;
  default:
    return (e & PRESENT) != 0;
  }
}
constexpr bool valid(u64 e) { return (e & PRESENT) != 0; }
constexpr bool leaf(u64 e, level_t level) {
  return level.number == PTE_LEVEL ? present(e, level) : (e & PTE) != 0;
}
constexpr bool trans_huge(u64 e) { return (e & (PRESENT | INVALID)) != 0 && (e & (PTE | DEVMAP)) == PTE; }
constexpr bool bad(u64 e, level_t) { return (e & BAD) != 0; }
constexpr bool protnone(u64 e) { return (e & (PRESENT | PTE | RWX)) == (PRESENT | PTE); }

constexpr bool write(u64 e) { return (e & WRITE) != 0; }
constexpr bool dirty(u64 e) { return (e & DIRTY) != 0; }
constexpr bool young(u64 e) { return (e & ACCESSED) != 0; }
constexpr bool special(u64 e) { return (e & SPECIAL) != 0; }
constexpr pfn_t pfn(u64 e, level_t) { return (e & PFN) >> PAGE_SHIFT; }
constexpr pfn_t table_pfn(u64 e) { return (e & PFN) >> PAGE_SHIFT; }
constexpr bool access_permitted(u64 e, level_t level, bool for_write) {
  if (level.number == PMD_LEVEL && serializing(e)) return false;
  const u64 need = READ | bit_if(for_write, WRITE);
  return present(e, {PTE_LEVEL, level.bits}) && (e & PRIVILEGED) == 0 && (e & need) == need;
}
constexpr bool accessible(u64, bool) { return true; }
constexpr bool needs_flush(u64 from, u64 to, level_t) {
  const u64 diff = (from ^ to) & ~SOFT_DIRTY; // nothing to hardware
  // R may be lost without a flush: it only makes the page look older than it is.
  return (diff & ~(RWX | DIRTY | ACCESSED)) != 0 || (diff & from & ~ACCESSED) != 0;
}

constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return PRESENT | PRIVILEGED;
  return PRESENT | READ | bit_if(prot.write, WRITE) | bit_if(prot.exec, EXEC) |
         bit_if(!prot.user, PRIVILEGED);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t) {
  return (pfn << PAGE_SHIFT) | PTE | ACCESSED | rights(prot);
}
/// Every table has the same number of entries, so the size of the next one is the level's own.
constexpr u64 mk_table(pfn_t pfn, level_t level) { return PRESENT | (pfn << PAGE_SHIFT) | level.bits; }
constexpr u64 modify(u64 e, pgprot_t prot, level_t) { return (e & KEPT_BY_MODIFY) | rights(prot); }
constexpr u64 wrprotect(u64 e) { return e & ~WRITE; }
constexpr u64 mkwrite(u64 e) { return e | WRITE | READ; }
constexpr u64 mkdirty(u64 e) { return e | DIRTY; }
constexpr u64 mkclean(u64 e) { return e & ~DIRTY; }
constexpr u64 mkyoung(u64 e) { return e | ACCESSED; }
constexpr u64 mkold(u64 e) { return e & ~ACCESSED; }
constexpr u64 mkspecial(u64 e) { return e | SPECIAL; }
constexpr u64 mkinvalid(u64 e, level_t) { return (e & ~PRESENT) | INVALID; }

constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  return PTE | type | ((offset << SWP_OFFSET_SHIFT) & SWP_OFFSET);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>(e & SWP_TYPE); }
constexpr u64 swp_offset(u64 e) { return (e & SWP_OFFSET) >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, bool store) {
  const u64 need = PRESENT | PTE | READ | ACCESSED | bit_if(store, WRITE | DIRTY);
  return (e & need) == need && (e & PRIVILEGED) == 0;
}
constexpr u64 mmu_update(u64 e, bool) { return e; }

} // namespace radix

inline constexpr arch_desc powerpc64{
    .name = "powerpc64",

    .memory_model = memory_model_t::weak,
    .ad_profile = ad_profile_t::sw,
    .flush_kind = flush_kind_t::broadcast,
    .flush_targets = flush_targets_t::all, // tlbie, unless the mask says that only this CPU runs the mm
    .walk_cache = walk_cache_rule_t::nonleaf_flush, // the page-walk cache is flushed by its own form of tlbie
    .table_free = table_free_rule_t::rcu,
    .mm_cpumask = cpumask_rule_t::trimmed,
    .xchg_order = order::relaxed,
    .thp_migration = true,
    .phys_bits = 51,

    .none = at_any_level<radix::none>,
    .present = radix::present,
    .valid = at_any_level<radix::valid>,
    .leaf = radix::leaf,
    .trans_huge = radix::trans_huge,
    .bad = radix::bad,
    .protnone = at_any_level<radix::protnone>,

    .write = at_any_level<radix::write>,
    .dirty = at_any_level<radix::dirty>,
    .young = at_any_level<radix::young>,
    .special = at_any_level<radix::special>,
    .pfn = radix::pfn,
    .table_pfn = radix::table_pfn,
    .access_permitted = radix::access_permitted,
    .accessible = at_any_level<radix::accessible>,
    .needs_flush = radix::needs_flush,

    .mk_leaf = radix::mk_leaf,
    .mk_table = radix::mk_table,
    .modify = radix::modify,
    .wrprotect = at_any_level<radix::wrprotect>,
    .mkwrite = at_any_level<radix::mkwrite>,
    .mkdirty = at_any_level<radix::mkdirty>,
    .mkclean = at_any_level<radix::mkclean>,
    .mkyoung = at_any_level<radix::mkyoung>,
    .mkold = at_any_level<radix::mkold>,
    .mkspecial = at_any_level<radix::mkspecial>,
    .mkinvalid = radix::mkinvalid,

    .soft_dirty = radix::SOFT_DIRTY,
    .swp_soft_dirty = radix::SOFT_DIRTY,
    .devmap = radix::DEVMAP | radix::PTE, // the bit alone may be hardware's in a table entry

    .swp_type_bits = radix::SWP_TYPE_BITS,
    .swp_offset_bits = radix::SWP_OFFSET_BITS,
    .swp_entry = radix::swp_entry,
    .swp_type = radix::swp_type,
    .swp_offset = radix::swp_offset,

    .mmu_permits = at_any_level<radix::mmu_permits>,
    .mmu_update = at_any_level<radix::mmu_update>,
};

static_assert(radix::SWP_OFFSET_BITS >= powerpc64.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(powerpc64));

} // namespace racewalk
