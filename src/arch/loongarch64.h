// loongarch64: TLBs that software fills, A and D by software, shootdown by interrupt.
//
//   62 no exec | 61 no read | 60 PRESENT_INVALID | 47..12 pfn | 11 special | 10 PROTNONE | 9 modified
//   8 WRITE | 7 PRESENT | 6 huge | 5..4 cache | 3..2 privilege | 1 D | 0 V, accessed
//
// What is kept true:
//  - D is set beside WRITE and `modified` only, so that the first store to a clean page faults; what takes
//    WRITE away leaves `modified`.
//  - V says that the page was accessed: an old leaf faults, and mkinvalid(), which clears V, makes its entry
//    old. PRESENT is what software goes by.
//  - An empty upper entry holds the address of an empty table. Here that is 0, which a table entry never is,
//    as it is an address of the kernel's.
//  - Frames have 34 bits, as Linux's 16 KiB pages have. With 4 KiB pages they have 36, and the young bit of a
//    migration entry, which stands above them, is bit 60: a young migration pmd would read as present.
//  - There is no test of access of the architecture's own; the generic one lets an invalid leaf pass.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace loongarch {

using namespace entry_bits;

inline constexpr u64 VALID = bit(0);
inline constexpr u64 ACCESSED = VALID;
inline constexpr u64 DIRTY = bit(1);
inline constexpr u64 PLV_USER = bits(3, 2);
inline constexpr u64 CACHE_CC = bit(4);
inline constexpr u64 HUGE = bit(6); ///< above the PTE level; at it, global, which only the kernel uses
inline constexpr u64 PRESENT = bit(7);
inline constexpr u64 WRITE = bit(8);
inline constexpr u64 MODIFIED = bit(9);
inline constexpr u64 PROTNONE = bit(10);
inline constexpr u64 SPECIAL = bit(11);
inline constexpr u64 PFN = bits(47, PAGE_SHIFT);
inline constexpr u64 PRESENT_INVALID = bit(60);
inline constexpr u64 NO_READ = bit(61);
inline constexpr u64 NO_EXEC = bit(62);
/// Where the kernel sees physical memory, cached: table entries are addresses there.
inline constexpr u64 CACHED_WINDOW = u64{9} << 60;

inline constexpr u64 KEPT_BY_MODIFY = PFN | MODIFIED | ACCESSED | SPECIAL | HUGE | CACHE_CC;

inline constexpr unsigned SWP_TYPE_SHIFT = 16;
inline constexpr unsigned SWP_TYPE_BITS = 8;
inline constexpr unsigned SWP_OFFSET_SHIFT = 24;
inline constexpr unsigned SWP_OFFSET_BITS = 40;
inline constexpr u64 SWP_TYPE = bits(SWP_TYPE_SHIFT + SWP_TYPE_BITS - 1, SWP_TYPE_SHIFT);
inline constexpr u64 SWP_OFFSET = bits(63, SWP_OFFSET_SHIFT);

static_assert(disjoint(VALID, DIRTY, PLV_USER, CACHE_CC, HUGE, PRESENT, WRITE, MODIFIED, PROTNONE, SPECIAL,
                       PFN, PRESENT_INVALID, NO_READ, NO_EXEC));
static_assert(disjoint(SWP_TYPE, SWP_OFFSET, HUGE, PRESENT, PROTNONE));

/// D where stores need not fault any more.
constexpr u64 place_dirty(u64 e) {
  return (e & ~DIRTY) | bit_if((e & (WRITE | MODIFIED)) == (WRITE | MODIFIED), DIRTY);
}

constexpr bool none(u64 e, level_t level) { return (e & ~bit_if(level.number == PTE_LEVEL, HUGE)) == 0; }
constexpr bool present(u64 e, level_t level) {
  if (level.number == PTE_LEVEL) return (e & (PRESENT | PROTNONE)) != 0;
  if ((e & HUGE) != 0) return (e & (PRESENT | PROTNONE | PRESENT_INVALID)) != 0;
  return e != 0;
}
constexpr bool valid(u64 e, level_t level) {
  if (level.number == PTE_LEVEL || (e & HUGE) != 0) return (e & PRESENT) != 0;
  return e != 0;
}
constexpr bool leaf(u64 e, level_t level) {
  return level.number == PTE_LEVEL ? present(e, level) : (e & HUGE) != 0;
}
constexpr bool trans_huge(u64 e) {
  return (e & HUGE) != 0 && (e & (PRESENT | PROTNONE | PRESENT_INVALID)) != 0;
}
constexpr bool bad(u64 e, level_t) { return (e & ~PAGE_MASK) != 0; }
constexpr bool protnone(u64 e) { return (e & PROTNONE) != 0; }

constexpr bool write(u64 e) { return (e & WRITE) != 0; }
constexpr bool dirty(u64 e) { return (e & (MODIFIED | DIRTY)) != 0; }
constexpr bool young(u64 e) { return (e & ACCESSED) != 0; }
constexpr bool special(u64 e) { return (e & SPECIAL) != 0; }
constexpr pfn_t pfn(u64 e, level_t) { return (e & PFN) >> PAGE_SHIFT; }
constexpr pfn_t table_pfn(u64 e) { return (e & PFN) >> PAGE_SHIFT; }
constexpr bool access_permitted(u64 e, level_t level, bool for_write) {
  return present(e, level) && (!for_write || write(e));
}
constexpr bool accessible(u64 e, bool flush_pending) {
  return (e & PRESENT) != 0 || (protnone(e) && flush_pending);
}
constexpr bool needs_flush(u64, u64, level_t) { return true; }

constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return PROTNONE | NO_READ | PLV_USER;
  return PRESENT | bit_if(prot.write, WRITE) | bit_if(prot.user, PLV_USER) | bit_if(!prot.exec, NO_EXEC);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t level) {
  return (pfn << PAGE_SHIFT) | rights(prot) | CACHE_CC | ACCESSED | bit_if(level.number != PTE_LEVEL, HUGE);
}
constexpr u64 mk_table(pfn_t pfn, level_t) { return CACHED_WINDOW | (pfn << PAGE_SHIFT); }
/// Linux's lets the page grow old; here A stays, as on every architecture.
constexpr u64 modify(u64 e, pgprot_t prot, level_t) {
  return place_dirty((e & KEPT_BY_MODIFY) | rights(prot));
}
constexpr u64 wrprotect(u64 e) { return place_dirty(e & ~WRITE); }
constexpr u64 mkwrite(u64 e) { return place_dirty(e | WRITE); }
constexpr u64 mkdirty(u64 e) { return place_dirty(e | MODIFIED); }
constexpr u64 mkclean(u64 e) { return e & ~(MODIFIED | DIRTY); }
constexpr u64 mkyoung(u64 e) { return e | ACCESSED; }
constexpr u64 mkold(u64 e) { return e & ~ACCESSED; }
constexpr u64 mkspecial(u64 e) { return e | SPECIAL; }
constexpr u64 mkinvalid(u64 e, level_t) {
  return (e | PRESENT_INVALID) & ~(PRESENT | VALID | DIRTY | PROTNONE);
}

constexpr u64 swp_entry(unsigned type, u64 offset, level_t level) {
  return (u64{type} << SWP_TYPE_SHIFT) | (offset << SWP_OFFSET_SHIFT) |
         bit_if(level.number != PTE_LEVEL, HUGE);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>((e & SWP_TYPE) >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return (e & SWP_OFFSET) >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, bool store) {
  const u64 need = VALID | PLV_USER | bit_if(store, DIRTY);
  return (e & need) == need && (e & NO_READ) == 0;
}
constexpr u64 mmu_update(u64 e, bool) { return e; }

} // namespace loongarch

inline constexpr arch_desc loongarch64{
    .name = "loongarch64",

    .memory_model = memory_model_t::weak,
    .ad_profile = ad_profile_t::sw,
    .flush_kind = flush_kind_t::ipi,
    .flush_targets = flush_targets_t::cpumask,
    .walk_cache = walk_cache_rule_t::any_flush, // software walks: nothing of a walk is cached
    .table_free = table_free_rule_t::ipi_flush,
    .mm_cpumask = cpumask_rule_t::set_only,
    .xchg_order = order::relaxed, // of a pte: a load and a store, as nobody else writes it
    .thp_migration = true,
    .phys_bits = 46,

    .none = loongarch::none,
    .present = loongarch::present,
    .valid = loongarch::valid,
    .leaf = loongarch::leaf,
    .trans_huge = loongarch::trans_huge,
    .bad = loongarch::bad,
    .protnone = at_any_level<loongarch::protnone>,

    .write = at_any_level<loongarch::write>,
    .dirty = at_any_level<loongarch::dirty>,
    .young = at_any_level<loongarch::young>,
    .special = at_any_level<loongarch::special>,
    .pfn = loongarch::pfn,
    .table_pfn = loongarch::table_pfn,
    .access_permitted = loongarch::access_permitted,
    .accessible = at_any_level<loongarch::accessible>,
    .needs_flush = loongarch::needs_flush,

    .mk_leaf = loongarch::mk_leaf,
    .mk_table = loongarch::mk_table,
    .modify = loongarch::modify,
    .wrprotect = at_any_level<loongarch::wrprotect>,
    .mkwrite = at_any_level<loongarch::mkwrite>,
    .mkdirty = at_any_level<loongarch::mkdirty>,
    .mkclean = at_any_level<loongarch::mkclean>,
    .mkyoung = at_any_level<loongarch::mkyoung>,
    .mkold = at_any_level<loongarch::mkold>,
    .mkspecial = at_any_level<loongarch::mkspecial>,
    .mkinvalid = loongarch::mkinvalid,

    .swp_type_bits = loongarch::SWP_TYPE_BITS,
    .swp_offset_bits = loongarch::SWP_OFFSET_BITS,
    .swp_entry = loongarch::swp_entry,
    .swp_type = loongarch::swp_type,
    .swp_offset = loongarch::swp_offset,

    .mmu_permits = at_any_level<loongarch::mmu_permits>,
    .mmu_update = at_any_level<loongarch::mmu_update>,
};

static_assert(loongarch::SWP_OFFSET_BITS >= loongarch64.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(loongarch64));
// the bit that makes a huge entry present is not one that a migration entry uses
static_assert(loongarch::swp_offset(loongarch::PRESENT_INVALID) >
              u64{1} << (loongarch64.phys_bits - PAGE_SHIFT + 1));

} // namespace racewalk
