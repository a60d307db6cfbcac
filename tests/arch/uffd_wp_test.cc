// The bits that userfaultfd marks entries with mean nothing to any other question.
#include "arch/swapops.h"
#include "entries.h"

namespace racewalk {
namespace {

class UffdWp : public ArchTest {};
FOR_EVERY_ARCH(UffdWp);

TEST_P(UffdWp, TheBitChangesNoOtherAnswerAndIsKept) {
  if (a.uffd_wp == 0) GTEST_SKIP() << "the architecture has none";
  for (const level_t level : leaf_levels()) {
    if (level.number != PTE_LEVEL) continue;
    for (const pgprot_t prot : all_prots)
      for (const pfn_t pfn : boundary_pfns(a, level)) {
        const u64 e = a.mk_leaf(pfn, prot, level);
        const u64 marked = e | a.uffd_wp;
        ASSERT_EQ(e & a.uffd_wp, 0U);
        ASSERT_FALSE(a.none(marked, level));
        ASSERT_EQ(a.present(marked, level), a.present(e, level));
        ASSERT_EQ(a.protnone(marked, level), a.protnone(e, level));
        ASSERT_EQ(a.write(marked, level), a.write(e, level));
        ASSERT_EQ(a.dirty(marked, level), a.dirty(e, level));
        ASSERT_EQ(a.pfn(marked, level), pfn);
        ASSERT_EQ(a.special(marked, level), a.special(e, level));
        for (const bool store : {false, true})
          ASSERT_EQ(a.mmu_permits(marked, level, store), a.mmu_permits(e, level, store));
        for (const pgprot_t other : all_prots)
          ASSERT_EQ(a.modify(marked, other, level), a.modify(e, other, level) | a.uffd_wp);
      }
  }
}

TEST_P(UffdWp, ASwapEntryKeepsItsTypeAndOffset) {
  if (a.swp_uffd_wp == 0) GTEST_SKIP() << "the architecture has none";
  for (const level_t level : leaf_levels()) {
    if (level.number != PTE_LEVEL) continue;
    for (const unsigned type : {SWP_MIGRATION_READ, SWP_MIGRATION_WRITE, SWP_PTE_MARKER})
      for (const u64 offset : {u64{1}, u64{0x2468a}, swp_pfn_mask(a)}) {
        const u64 e = a.swp_entry(type, offset, level);
        const u64 marked = e | a.swp_uffd_wp;
        ASSERT_EQ(e & a.swp_uffd_wp, 0U);
        ASSERT_FALSE(a.none(marked, level));
        ASSERT_FALSE(a.present(marked, level));
        ASSERT_EQ(a.swp_type(marked), type);
        ASSERT_EQ(a.swp_offset(marked), offset);
      }
  }
}

} // namespace
} // namespace racewalk
