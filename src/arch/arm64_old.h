// arm64 as Linux laid it out up to 6.10: PROT_NONE and an invalidated pmd have a bit each.
//
//   59 PMD_PRESENT_INVALID if not VALID | 58 PROT_NONE if not VALID; the others as in arm64.h, where bit 11,
//   nG, has become both
//
// What is kept true: a swap offset ends below bit 58, so no swap entry reads as present; but what mkinvalid()
// makes of one does (S4.1).
#pragma once

#include "arch/arm64.h"

namespace racewalk {

namespace arm_old {

using namespace entry_bits;

inline constexpr u64 PTE_PROT_NONE = bit(58);
inline constexpr u64 PMD_PRESENT_INVALID = bit(59);
inline constexpr u64 PRESENT = arm::VALID | PTE_PROT_NONE | PMD_PRESENT_INVALID;

inline constexpr unsigned SWP_TYPE_SHIFT = 3;
inline constexpr unsigned SWP_TYPE_BITS = 5;
inline constexpr unsigned SWP_OFFSET_SHIFT = 8;
inline constexpr unsigned SWP_OFFSET_BITS = 50;
inline constexpr u64 SWP_TYPE = bits(SWP_TYPE_SHIFT + SWP_TYPE_BITS - 1, SWP_TYPE_SHIFT);
inline constexpr u64 SWP_OFFSET = bits(SWP_OFFSET_SHIFT + SWP_OFFSET_BITS - 1, SWP_OFFSET_SHIFT);

inline constexpr u64 SWP_SOFT_DIRTY = bit(2);

static_assert(disjoint(arm::TYPE, PTE_PROT_NONE, PMD_PRESENT_INVALID, SWP_TYPE, SWP_OFFSET, SWP_SOFT_DIRTY));

constexpr bool present(u64 e, level_t level) {
  const u64 marks = level.number == PTE_LEVEL ? arm::VALID | PTE_PROT_NONE : PRESENT;
  return (e & marks) != 0;
}
constexpr bool leaf(u64 e, level_t level) {
  return present(e, level) && (level.number == PTE_LEVEL || (e & arm::TYPE) != arm::TABLE);
}
constexpr bool trans_huge(u64 e) { return (e & PRESENT) != 0 && (e & arm::NOT_BLOCK) == 0; }
constexpr bool protnone(u64 e) { return (e & (arm::VALID | PTE_PROT_NONE)) == PTE_PROT_NONE; }
constexpr bool accessible(u64 e, level_t level, bool flush_pending) {
  return arm::valid(e) || (flush_pending && present(e, level));
}

constexpr u64 rights(pgprot_t prot) {
  if (prot.none) return PTE_PROT_NONE | arm::NG | arm::RDONLY | arm::PXN | arm::UXN;
  return arm::rights(prot);
}
constexpr u64 mk_leaf(pfn_t pfn, pgprot_t prot, level_t level) {
  return (pfn << PAGE_SHIFT) | rights(prot) | arm::AF | arm::SHARED |
         bit_if(level.number == PTE_LEVEL, arm::NOT_BLOCK);
}
constexpr u64 modify(u64 e, pgprot_t prot, level_t) {
  const u64 changed = (e & ~(arm::CHANGED_BY_MODIFY | PTE_PROT_NONE | PMD_PRESENT_INVALID)) | rights(prot);
  return arm::dirty(e) ? arm::mkdirty(changed) : changed;
}
constexpr u64 mkinvalid(u64 e, level_t) { return (e | PMD_PRESENT_INVALID) & ~arm::VALID; }

constexpr u64 swp_entry(unsigned type, u64 offset, level_t) {
  return (u64{type} << SWP_TYPE_SHIFT) | (offset << SWP_OFFSET_SHIFT);
}
constexpr unsigned swp_type(u64 e) { return static_cast<unsigned>((e & SWP_TYPE) >> SWP_TYPE_SHIFT); }
constexpr u64 swp_offset(u64 e) { return (e & SWP_OFFSET) >> SWP_OFFSET_SHIFT; }

} // namespace arm_old

inline constexpr arch_desc arm64_old = [] {
  arch_desc d = arm64;
  d.name = "arm64-old";
  d.present = arm_old::present;
  d.leaf = arm_old::leaf;
  d.trans_huge = arm_old::trans_huge;
  d.protnone = at_any_level<arm_old::protnone>;
  d.accessible = arm_old::accessible;
  d.mk_leaf = arm_old::mk_leaf;
  d.modify = arm_old::modify;
  d.mkinvalid = arm_old::mkinvalid;
  d.uffd_wp = 0; // the bit was PROT_NONE's
  d.swp_uffd_wp = 0;
  d.swp_soft_dirty = arm_old::SWP_SOFT_DIRTY;
  d.swp_type_bits = arm_old::SWP_TYPE_BITS;
  d.swp_offset_bits = arm_old::SWP_OFFSET_BITS;
  d.swp_entry = arm_old::swp_entry;
  d.swp_type = arm_old::swp_type;
  d.swp_offset = arm_old::swp_offset;
  d.uffd_wp = 0; // its bit was PROT_NONE's
  d.swp_uffd_wp = 0;
  return d;
}();

static_assert(arm_old::SWP_OFFSET_BITS >= arm64_old.phys_bits - PAGE_SHIFT + 2);
static_assert(round_trips(arm64_old));

} // namespace racewalk
