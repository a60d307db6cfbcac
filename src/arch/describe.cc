#include "arch/describe.h"

#include <array>

#include "arch/swapops.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

std::string pfn_text(pfn_t pfn) { return " pfn=" + std::to_string(pfn); }

std::string flags_text(bool write, bool dirty, bool young, bool soft_dirty) {
  std::string text;
  if (write) text += " W";
  if (dirty) text += " D";
  if (young) text += " A";
  if (soft_dirty) text += " S";
  return text;
}

std::string describe_leaf(const arch_desc& a, level_t level, u64 entry) {
  const char* kind = a.protnone(entry, level) ? "protnone" : a.valid(entry, level) ? "leaf" : "invalid-leaf";
  return kind + pfn_text(a.pfn(entry, level)) +
         flags_text(a.write(entry, level), a.dirty(entry, level), a.young(entry, level),
                    (entry & a.soft_dirty) != 0) +
         (a.devmap != 0 && (entry & a.devmap) == a.devmap ? " devmap" : "") +
         (level.number == PTE_LEVEL && (entry & a.uffd_wp) != 0 ? " uffd-wp" : "");
}

std::string describe_swap(const arch_desc& a, u64 entry) {
  static constexpr std::array migration_kinds{"migration-read", "migration-read-exclusive",
                                              "migration-write"};
  const swp_entry_t swp{a.swp_type(entry), a.swp_offset(entry)};
  if (swp.type == SWP_PTE_MARKER) return swp.offset == PTE_MARKER_UFFD_WP ? "marker uffd-wp" : "marker";
  if (!is_migration_entry(swp))
    return "swap type=" + std::to_string(swp.type) + " offset=" + std::to_string(swp.offset);
  return migration_kinds[swp.type - SWP_MIGRATION_READ] + pfn_text(swp_offset_pfn(swp, a)) +
         flags_text(false, is_migration_entry_dirty(swp, a), is_migration_entry_young(swp, a),
                    (entry & a.swp_soft_dirty) != 0);
}

} // namespace

std::string describe_entry(const arch_desc& a, level_t level, u64 entry) {
  if (a.none(entry, level)) return "none";
  if (!a.present(entry, level)) return describe_swap(a, entry);
  if (a.leaf(entry, level)) return describe_leaf(a, level, entry);
  return "table" + pfn_text(a.table_pfn(entry));
}

} // namespace racewalk::inline RACEWALK_BACKEND
