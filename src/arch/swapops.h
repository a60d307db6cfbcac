// What a not-present entry remembers: swap entries, of which migration entries are a kind.
//
// A migration entry stands for a page that is being moved or split. Its type tells whether the mapping may be
// restored writable or exclusive; its offset holds the pfn and, above it, whether the page was young and
// dirty.
#pragma once

#include "arch/pgtable.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct swp_entry_t {
  unsigned type;
  u64 offset;
  friend constexpr bool operator==(swp_entry_t, swp_entry_t) = default;
};

/// Linux's numbers, counted from the top of the type field: below them are swap devices.
inline constexpr unsigned SWP_MIGRATION_READ = 24;
inline constexpr unsigned SWP_MIGRATION_READ_EXCLUSIVE = 25;
inline constexpr unsigned SWP_MIGRATION_WRITE = 26;

/// The pfn in the offset of a migration entry, and the two bits above it.
constexpr u64 swp_pfn_mask(const arch_desc& a) { return (u64{1} << (a.phys_bits - PAGE_SHIFT)) - 1; }
constexpr u64 swp_mig_young(const arch_desc& a) { return swp_pfn_mask(a) + 1; }
constexpr u64 swp_mig_dirty(const arch_desc& a) { return swp_mig_young(a) << 1; }

/// A PTE marker remembers something about an address of a file at which nothing is mapped; its offset says
/// what.
inline constexpr unsigned SWP_PTE_MARKER = 27;
inline constexpr u64 PTE_MARKER_UFFD_WP = 1; ///< userfaultfd write-protected it

/// The swap file's entries: the offset is the slot, and above it whether the page is the mm's alone (Linux's
/// pte_swp_exclusive, which has a bit beside the offset).
inline constexpr unsigned SWP_FILE = 0;
constexpr u64 swp_exclusive(const arch_desc& a) { return u64{1} << (a.swp_offset_bits - 1); }

inline bool is_swap_pte(pte_t pte) { return !pte_none(pte) && !pte_present(pte); }
inline bool is_swap_pmd(pmd_t pmd) { return !pmd_none(pmd) && !pmd_present(pmd); }

template <unsigned Level> swp_entry_t entry_to_swp_entry(entry_t<Level> e) {
  return {arch().swp_type(e.val), arch().swp_offset(e.val)};
}
inline swp_entry_t pte_to_swp_entry(pte_t pte) { return entry_to_swp_entry(pte); }
inline swp_entry_t pmd_to_swp_entry(pmd_t pmd) { return entry_to_swp_entry(pmd); }
inline pte_t swp_entry_to_pte(swp_entry_t entry) {
  return {arch().swp_entry(entry.type, entry.offset, level_of(PTE_LEVEL))};
}
/// Only with arch_desc::thp_migration.
inline pmd_t swp_entry_to_pmd(swp_entry_t entry) {
  return {arch().swp_entry(entry.type, entry.offset, level_of(PMD_LEVEL))};
}

inline pte_t make_pte_marker(u64 what) { return swp_entry_to_pte({SWP_PTE_MARKER, what}); }
inline bool is_pte_marker(pte_t pte) {
  return is_swap_pte(pte) && pte_to_swp_entry(pte).type == SWP_PTE_MARKER;
}
inline bool pte_marker_uffd_wp(pte_t pte) {
  return is_pte_marker(pte) && (pte_to_swp_entry(pte).offset & PTE_MARKER_UFFD_WP) != 0;
}
/// Nothing is mapped there, whatever is remembered of it.
inline bool pte_none_mostly(pte_t pte) { return pte_none(pte) || is_pte_marker(pte); }

inline swp_entry_t make_readable_migration_entry(pfn_t pfn) { return {SWP_MIGRATION_READ, pfn}; }
inline swp_entry_t make_readable_exclusive_migration_entry(pfn_t pfn) {
  return {SWP_MIGRATION_READ_EXCLUSIVE, pfn};
}
inline swp_entry_t make_writable_migration_entry(pfn_t pfn) { return {SWP_MIGRATION_WRITE, pfn}; }
inline swp_entry_t make_migration_entry_young(swp_entry_t e) {
  return {e.type, e.offset | swp_mig_young(arch())};
}
inline swp_entry_t make_migration_entry_dirty(swp_entry_t e) {
  return {e.type, e.offset | swp_mig_dirty(arch())};
}

/// A page that is in a slot of the swap file. Slot 0 is none: its entry may read as none.
inline swp_entry_t make_swap_entry(u64 slot, bool exclusive) {
  return {SWP_FILE, slot | (exclusive ? swp_exclusive(arch()) : 0)};
}
inline bool is_swap_entry(swp_entry_t e) { return e.type == SWP_FILE; }
inline u64 swp_slot(swp_entry_t e) { return e.offset & ~swp_exclusive(arch()); }
inline bool is_exclusive_swap_entry(swp_entry_t e) { return (e.offset & swp_exclusive(arch())) != 0; }
/// The same of a page that other mms have, too.
inline swp_entry_t make_swap_entry_shared(swp_entry_t e) { return make_swap_entry(swp_slot(e), false); }

/// The same of a page that is nobody's alone any more.
inline swp_entry_t make_migration_entry_shared(swp_entry_t e) { return {SWP_MIGRATION_READ, e.offset}; }

inline bool is_migration_entry(swp_entry_t e) {
  return e.type >= SWP_MIGRATION_READ && e.type <= SWP_MIGRATION_WRITE;
}
inline bool is_writable_migration_entry(swp_entry_t e) { return e.type == SWP_MIGRATION_WRITE; }
inline bool is_readable_exclusive_migration_entry(swp_entry_t e) {
  return e.type == SWP_MIGRATION_READ_EXCLUSIVE;
}
inline bool is_migration_entry_young(swp_entry_t e, const arch_desc& a = arch()) {
  return (e.offset & swp_mig_young(a)) != 0;
}
inline bool is_migration_entry_dirty(swp_entry_t e, const arch_desc& a = arch()) {
  return (e.offset & swp_mig_dirty(a)) != 0;
}
inline pfn_t swp_offset_pfn(swp_entry_t e, const arch_desc& a = arch()) { return e.offset & swp_pfn_mask(a); }
inline bool is_pmd_migration_entry(pmd_t pmd) {
  return is_swap_pmd(pmd) && is_migration_entry(pmd_to_swp_entry(pmd));
}

} // namespace racewalk::inline RACEWALK_BACKEND
