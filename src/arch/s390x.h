// s390x: A and D by software, invalidation by broadcast (IPTE, IDTE).
//
//   page                52 bits of frame from 12 | 10 INVALID | 9 PROTECT | 8 no exec | 6 special | 5 WRITE
//                       4 READ | 3 dirty | 2 young | 0 PRESENT
//   segment, large      segment number from 20 | 15 special | 13 dirty | 12 young | 10 LARGE | 9 PROTECT
//                       8 no exec | 5 INVALID | 1 WRITE | 0 READ
//   region 3, large     region number from 31; WRITE 0, READ 1, the others as a segment's
//   segment to a table  its address; region: its address | 3..2 which region table | 1..0 its length
//
// What is kept true:
//  - PROTECT is set unless the entry is writable and dirty, INVALID unless it is readable and young: so the
//    first store and the first access fault. An old leaf is thus as invalid as one that mkinvalid() made.
//  - Empty entries have INVALID set, and above the PTE level the type. In memory each word is exclusive-ored
//    with its level's empty entry, so that a table of zeroes is an empty one.
//  - The frame of a large entry is counted in large pages, from the bit where the real segment (256 pages)
//    and region 3 (2048 segments) begin: the real encoding there, and room for it in every geometry.
//  - Whatever is not empty is present above the PTE level: huge pages have no migration entries.
//  - There is no test of access of the architecture's own; the generic one lets an invalid leaf pass. No
//    entry tells user from kernel, which live in different address spaces.
//
// IPTE and IDTE invalidate and flush in one step, whenever Linux takes a live entry away. Here the flush
// comes afterwards, as on every architecture: what is safe here is safe there.
#pragma once

#include "arch/arch_desc.h"
#include "arch/bits.h"

namespace racewalk {

namespace s390 {

using namespace entry_bits;

inline constexpr u64 PROTECT = bit(9);
inline constexpr u64 NOEXEC = bit(8);
inline constexpr u64 LARGE = bit(10);
inline constexpr u64 ORIGIN = bits(63, PAGE_SHIFT); ///< of a table

/// Where the entries of one level have their fields.
struct layout {
  u64 leaf; ///< set in a leaf: PRESENT of a page, LARGE above
  u64 invalid;
  u64 read;
  u64 write;
  u64 young;
  u64 dirty;
  u64 special;
  unsigned frame_shift;
  u64 type; ///< of the table that the entry stands in, with the length of the table that it points to
  u64 empty;
  u64 bad; ///< clear in what points to a table

