// sparc64 as sun4v lays it out: TLBs that software fills, A and D by software, flushes by cross calls that
// interrupts-off does not hold back.
//
//   63 VALID | 61 modified | 60 accessed | 59 READ | 58 WRITE | 57 special | 56 huge | 55..13 pfn
//   10 cacheable | 8 PRIVILEGED | 7 EXEC | 6 W | 4 PRESENT | 2..0 size; a table entry is its address
//
// What is kept true:
//  - W, which hardware looks at, is set beside WRITE and `modified` only, VALID beside READ and `accessed`
//    only: so the first store and the first access fault. An old leaf is thus as invalid as one that
//    mkinvalid() made.
//  - Whatever is not 0 is present above the PTE level: huge pages have no migration entries, and no table
//    stands in frame 0.
//  - The test of access is the generic one for a pmd, so it lets an invalid leaf pass. The pte's is the
//    architecture's own: present, not privileged. (Linux's asks for the privileged bit to be set, by which
//    no user's page ever passes.)
//
// The real page is 8 KiB: the pfn stands one bit higher here than a frame of 4 KiB would need.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace sparc {

using namespace entry_bits;

inline constexpr u64 SIZE_4MB = bits(1, 0);
inline constexpr u64 PRESENT = bit(4);
inline constexpr u64 W = bit(6);
inline constexpr u64 EXEC = bit(7);
inline constexpr u64 PRIVILEGED = bit(8);
inline constexpr u64 CACHEABLE = bit(10);
inline constexpr unsigned PFN_SHIFT = 13;
inline constexpr u64 PFN = bits(55, PFN_SHIFT);
inline constexpr u64 HUGE = bit(56);
inline constexpr u64 SPECIAL = bit(57);
inline constexpr u64 WRITE = bit(58);
inline constexpr u64 READ = bit(59);
inline constexpr u64 ACCESSED = bit(60);
inline constexpr u64 MODIFIED = bit(61);
inline constexpr u64 VALID = bit(63);

inline constexpr u64 CHANGED_BY_MODIFY = READ | WRITE | EXEC | PRIVILEGED;

inline constexpr unsigned SWP_TYPE_SHIFT = PFN_SHIFT;
inline constexpr unsigned SWP_TYPE_BITS = 8;
inline constexpr unsigned SWP_OFFSET_SHIFT = SWP_TYPE_SHIFT + SWP_TYPE_BITS;
inline constexpr unsigned SWP_OFFSET_BITS = 64 - SWP_OFFSET_SHIFT;
inline constexpr u64 SWP_TYPE = bits(SWP_OFFSET_SHIFT - 1, SWP_TYPE_SHIFT);

static_assert(disjoint(SIZE_4MB, PRESENT, W, EXEC, PRIVILEGED, CACHEABLE, PFN, HUGE, SPECIAL, WRITE, READ,
                       ACCESSED, MODIFIED, VALID));
static_assert(disjoint(SWP_TYPE, bits(63, SWP_OFFSET_SHIFT), PRESENT));

/// VALID and W as the other bits want them.
constexpr u64 place_valid(u64 e) {
  return (e & ~VALID) | bit_if((e & (READ | ACCESSED)) == (READ | ACCESSED), VALID);
}
constexpr u64 place_w(u64 e) { return (e & ~W) | bit_if((e & (WRITE | MODIFIED)) == (WRITE | MODIFIED), W); }

constexpr bool none(u64 e) { return e == 0; }
constexpr bool present(u64 e, level_t level) {
  return level.number == PTE_LEVEL ? (e & PRESENT) != 0 : e != 0;
}
constexpr bool leaf(u64 e, level_t level) {
  return level.number == PTE_LEVEL ? present(e, level) : (e & HUGE) != 0;
}
constexpr bool valid(u64 e, level_t level) {
  return level.number == PTE_LEVEL || (e & HUGE) != 0 ? (e & (PRESENT | VALID)) == (PRESENT | VALID) : e != 0;
}
constexpr bool trans_huge(u64 e) { return (e & HUGE) != 0; }
constexpr bool bad(u64 e, level_t) { return (e & ~(~u64{0} << PFN_SHIFT)) != 0; }
constexpr bool protnone(u64 e, level_t level) { return leaf(e, level) && (e & READ) == 0; }

