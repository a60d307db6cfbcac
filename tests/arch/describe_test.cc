// Entries in words: what a counterexample's table shows.

#include "arch/describe.h"

#include "entries.h"

namespace racewalk {
namespace {

class Describe : public ArchTest {
 protected:
  const level_t PTE = geometry_t{}.level(PTE_LEVEL);
  const level_t PMD = geometry_t{}.level(PMD_LEVEL);
  [[nodiscard]] std::string text(unsigned number, u64 e) const {
    return describe_entry(a, geometry_t{}.level(number), e);
  }
  [[nodiscard]] u64 pte(pgprot_t prot) const { return a.mk_leaf(5, prot, geometry_t{}.level(PTE_LEVEL)); }
  [[nodiscard]] u64 pmd(pgprot_t prot) const { return a.mk_leaf(512, prot, geometry_t{}.level(PMD_LEVEL)); }
};
FOR_EVERY_ARCH(Describe);

TEST_P(Describe, NamesEveryKind) {
  EXPECT_EQ(text(PTE_LEVEL, 0), "none");
  for (const unsigned n : {PMD_LEVEL, PUD_LEVEL, PGD_LEVEL})
    EXPECT_EQ(text(n, a.mk_table(3, geometry_t{}.level(n))), "table pfn=3");
  EXPECT_EQ(text(PTE_LEVEL, a.mkdirty(pte(PAGE_SHARED), PTE)), "leaf pfn=5 W D A");
  EXPECT_EQ(text(PTE_LEVEL, a.mkold(pte(PAGE_READONLY), PTE)),
            a.valid(a.mkold(pte(PAGE_READONLY), PTE), PTE) ? "leaf pfn=5" : "invalid-leaf pfn=5");
  EXPECT_EQ(text(PTE_LEVEL, a.mkdirty(pte(PAGE_NONE), PTE)), "protnone pfn=5 D A");
  EXPECT_EQ(text(PMD_LEVEL, pmd(PAGE_SHARED)), "leaf pfn=512 W A");
  EXPECT_EQ(text(PMD_LEVEL, a.mkinvalid(pmd(PAGE_SHARED), PMD)),
            keeps_young_if_invalid(a) ? "invalid-leaf pfn=512 W A" : "invalid-leaf pfn=512 W");
  EXPECT_EQ(text(PTE_LEVEL, a.swp_entry(1, 7, PTE)), "swap type=1 offset=7");
  if (a.soft_dirty != 0) {
    EXPECT_EQ(text(PTE_LEVEL, pte(PAGE_SHARED) | a.soft_dirty), "leaf pfn=5 W A S");
  }
}

TEST_P(Describe, DecodesMigrationEntries) {
  EXPECT_EQ(text(PTE_LEVEL, a.swp_entry(SWP_MIGRATION_READ, 9, PTE)), "migration-read pfn=9");
  EXPECT_EQ(text(PTE_LEVEL, a.swp_entry(SWP_MIGRATION_READ_EXCLUSIVE, 9 | swp_mig_young(a), PTE)),
            "migration-read-exclusive pfn=9 A");
  if (a.thp_migration) {
    EXPECT_EQ(text(PMD_LEVEL, a.swp_entry(SWP_MIGRATION_READ, 512, PMD)), "migration-read pfn=512");
  }
  EXPECT_EQ(text(PTE_LEVEL, a.swp_entry(SWP_MIGRATION_WRITE, 9 | swp_mig_young(a) | swp_mig_dirty(a), PTE)),
            "migration-write pfn=9 D A");
}

} // namespace
} // namespace racewalk