  [[nodiscard]] constexpr u64 frame() const { return ~u64{0} << frame_shift; }
};
inline constexpr layout page{.leaf = bit(0),
                             .invalid = bit(10),
                             .read = bit(4),
                             .write = bit(5),
                             .young = bit(2),
                             .dirty = bit(3),
                             .special = bit(6),
                             .frame_shift = PAGE_SHIFT,
                             .type = 0,
                             .empty = bit(10),
                             .bad = 0};
inline constexpr layout segment{.leaf = LARGE,
                                .invalid = bit(5),
                                .read = bit(0),
                                .write = bit(1),
                                .young = bit(12),
                                .dirty = bit(13),
                                .special = bit(15), // Linux has no special segment
                                .frame_shift = 20,
                                .type = 0,
                                .empty = bit(5),
                                .bad = LARGE | bits(8, 6) | bits(3, 2)};
inline constexpr layout region3{.leaf = LARGE,
                                .invalid = bit(5),
                                .read = bit(1),
                                .write = bit(0),
                                .young = bit(12),
                                .dirty = bit(13),
                                .special = bit(15),
                                .frame_shift = 31,
                                .type = bit(2) | bits(1, 0),
                                .empty = bit(5) | bit(2),
                                .bad = bits(11, 10) | bits(8, 6) | bit(4)};
inline constexpr layout region2 = [] {
  layout l = region3;
  l.type = bit(3) | bits(1, 0);
  l.empty = bit(5) | bit(3);
  return l;
}();

constexpr const layout& layout_of(level_t level) {
  switch (level.number) {
  case PTE_LEVEL:
    return page;
  case PMD_LEVEL:
    return segment;
  case PUD_LEVEL:
    return region3;
  default:
    return region2;
  }
}

constexpr bool fields_are_disjoint(const layout& l) {
  return disjoint(l.leaf, l.invalid, PROTECT, NOEXEC, l.read, l.write, l.young, l.dirty, l.special,
                  l.frame());
}
static_assert(fields_are_disjoint(page) && fields_are_disjoint(segment) && fields_are_disjoint(region3));

inline constexpr unsigned SWP_TYPE_SHIFT = 2;
inline constexpr unsigned SWP_TYPE_BITS = 5;
inline constexpr unsigned SWP_OFFSET_SHIFT = 12;
inline constexpr unsigned SWP_OFFSET_BITS = 52;
inline constexpr u64 SWP_TYPE = bits(SWP_TYPE_SHIFT + SWP_TYPE_BITS - 1, SWP_TYPE_SHIFT);

static_assert(disjoint(SWP_TYPE, page.invalid, PROTECT, page.leaf, bits(63, SWP_OFFSET_SHIFT)));

/// From the word in memory to the entry as the machine has it, and back.
constexpr u64 real(u64 e, level_t level) { return e ^ layout_of(level).empty; }

/// The word whose bits `clear` are cleared and whose bits `set` are set.
constexpr u64 change(u64 e, level_t level, u64 clear, u64 set) {
  return real((real(e, level) & ~clear) | set, level);
}

constexpr bool none(u64 e) { return e == 0; }
constexpr bool present(u64 e, level_t level) {
  return level.number == PTE_LEVEL ? (e & page.leaf) != 0 : e != 0;
}
constexpr bool valid(u64 e, level_t level) { return (real(e, level) & layout_of(level).invalid) == 0; }
constexpr bool leaf(u64 e, level_t level) { return (real(e, level) & layout_of(level).leaf) != 0; }
constexpr bool trans_huge(u64 e) { return (e & LARGE) != 0; }
constexpr bool bad(u64 e, level_t level) {
  return (real(e, level) & layout_of(level).bad & ~LARGE) != 0 || leaf(e, level);
}
constexpr bool protnone(u64 e, level_t level) {
  return leaf(e, level) && (real(e, level) & layout_of(level).read) == 0;
}

constexpr bool write(u64 e, level_t level) { return (real(e, level) & layout_of(level).write) != 0; }
constexpr bool dirty(u64 e, level_t level) { return (real(e, level) & layout_of(level).dirty) != 0; }
constexpr bool young(u64 e, level_t level) { return (real(e, level) & layout_of(level).young) != 0; }
constexpr bool special(u64 e, level_t level) { return (real(e, level) & layout_of(level).special) != 0; }
constexpr pfn_t pfn(u64 e, level_t level) { return (e >> layout_of(level).frame_shift) << level.order(); }
constexpr pfn_t table_pfn(u64 e) { return (e & ORIGIN) >> PAGE_SHIFT; }
constexpr bool access_permitted(u64 e, level_t level, bool for_write) {
  return present(e, level) && (!for_write || write(e, level));
}
constexpr bool accessible(u64, bool) { return true; }
constexpr bool needs_flush(u64, u64, level_t) { return true; }

/// INVALID and PROTECT as the other bits want them.
constexpr u64 settled(u64 e, level_t level) {
  const layout& l = layout_of(level);
  const u64 r = real(e, level);
  const bool usable = (r & (l.read | l.young)) == (l.read | l.young);
  const bool storable = (r & (l.write | l.dirty)) == (l.write | l.dirty);
  return change(e, level, l.invalid | PROTECT, bit_if(!usable, l.invalid) | bit_if(!storable, PROTECT));
}
constexpr u64 rights(pgprot_t prot, const layout& l) {
  if (prot.none) return 0;
  return l.read | bit_if(prot.write, l.write) | bit_if(!prot.exec, NOEXEC);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t level) {
  const layout& l = layout_of(level);
  const u64 e = ((pfn >> level.order()) << l.frame_shift) | l.leaf | l.young | rights(prot, l);
  return settled(real(e, level), level);
}
constexpr u64 mk_table(pfn_t pfn, level_t level) {
  return real((pfn << PAGE_SHIFT) | layout_of(level).type, level);
}
constexpr u64 modify(u64 e, pgprot_t prot, level_t level) {
  const layout& l = layout_of(level);
  return settled(change(e, level, l.read | l.write | NOEXEC, rights(prot, l)), level);
}
constexpr u64 wrprotect(u64 e, level_t level) { return change(e, level, layout_of(level).write, PROTECT); }
constexpr u64 mkwrite(u64 e, level_t level) {
  return change(e, level, bit_if(dirty(e, level), PROTECT), layout_of(level).write);
}
constexpr u64 mkdirty(u64 e, level_t level) {
  return change(e, level, bit_if(write(e, level), PROTECT), layout_of(level).dirty);
}
constexpr u64 mkclean(u64 e, level_t level) { return change(e, level, layout_of(level).dirty, PROTECT); }
constexpr u64 mkyoung(u64 e, level_t level) {
  const layout& l = layout_of(level);
  return change(e, level, bit_if((real(e, level) & l.read) != 0, l.invalid), l.young);
}
constexpr u64 mkold(u64 e, level_t level) {
  return change(e, level, layout_of(level).young, layout_of(level).invalid);
}
constexpr u64 mkspecial(u64 e, level_t level) { return change(e, level, 0, layout_of(level).special); }
constexpr u64 mkinvalid(u64 e, level_t level) { return change(e, level, 0, layout_of(level).invalid); }

constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  const u64 e = page.invalid | PROTECT | (u64{type} << SWP_TYPE_SHIFT) | (offset << SWP_OFFSET_SHIFT);
  return e ^ page.empty;
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>((e & SWP_TYPE) >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return e >> SWP_OFFSET_SHIFT; }

constexpr bool mmu_permits(u64 e, level_t level, bool store) {
  return leaf(e, level) && valid(e, level) && (!store || (real(e, level) & PROTECT) == 0);
}
constexpr u64 mmu_update(u64 e, bool) { return e; }

} // namespace s390

inline constexpr arch_desc s390x{
    .name = "s390x",

    .memory_model = memory_model_t::tso,
    .ad_profile = ad_profile_t::sw,
    .flush_kind = flush_kind_t::broadcast,
    .flush_targets = flush_targets_t::all,
    .walk_cache = walk_cache_rule_t::mm_flush, // IPTE leaves what is cached of segment and region entries
    .table_free = table_free_rule_t::rcu,
    .mm_cpumask = cpumask_rule_t::set_only,
    .xchg_order = order::full,
    .thp_migration = false,
    .phys_bits = 46,

    .none = at_any_level<s390::none>,
    .present = s390::present,
    .valid = s390::valid,
    .leaf = s390::leaf,
    .trans_huge = s390::trans_huge,
    .bad = s390::bad,
    .protnone = s390::protnone,

    .write = s390::write,
    .dirty = s390::dirty,
    .young = s390::young,
    .special = s390::special,
    .pfn = s390::pfn,
    .table_pfn = s390::table_pfn,
    .access_permitted = s390::access_permitted,
    .accessible = at_any_level<s390::accessible>,
    .needs_flush = s390::needs_flush,

    .mk_leaf = s390::mk_leaf,
    .mk_table = s390::mk_table,
    .modify = s390::modify,
    .wrprotect = s390::wrprotect,
    .mkwrite = s390::mkwrite,
    .mkdirty = s390::mkdirty,
    .mkclean = s390::mkclean,
    .mkyoung = s390::mkyoung,
    .mkold = s390::mkold,
    .mkspecial = s390::mkspecial,
    .mkinvalid = s390::mkinvalid,

    .swp_type_bits = s390::SWP_TYPE_BITS,
    .swp_offset_bits = s390::SWP_OFFSET_BITS,
    .swp_entry = s390::swp_entry,
    .swp_type = s390::swp_type,
    .swp_offset = s390::swp_offset,

    .mmu_permits = s390::mmu_permits,
    .mmu_update = at_any_level<s390::mmu_update>,
};

static_assert(s390::SWP_OFFSET_BITS >= s390x.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(s390x));

} // namespace racewalk
