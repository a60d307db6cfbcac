// Every predicate on every kind of entry, for every architecture: the table of mechanisms M30, written out.
//
// A row names the questions that are answered with yes; all others are answered with no. Each row is replayed
// with boundary pfns, clean and dirty, young and old, and for migration entries with every type and a sweep
// of offsets, at native and at small geometries.

#include <span>

#include "entries.h"

namespace racewalk {
namespace {

enum answer : unsigned {
  NONE = 1 << 0,
  PRESENT = 1 << 1,
  VALID = 1 << 2,
  LEAF = 1 << 3,
  THP = 1 << 4, ///< trans_huge
  BAD = 1 << 5,
  PROTNONE = 1 << 6,
  GUP_R = 1 << 7, ///< access_permitted, reading
  GUP_W = 1 << 8, ///< access_permitted, writing
  DEVMAP = 1 << 9,
};

constexpr std::array<const char*, 10> answer_names{"none", "present",  "valid", "leaf",  "trans_huge",
                                                   "bad",  "protnone", "gup_r", "gup_w", "devmap"};

enum class kind {
  none,
  table,
  leaf_ro,
  leaf_rw,
  leaf_old, ///< writable
  protnone,
  invalid_ro,
  invalid_rw,
  invalid_protnone,
  migration,
  invalid_migration, ///< what a pmdp_invalidate of a migration pmd leaves (mail 4)
  devmap,            ///< writable, a device's memory
  invalid_devmap,
};

constexpr std::array<const char*, 13> kind_names{
    "none",          "table",      "leaf RO",          "leaf RW",   "leaf RW old",          "protnone",
    "invalid RO",    "invalid RW", "invalid protnone", "migration", "mkinvalid(migration)", "devmap RW",
    "invalid devmap"};

struct row {
  kind what;
  unsigned yes;
};

// ---- the table -------------------------------------------------------------------------------------------

constexpr row x86_pmd[] = {
    {kind::none, NONE | BAD},
    {kind::table, PRESENT | VALID | GUP_R | GUP_W}, // gup: of a table the bits happen to say so
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD},
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD},
    {kind::migration, BAD},
    {kind::invalid_migration, BAD},
    {kind::devmap, PRESENT | VALID | LEAF | BAD | GUP_R | GUP_W | DEVMAP},
    {kind::invalid_devmap, PRESENT | LEAF | BAD | DEVMAP},
};
constexpr row arm64_pmd[] = {
    {kind::none, NONE | BAD},
    {kind::table, PRESENT | VALID},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD},
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD | PROTNONE}, // one encoding for both
    {kind::migration, BAD},
    {kind::invalid_migration, PRESENT | LEAF | THP | BAD},
    {kind::devmap, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W | DEVMAP},
    {kind::invalid_devmap, PRESENT | LEAF | THP | BAD | DEVMAP},
};
constexpr row arm64_old_pmd[] = {
    {kind::none, NONE | BAD},
    {kind::table, PRESENT | VALID},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD},
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD | PROTNONE}, // keeps that bit
    {kind::migration, BAD},
    {kind::invalid_migration, PRESENT | LEAF | THP | BAD},
    {kind::devmap, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W | DEVMAP},
    {kind::invalid_devmap, PRESENT | LEAF | THP | BAD | DEVMAP},
};
constexpr row powerpc64_pmd[] = {
    {kind::none, NONE}, // of none, bad is not asked
    {kind::table, PRESENT | VALID},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | VALID | LEAF | THP | BAD | PROTNONE},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD},
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD},
    {kind::migration, LEAF | BAD},
    {kind::invalid_migration, PRESENT | LEAF | THP | BAD},
    {kind::devmap, PRESENT | VALID | LEAF | BAD | GUP_R | GUP_W | DEVMAP},
    {kind::invalid_devmap, PRESENT | LEAF | BAD | DEVMAP},
};
constexpr row riscv64_pmd[] = {
    {kind::none, NONE | BAD},
    {kind::table, PRESENT | VALID | GUP_R},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE | GUP_R}, // hence protnone is tested first
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD | GUP_R},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD | GUP_R | GUP_W}, // S4.7
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD | GUP_R},
    {kind::migration, BAD},
    {kind::invalid_migration, BAD},
};