constexpr bool write(u64 e) { return (e & WRITE) != 0; }
constexpr bool dirty(u64 e) { return (e & MODIFIED) != 0; }
constexpr bool young(u64 e) { return (e & ACCESSED) != 0; }
constexpr bool special(u64 e) { return (e & SPECIAL) != 0; }
constexpr pfn_t pfn(u64 e, level_t) { return (e & PFN) >> PFN_SHIFT; }
constexpr pfn_t table_pfn(u64 e) { return (e & PFN) >> PFN_SHIFT; }
constexpr bool access_permitted(u64 e, level_t level, bool for_write) {
  if (level.number == PTE_LEVEL && (e & PRIVILEGED) != 0) return false;
  return present(e, level) && (!for_write || write(e));
}
/// An old entry is not valid, as a PROT_NONE one is not. (Linux's knows of neither that waits for its flush,
/// for it flushes before it lets go of the ptl.)
constexpr bool accessible(u64 e, level_t level, bool flush_pending) {
  return valid(e, level) || (present(e, level) && flush_pending);
}
constexpr bool needs_flush(u64, u64, level_t) { return true; }

constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return 0;
  return READ | bit_if(prot.write, WRITE) | bit_if(prot.exec, EXEC) | bit_if(!prot.user, PRIVILEGED);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t level) {
  return place_valid((pfn << PFN_SHIFT) | PRESENT | CACHEABLE | ACCESSED | rights(prot) |
                     bit_if(level.number != PTE_LEVEL, HUGE | SIZE_4MB));
}
constexpr u64 mk_table(pfn_t pfn, level_t) { return pfn << PFN_SHIFT; }
constexpr u64 modify(u64 e, pgprot_t prot, level_t) {
  return place_valid(place_w((e & ~CHANGED_BY_MODIFY) | rights(prot)));
}
constexpr u64 wrprotect(u64 e) { return place_w(e & ~WRITE); }
constexpr u64 mkwrite(u64 e) { return place_w(e | WRITE); }
constexpr u64 mkdirty(u64 e) { return place_w(e | MODIFIED); }
constexpr u64 mkclean(u64 e) { return place_w(e & ~MODIFIED); }
constexpr u64 mkyoung(u64 e) { return place_valid(e | ACCESSED); }
constexpr u64 mkold(u64 e) { return e & ~(ACCESSED | VALID); }
constexpr u64 mkspecial(u64 e) { return e | SPECIAL; }
constexpr u64 mkinvalid(u64 e, level_t) { return e & ~VALID; }

constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  return (u64{type} << SWP_TYPE_SHIFT) | (offset << SWP_OFFSET_SHIFT);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>((e & SWP_TYPE) >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return e >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, bool store) {
  const u64 need = PRESENT | VALID | bit_if(store, W);
  return (e & need) == need && (e & PRIVILEGED) == 0;
}
constexpr u64 mmu_update(u64 e, bool) { return e; }

} // namespace sparc

inline constexpr arch_desc sparc64{
    .name = "sparc64",

    .memory_model = memory_model_t::tso,
    .ad_profile = ad_profile_t::sw,
    .flush_kind = flush_kind_t::broadcast, // cross calls run whatever the interrupt level
    .flush_targets = flush_targets_t::cpumask,
    .walk_cache = walk_cache_rule_t::any_flush, // software walks: nothing of a walk is cached
    .table_free = table_free_rule_t::rcu,
    .mm_cpumask = cpumask_rule_t::set_only,
    .xchg_order = order::full,
    .thp_migration = false,
    .phys_bits = 53,

    .none = at_any_level<sparc::none>,
    .present = sparc::present,
    .valid = sparc::valid,
    .leaf = sparc::leaf,
    .trans_huge = sparc::trans_huge,
    .bad = sparc::bad,
    .protnone = sparc::protnone,

    .write = at_any_level<sparc::write>,
    .dirty = at_any_level<sparc::dirty>,
    .young = at_any_level<sparc::young>,
    .special = at_any_level<sparc::special>,
    .pfn = sparc::pfn,
    .table_pfn = sparc::table_pfn,
    .access_permitted = sparc::access_permitted,
    .accessible = sparc::accessible,
    .needs_flush = sparc::needs_flush,

    .mk_leaf = sparc::mk_leaf,
    .mk_table = sparc::mk_table,
    .modify = sparc::modify,
    .wrprotect = at_any_level<sparc::wrprotect>,
    .mkwrite = at_any_level<sparc::mkwrite>,
    .mkdirty = at_any_level<sparc::mkdirty>,
    .mkclean = at_any_level<sparc::mkclean>,
    .mkyoung = at_any_level<sparc::mkyoung>,
    .mkold = at_any_level<sparc::mkold>,
    .mkspecial = at_any_level<sparc::mkspecial>,
    .mkinvalid = sparc::mkinvalid,

    .swp_type_bits = sparc::SWP_TYPE_BITS,
    .swp_offset_bits = sparc::SWP_OFFSET_BITS,
    .swp_entry = sparc::swp_entry,
    .swp_type = sparc::swp_type,
    .swp_offset = sparc::swp_offset,

    .mmu_permits = at_any_level<sparc::mmu_permits>,
    .mmu_update = at_any_level<sparc::mmu_update>,
};

static_assert(sparc::SWP_OFFSET_BITS >= sparc64.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(sparc64));

} // namespace racewalk
