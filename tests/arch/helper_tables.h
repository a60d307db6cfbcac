// docs/arch-pgtable-helpers.md, made from the code: what each helper says of each kind of entry, and makes of
// it, on each architecture.
//
// As Linux's boot test debug_vm_pgtable, but every helper is also asked about the kinds that it is not meant
// for: a caller that does not look first gets that answer (mail 4).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "arch/all.h"
#include "arch/describe.h"
#include "arch/swapops.h"

namespace racewalk::helper_tables {

struct named_entry {
  const char* name;
  u64 bits;
};

inline constexpr pfn_t TABLE_PFN = 3;
inline constexpr unsigned SWAP_DEVICE = 1;

/// One entry of each kind that can stand at this level, of the huge page or page `pfn`.
inline std::vector<named_entry> entries(const arch_desc& a, level_t level, pfn_t pfn) {
  const u64 writable = a.mk_leaf(pfn, PAGE_SHARED, level);
  const u64 dirty = a.mkdirty(writable, level);
  std::vector<named_entry> all{{"none", 0}};
  if (level.number != PTE_LEVEL) all.push_back({"table", a.mk_table(TABLE_PFN, level)});
  all.push_back({"leaf, read-only", a.mk_leaf(pfn, PAGE_READONLY, level)});
  all.push_back({"leaf, writable", writable});
  all.push_back({"leaf, writable, dirty", dirty});
  all.push_back({"leaf, writable, dirty, old", a.mkold(dirty, level)});
  all.push_back({"protnone, dirty", a.modify(dirty, PAGE_NONE, level)});
  if (a.devmap != 0) {
    const u64 of_device = (level.number == PTE_LEVEL ? a.mkspecial(dirty, level) : dirty) | a.devmap;
    all.push_back({"devmap, writable, dirty", of_device});
    all.push_back({"devmap, protnone", a.modify(of_device, PAGE_NONE, level)});
    if (level.number != PTE_LEVEL) all.push_back({"devmap, invalid", a.mkinvalid(of_device, level)});
  }
  if (level.number != PTE_LEVEL)
    all.push_back({"invalid (of writable, dirty)", a.mkinvalid(dirty, level)});
  else
    all.push_back({"swap", a.swp_entry(SWAP_DEVICE, pfn, level)});
  if (level.number != PTE_LEVEL && !a.thp_migration) return all;
  const u64 migration = a.swp_entry(SWP_MIGRATION_WRITE, pfn, level);
  all.push_back({"migration", migration});
  if (level.number != PTE_LEVEL) all.push_back({"mkinvalid(migration)", a.mkinvalid(migration, level)});
  return all;
}

struct question {
  const char* name;
  bool pmd_only;
  bool (*ask)(const arch_desc&, u64, level_t);
};

inline constexpr question questions[] = {
    {"none", false, [](const arch_desc& a, u64 e, level_t l) { return a.none(e, l); }},
    {"present", false, [](const arch_desc& a, u64 e, level_t l) { return a.present(e, l); }},
    {"valid", false, [](const arch_desc& a, u64 e, level_t l) { return a.valid(e, l); }},
    {"leaf", true, [](const arch_desc& a, u64 e, level_t l) { return a.leaf(e, l); }},
    {"trans_huge", true, [](const arch_desc& a, u64 e, level_t) { return a.trans_huge(e); }},
    {"devmap", false,
     [](const arch_desc& a, u64 e, level_t) { return a.devmap != 0 && (e & a.devmap) == a.devmap; }},
    {"bad", true, [](const arch_desc& a, u64 e, level_t l) { return a.bad(e, l); }},
    {"protnone", false, [](const arch_desc& a, u64 e, level_t l) { return a.protnone(e, l); }},
    {"write", false, [](const arch_desc& a, u64 e, level_t l) { return a.write(e, l); }},
    {"dirty", false, [](const arch_desc& a, u64 e, level_t l) { return a.dirty(e, l); }},
    {"young", false, [](const arch_desc& a, u64 e, level_t l) { return a.young(e, l); }},
    {"accessible", false, [](const arch_desc& a, u64 e, level_t l) { return a.accessible(e, l, false); }},
    {"accessible, flush pending", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.accessible(e, l, true); }},
    {"GUP reads", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.access_permitted(e, l, false); }},
    {"GUP writes", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.access_permitted(e, l, true); }},
    {"MMU loads", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.leaf(e, l) && a.mmu_permits(e, l, false); }},
    {"MMU stores", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.leaf(e, l) && a.mmu_permits(e, l, true); }},
};