constexpr row loongarch64_pmd[] = {
    {kind::none, NONE},
    {kind::table, PRESENT | VALID | GUP_R},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE | GUP_R},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD | GUP_R},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD | GUP_R | GUP_W}, // S4.7
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD | GUP_R},
    {kind::migration, LEAF | BAD},
    {kind::invalid_migration, PRESENT | LEAF | THP | BAD | GUP_R}, // S4.2
};
// Valid and young are one: an old leaf and an invalid one are the same.
constexpr row s390x_pmd[] = {
    {kind::none, NONE},
    {kind::table, PRESENT | VALID | GUP_R},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE | GUP_R},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD | GUP_R},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD | GUP_R | GUP_W}, // S4.7
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD | PROTNONE | GUP_R},
};
constexpr row sparc64_pmd[] = {
    {kind::none, NONE},
    {kind::table, PRESENT | VALID | GUP_R},
    {kind::leaf_ro, PRESENT | VALID | LEAF | THP | BAD | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | LEAF | THP | BAD | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | THP | BAD | PROTNONE | GUP_R},
    {kind::invalid_ro, PRESENT | LEAF | THP | BAD | GUP_R},
    {kind::invalid_rw, PRESENT | LEAF | THP | BAD | GUP_R | GUP_W}, // S4.7
    {kind::invalid_protnone, PRESENT | LEAF | THP | BAD | PROTNONE | GUP_R},
};

// At the PTE level trans_huge and bad are not asked, and nothing is invalidated.
constexpr row x86_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | PROTNONE},
    {kind::migration, 0},
    {kind::devmap, PRESENT | VALID | LEAF | GUP_R | GUP_W | DEVMAP},
};
constexpr row arm64_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | PROTNONE},
    {kind::migration, 0},
    {kind::devmap, PRESENT | VALID | LEAF | GUP_R | GUP_W | DEVMAP},
};
constexpr row powerpc64_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | VALID | LEAF | PROTNONE},
    {kind::migration, 0},
    {kind::devmap, PRESENT | VALID | LEAF | GUP_R | GUP_W | DEVMAP},
};
constexpr row riscv64_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | PROTNONE | GUP_R},
    {kind::migration, 0},
};

constexpr row loongarch64_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | PROTNONE | GUP_R},
    {kind::migration, 0},
};
constexpr row s390x_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | PROTNONE | GUP_R},
    {kind::migration, 0},
};
constexpr row sparc64_pte[] = {
    {kind::none, NONE},
    {kind::leaf_ro, PRESENT | VALID | LEAF | GUP_R},
    {kind::leaf_rw, PRESENT | VALID | LEAF | GUP_R | GUP_W},
    {kind::leaf_old, PRESENT | LEAF | GUP_R | GUP_W},
    {kind::protnone, PRESENT | LEAF | PROTNONE | GUP_R},
    {kind::migration, 0},
};

// PUD and PGD hold tables; of a table, GUP asks nothing.
constexpr row upper[] = {
    {kind::none, NONE},
    {kind::table, PRESENT | VALID},
};

