// riscv64 (Sv48), A and D updated by software (Svade), remote fences by the firmware (SBI).
//
//   60 uffd-wp | 53..10 pfn | 8 special | 7 D | 6 A | 5 G, PROT_NONE if not V | 4 U | 3 X | 2 W | 1 R | 0 V
//
// What is kept true:
//  - An entry with V and none of R, W, X points to a table; every leaf has one of them, also while it
//    is not valid: that is what keeps an invalidated pmd present and huge.
//  - There is no permission test of the architecture's own: the generic one asks present() and write(),
//    so it lets a PROT_NONE and an invalid leaf pass.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace riscv {

using namespace entry_bits;

inline constexpr u64 VALID = bit(0);
inline constexpr u64 READ = bit(1);
inline constexpr u64 WRITE = bit(2);
inline constexpr u64 EXEC = bit(3);
inline constexpr u64 USER = bit(4);
inline constexpr u64 PROTNONE = bit(5); ///< the global bit, which means nothing to hardware unless V
inline constexpr u64 ACCESSED = bit(6);
inline constexpr u64 DIRTY = bit(7);
inline constexpr u64 SPECIAL = bit(8);
inline constexpr u64 UFFD_WP = bit(60); ///< ignored by hardware with Svrsw60t59b
inline constexpr u64 LEAF = READ | WRITE | EXEC;
inline constexpr unsigned PFN_SHIFT = 10;
inline constexpr u64 PFN = bits(53, PFN_SHIFT);

inline constexpr u64 CHANGED_BY_MODIFY = VALID | READ | WRITE | EXEC | USER | PROTNONE;

inline constexpr unsigned SWP_TYPE_SHIFT = 7;
inline constexpr unsigned SWP_TYPE_BITS = 5;
inline constexpr unsigned SWP_OFFSET_SHIFT = 12;
inline constexpr unsigned SWP_OFFSET_BITS = 52;
inline constexpr u64 SWP_TYPE = bits(SWP_TYPE_SHIFT + SWP_TYPE_BITS - 1, SWP_TYPE_SHIFT);
inline constexpr u64 SWP_OFFSET = bits(63, SWP_OFFSET_SHIFT);
inline constexpr u64 SWP_UFFD_WP = USER;

static_assert(disjoint(VALID, READ, WRITE, EXEC, USER, PROTNONE, ACCESSED, DIRTY, SPECIAL, UFFD_WP, PFN));
static_assert(disjoint(VALID, LEAF, PROTNONE, SWP_TYPE, SWP_OFFSET, SWP_UFFD_WP));

constexpr bool none(u64 e) { return e == 0; }
constexpr bool present(u64 e, level_t level) {
  switch (level.number) {
  case PTE_LEVEL:
    return (e & (VALID | PROTNONE)) != 0;
  case PMD_LEVEL:
    return (e & (VALID | PROTNONE | LEAF)) != 0; // LEAF alone: an invalid leaf, see mkinvalid
  default:
    return (e & VALID) != 0;
  }
}
constexpr bool valid(u64 e) { return (e & VALID) != 0; }
constexpr bool leaf(u64 e, level_t level) {
  return present(e, level) && (level.number == PTE_LEVEL || (e & LEAF) != 0);
}
constexpr bool trans_huge(u64 e) { return (e & LEAF) != 0; }
constexpr bool bad(u64 e, level_t level) { return !present(e, level) || (e & LEAF) != 0; }
constexpr bool protnone(u64 e) { return (e & (VALID | PROTNONE)) == PROTNONE; }

constexpr bool write(u64 e) { return (e & WRITE) != 0; }
constexpr bool dirty(u64 e) { return (e & DIRTY) != 0; }
constexpr bool young(u64 e) { return (e & ACCESSED) != 0; }
constexpr bool special(u64 e) { return (e & SPECIAL) != 0; }
constexpr pfn_t pfn(u64 e, level_t level) { return ((e & PFN) >> PFN_SHIFT) & (~u64{0} << level.order()); }
constexpr pfn_t table_pfn(u64 e) { return (e & PFN) >> PFN_SHIFT; }
constexpr bool access_permitted(u64 e, level_t level, bool for_write) {
  return present(e, level) && (!for_write || write(e));
}
constexpr bool accessible(u64 e, bool flush_pending) { return valid(e) || (protnone(e) && flush_pending); }
constexpr bool needs_flush(u64, u64, level_t) { return true; }

constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return PROTNONE | READ;
  return VALID | READ | bit_if(prot.write, WRITE) | bit_if(prot.exec, EXEC) | bit_if(prot.user, USER);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t) {
  return (pfn << PFN_SHIFT) | ACCESSED | rights(prot);
}
constexpr u64 mk_table(pfn_t pfn, level_t) { return (pfn << PFN_SHIFT) | VALID; }
constexpr u64 modify(u64 e, pgprot_t prot, level_t) { return (e & ~CHANGED_BY_MODIFY) | rights(prot); }
constexpr u64 wrprotect(u64 e) { return e & ~WRITE; }
constexpr u64 mkwrite(u64 e) { return e | WRITE; }
constexpr u64 mkdirty(u64 e) { return e | DIRTY; }
constexpr u64 mkclean(u64 e) { return e & ~DIRTY; }
constexpr u64 mkyoung(u64 e) { return e | ACCESSED; }
constexpr u64 mkold(u64 e) { return e & ~ACCESSED; }
constexpr u64 mkspecial(u64 e) { return e | SPECIAL; }
constexpr u64 mkinvalid(u64 e, level_t) { return e & ~(VALID | PROTNONE); }

constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  return (u64{type} << SWP_TYPE_SHIFT) | (offset << SWP_OFFSET_SHIFT);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>((e & SWP_TYPE) >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return e >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, bool store) {
  const u64 need = VALID | USER | READ | ACCESSED | bit_if(store, WRITE | DIRTY);
  return (e & need) == need;
}
constexpr u64 mmu_update(u64 e, bool) { return e; }

} // namespace riscv

inline constexpr arch_desc riscv64{
    .name = "riscv64",

    .memory_model = memory_model_t::weak,
    .ad_profile = ad_profile_t::sw,
    .flush_kind =
        flush_kind_t::broadcast, // the fence runs in the firmware of each hart: no rendezvous with irq-off
    .flush_targets = flush_targets_t::cpumask,
    .walk_cache = walk_cache_rule_t::mm_flush, // sfence.vma with an address covers leaf entries only
    .table_free = table_free_rule_t::rcu,
    .mm_cpumask = cpumask_rule_t::set_only, // with ASIDs translations outlive the switch, and so do the bits
    .xchg_order = order::full,
    .thp_migration = true,
    .phys_bits = 56,

    .none = at_any_level<riscv::none>,
    .present = riscv::present,
    .valid = at_any_level<riscv::valid>,
    .leaf = riscv::leaf,
    .trans_huge = riscv::trans_huge,
    .bad = riscv::bad,
    .protnone = at_any_level<riscv::protnone>,

    .write = at_any_level<riscv::write>,
    .dirty = at_any_level<riscv::dirty>,
    .young = at_any_level<riscv::young>,
    .special = at_any_level<riscv::special>,
    .pfn = riscv::pfn,
    .table_pfn = riscv::table_pfn,
    .access_permitted = riscv::access_permitted,
    .accessible = at_any_level<riscv::accessible>,
    .needs_flush = riscv::needs_flush,

    .mk_leaf = riscv::mk_leaf,
    .mk_table = riscv::mk_table,
    .modify = riscv::modify,
    .wrprotect = at_any_level<riscv::wrprotect>,
    .mkwrite = at_any_level<riscv::mkwrite>,
    .mkdirty = at_any_level<riscv::mkdirty>,
    .mkclean = at_any_level<riscv::mkclean>,
    .mkyoung = at_any_level<riscv::mkyoung>,
    .mkold = at_any_level<riscv::mkold>,
    .mkspecial = at_any_level<riscv::mkspecial>,
    .mkinvalid = riscv::mkinvalid,

    .uffd_wp = riscv::UFFD_WP,
    .swp_uffd_wp = riscv::SWP_UFFD_WP,

    .swp_type_bits = riscv::SWP_TYPE_BITS,
    .swp_offset_bits = riscv::SWP_OFFSET_BITS,
    .swp_entry = riscv::swp_entry,
    .swp_type = riscv::swp_type,
    .swp_offset = riscv::swp_offset,

    .mmu_permits = at_any_level<riscv::mmu_permits>,
    .mmu_update = at_any_level<riscv::mmu_update>,
};

static_assert(riscv::SWP_OFFSET_BITS >= riscv64.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(riscv64));

} // namespace racewalk