struct change {
  const char* name;
  bool pmd_only;
  u64 (*apply)(const arch_desc&, u64, level_t);
};

inline constexpr change changes[] = {
    {"modify(PROT_NONE)", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.modify(e, PAGE_NONE, l); }},
    {"modify(read-only)", false,
     [](const arch_desc& a, u64 e, level_t l) { return a.modify(e, PAGE_READONLY, l); }},
    {"wrprotect", false, [](const arch_desc& a, u64 e, level_t l) { return a.wrprotect(e, l); }},
    {"mkwrite", false, [](const arch_desc& a, u64 e, level_t l) { return a.mkwrite(e, l); }},
    {"mkdirty", false, [](const arch_desc& a, u64 e, level_t l) { return a.mkdirty(e, l); }},
    {"mkclean", false, [](const arch_desc& a, u64 e, level_t l) { return a.mkclean(e, l); }},
    {"mkyoung", false, [](const arch_desc& a, u64 e, level_t l) { return a.mkyoung(e, l); }},
    {"mkold", false, [](const arch_desc& a, u64 e, level_t l) { return a.mkold(e, l); }},
    {"mkinvalid", true, [](const arch_desc& a, u64 e, level_t l) { return a.mkinvalid(e, l); }},
};

/// A table of Markdown: a row for each entry, a column for each helper that can be asked at this level.
template <class Helper, class Cell>
std::string table(const arch_desc& a, level_t level, pfn_t pfn, std::span<const Helper> helpers, Cell cell) {
  std::string head = "| entry |";
  std::string rule = "|---|";
  std::string rows;
  for (const Helper& h : helpers) {
    if (h.pmd_only && level.number == PTE_LEVEL) continue;
    head += std::string(" ") + h.name + " |";
    rule += "---|";
  }
  for (const named_entry& e : entries(a, level, pfn)) {
    rows += std::string("| ") + e.name + " |";
    for (const Helper& h : helpers)
      if (!h.pmd_only || level.number != PTE_LEVEL) rows += " " + cell(h, e.bits) + " |";
    rows += "\n";
  }
  return head + "\n" + rule + "\n" + rows + "\n";
}

inline std::string tables_of_level(const arch_desc& a, unsigned number) {
  const level_t level = geometry_t{}.level(number);
  const pfn_t pfn = pfn_t{5} << level.order();
  return table(a, level, pfn, std::span<const question>(questions),
               [&](const question& q, u64 e) { return std::string(q.ask(a, e, level) ? "yes" : "-"); }) +
         table(a, level, pfn, std::span<const change>(changes), [&](const change& c, u64 e) {
           const u64 made = c.apply(a, e, level);
           return made == e ? std::string("=") : describe_entry(a, level, made);
         });
}

/// The earlier architecture with the same entries, or null.
inline const arch_desc* same_entries(const arch_desc& a) {
  for (const arch_desc* other : all_archs) {
    if (other == &a) return nullptr;
    if (other->mk_leaf == a.mk_leaf && other->present == a.present && other->swp_entry == a.swp_entry)
      return other;
  }
  return nullptr;
}

inline std::string document() {
  std::string text = R"(# What the page-table helpers say, architecture by architecture

Made from the code by `scripts/arch-helpers`; a test compares. The contract is src/arch/arch_desc.h.

The first table of a level answers the questions: `yes` or `-`. The second shows what becomes of the entry: `=` is the
same entry, everything else is in the words of the race tables. Rows of kinds that a helper is not meant for are
filled in too: that is what a caller gets who did not look. `pmd_mkinvalid()` itself refuses what is not
present; the column is what the bits would do. *MMU* is what the hardware, or the software that fills its TLB,
lets through without a fault. A huge page's entries have pfn 2560, a page's 5, a table's 3.

)";
  for (const arch_desc* a : all_archs) {
    text += std::string("## ") + a->name + "\n\n";
    if (const arch_desc* other = same_entries(*a)) {
      text += std::string("The entries of ") + other->name +
              (other->devmap == a->devmap ? ".\n\n" : ", but for those of devices (devmap).\n\n");
      continue;
    }
    if (!a->thp_migration) text += "Huge pages have no migration entries.\n\n";
    text += "### PMD\n\n" + tables_of_level(*a, PMD_LEVEL);
    text += "### PTE\n\n" + tables_of_level(*a, PTE_LEVEL);
  }
  text.pop_back();
  return text;
}

} // namespace racewalk::helper_tables