struct arch_rows {
  const char* arch;
  std::span<const row> pte;
  std::span<const row> pmd;
};
constexpr arch_rows expected[] = {
    {"x86-64", x86_pte, x86_pmd},
    {"x86-64-pv", x86_pte, x86_pmd},
    {"arm64", arm64_pte, arm64_pmd},
    {"powerpc64", powerpc64_pte, powerpc64_pmd},
    {"riscv64", riscv64_pte, riscv64_pmd},
    {"loongarch64", loongarch64_pte, loongarch64_pmd},
    {"s390x", s390x_pte, s390x_pmd},
    {"sparc64", sparc64_pte, sparc64_pmd},
    {"arm64-old", arm64_pte, arm64_old_pmd},
    {"powerpc64-hash", powerpc64_pte, powerpc64_pmd},
    {"x86-pae", x86_pte,
     std::span<const row>(x86_pmd).first(std::size(x86_pmd) - 4)}, // neither migration entries nor devmap
};

constexpr unsigned ASKED_OF_PTE = NONE | PRESENT | VALID | LEAF | PROTNONE | GUP_R | GUP_W | DEVMAP;
constexpr unsigned ASKED_OF_PMD = ASKED_OF_PTE | THP | BAD;
constexpr unsigned ASKED_OF_UPPER = NONE | PRESENT | VALID | LEAF;

// ---- replaying it ----------------------------------------------------------------------------------------

bool devmap(const arch_desc& a, u64 e) { return a.devmap != 0 && (e & a.devmap) == a.devmap; }

unsigned answers(const arch_desc& a, level_t level, u64 e) {
  unsigned yes = 0;
  if (a.none(e, level)) yes |= NONE;
  if (a.present(e, level)) yes |= PRESENT;
  if (a.valid(e, level)) yes |= VALID;
  if (a.leaf(e, level)) yes |= LEAF;
  if (a.trans_huge(e)) yes |= THP;
  if (a.bad(e, level)) yes |= BAD;
  if (a.protnone(e, level)) yes |= PROTNONE;
  if (a.access_permitted(e, level, false)) yes |= GUP_R;
  if (a.access_permitted(e, level, true)) yes |= GUP_W;
  if (a.present(e, level) && devmap(a, e)) yes |= DEVMAP;
  return yes;
}

std::string names(unsigned yes) {
  std::string text;
  for (unsigned i = 0; i < answer_names.size(); i++)
    if ((yes & 1U << i) != 0) text += std::string(text.empty() ? "" : " ") + answer_names[i];
  return text;
}

enum class age { young, old, any };

/// Leaves with these rights: boundary pfns, clean and dirty.
std::vector<u64> leaves(const arch_desc& a, level_t level, pgprot_t prot, age wanted = age::any) {
  std::vector<u64> entries;
  for (const pfn_t pfn : boundary_pfns(a, level)) {
    const u64 e = a.mk_leaf(pfn, prot, level);
    for (const u64 f : {e, a.mkdirty(e, level)}) {
      if (wanted != age::old) entries.push_back(f);
      if (wanted != age::young) entries.push_back(a.mkold(f, level));
    }
  }
  return entries;
}

std::vector<u64> invalidated(const arch_desc& a, level_t level, std::vector<u64> entries) {
  for (u64& e : entries)
    e = a.mkinvalid(e, level);
  return entries;
}

std::vector<u64> migrations(const arch_desc& a, level_t level) {
  std::vector<u64> entries;
  for (const unsigned type : migration_types)
    for (const u64 offset : migration_offsets(a))
      entries.push_back(a.swp_entry(type, offset, level));
  return entries;
}

/// A device's memory; nothing where there are no such entries.
std::vector<u64> of_devices(const arch_desc& a, level_t level) {
  if (a.devmap == 0) return {};
  std::vector<u64> entries = leaves(a, level, PAGE_SHARED, age::young);
  for (u64& e : entries)
    e |= a.devmap;
  return entries;
}

std::vector<u64> entries_of(const arch_desc& a, level_t level, kind what) {
  switch (what) {
  case kind::none:
    return {0};
  case kind::table: {
    std::vector<u64> tables;
    for (const pfn_t pfn : table_pfns(a))
      tables.push_back(a.mk_table(pfn, level));
    return tables;
  }
  case kind::leaf_ro:
    return leaves(a, level, PAGE_READONLY, age::young);
  case kind::leaf_rw:
    return leaves(a, level, PAGE_SHARED, age::young);
  case kind::leaf_old:
    return leaves(a, level, PAGE_SHARED, age::old);
  case kind::protnone:
    return leaves(a, level, PAGE_NONE);
  case kind::invalid_ro:
    return invalidated(a, level, leaves(a, level, PAGE_READONLY));
  case kind::invalid_rw:
    return invalidated(a, level, leaves(a, level, PAGE_SHARED));
  case kind::invalid_protnone:
    return invalidated(a, level, leaves(a, level, PAGE_NONE));
  case kind::migration:
    return migrations(a, level);
  case kind::invalid_migration:
    return invalidated(a, level, migrations(a, level));
  case kind::devmap:
    return of_devices(a, level);
  case kind::invalid_devmap:
    return invalidated(a, level, of_devices(a, level));
  }
  return {};
}

void replay(const arch_desc& a, level_t level, std::span<const row> rows, unsigned asked) {
  for (const auto& [what, yes] : rows)
    for (const u64 e : entries_of(a, level, what))
      ASSERT_EQ(names(answers(a, level, e) & asked), names(yes & asked))
          << a.name << ", " << kind_names[static_cast<unsigned>(what)] << " at level "
          << unsigned{level.number} << " of " << (1U << level.bits) << ": " << std::hex << e;
}

const arch_rows& rows_of(const arch_desc& a) {
  return *std::ranges::find(expected, std::string_view(a.name), [](const arch_rows& r) { return r.arch; });
}

class PredicateTable : public ArchTest {};
FOR_EVERY_ARCH(PredicateTable);

TEST_P(PredicateTable, HoldsForPtes) {
  for (const geometry_t& g : geometries)
    replay(a, g.level(PTE_LEVEL), rows_of(a).pte, ASKED_OF_PTE);
}

TEST_P(PredicateTable, HoldsForPmds) {
  for (const geometry_t& g : geometries)
    replay(a, g.level(PMD_LEVEL), rows_of(a).pmd, ASKED_OF_PMD);
}

TEST_P(PredicateTable, HoldsForTheUpperLevels) {
  for (const geometry_t& g : geometries)
    for (unsigned n = PUD_LEVEL; !g.folded(n); n++)
      replay(a, g.level(n), upper, ASKED_OF_UPPER);
}

TEST_P(PredicateTable, ATableIsNotBad) {
  for (const geometry_t& g : geometries)
    for (unsigned n = PMD_LEVEL; !g.folded(n); n++)
      for (const u64 e : entries_of(a, g.level(n), kind::table))
        ASSERT_FALSE(a.bad(e, g.level(n)));
}

TEST(PredicateTables, CoverEveryArchitecture) { EXPECT_EQ(std::size(expected), all_archs.size()); }

// Hardware that sets A and D in an entry which has just become none must not make it something.
TEST(X86, StrayAccessedAndDirtyBitsAreNone) {
  const level_t level = geometry_t{}.level(PTE_LEVEL);
  EXPECT_TRUE(x86_64.none(x86::ACCESSED | x86::DIRTY, level));
  EXPECT_FALSE(x86_64.none(x86::ACCESSED | x86::PROTNONE, level));
}

// ---- scenario S4.1: which architectures turn a migration pmd into something else? -------------------------

std::vector<std::string> archs_where(bool (*property)(const arch_desc&, level_t, u64 migration)) {
  std::vector<std::string> found;
  for (const arch_desc* a : all_archs) {
    if (!a->thp_migration) continue; // has none
    const level_t level = geometry_t{}.level(PMD_LEVEL);
    if (std::ranges::any_of(migrations(*a, level), [&](u64 e) { return property(*a, level, e); }))
      found.emplace_back(a->name);
  }
  return found;
}

TEST(InvalidatedMigrationPmd, BecomesPresentWhereABitSaysSo) {
  EXPECT_EQ(archs_where([](const arch_desc& a, level_t level, u64 e) {
              return !a.present(e, level) && a.present(a.mkinvalid(e, level), level);
            }),
            (std::vector<std::string>{"arm64", "powerpc64", "loongarch64", "arm64-old", "powerpc64-hash"}));
}

TEST(InvalidatedMigrationPmd, StandsForAnotherPageOnX86) {
  EXPECT_EQ(archs_where([](const arch_desc& a, level_t level, u64 e) {
              const auto pfn = [&](u64 entry) { return a.swp_offset(entry) & swp_pfn_mask(a); };
              return pfn(a.mkinvalid(e, level)) != pfn(e);
            }),
            (std::vector<std::string>{"x86-64", "x86-64-pv"}));
}

// With 4 KiB pages and 48 bits of physical address the young bit of a migration entry is offset bit 36, which
// is the one that loongarch64 takes for "present, though invalid".
TEST(MigrationPmd, WouldBePresentOnLoongarchIfFramesHad36Bits) {
  const level_t level = geometry_t{}.level(PMD_LEVEL);
  const u64 young = u64{1} << (48 - PAGE_SHIFT);
  EXPECT_TRUE(loongarch64.present(loongarch64.swp_entry(SWP_MIGRATION_READ, 512 | young, level), level));
  EXPECT_LT(swp_mig_dirty(loongarch64), young);
}

// Why pmd_devmap() is asked of what is present only: x86 stores the offset inverted, over the bit.
TEST(MigrationPmd, LooksLikeADevicesMemoryOnX86) {
  std::vector<std::string> found;
  for (const arch_desc* a : all_archs) {
    const level_t level = geometry_t{}.level(PMD_LEVEL);
    if (a->thp_migration && devmap(*a, a->swp_entry(SWP_MIGRATION_WRITE, 512, level)))
      found.emplace_back(a->name);
  }
  EXPECT_EQ(found, (std::vector<std::string>{"x86-64", "x86-64-pv"}));
}

class DevmapEntries : public ArchTest {};
FOR_EVERY_ARCH(DevmapEntries);

// Rights come and go, A and D too; whose memory it is stays, and which.
TEST_P(DevmapEntries, StayADevices) {
  for (const geometry_t& g : geometries)
    for (const unsigned number : {PTE_LEVEL, PMD_LEVEL}) {
      const level_t level = g.level(number);
      for (const u64 e : of_devices(a, level)) {
        const u64 changed[] = {a.modify(e, PAGE_NONE, level), a.modify(e, PAGE_READONLY, level),
                               a.wrprotect(e, level),         a.mkwrite(e, level),
                               a.mkdirty(e, level),           a.mkclean(e, level),
                               a.mkyoung(e, level),           a.mkold(e, level)};
        for (const u64 c : changed) {
          ASSERT_TRUE(devmap(a, c)) << std::hex << e << " -> " << c;
          ASSERT_EQ(a.pfn(c, level), a.pfn(e, level)) << std::hex << e << " -> " << c;
        }
      }
    }
}

TEST(DevmapArchs, AreThereWhereLinuxHasThem) {
  std::vector<std::string> found;
  for (const arch_desc* a : all_archs)
    if (a->devmap != 0) found.emplace_back(a->name);
  EXPECT_EQ(found, (std::vector<std::string>{"x86-64", "x86-64-pv", "arm64", "powerpc64", "arm64-old",
                                             "powerpc64-hash"}));
}

TEST(InvalidatedMigrationPmd, IsAcceptedByGupFastOnLoongarch) {
  EXPECT_EQ(archs_where([](const arch_desc& a, level_t level, u64 e) {
              return a.access_permitted(a.mkinvalid(e, level), level, false);
            }),
            std::vector<std::string>{"loongarch64"});
}

} // namespace
} // namespace racewalk
