// NUMA hinting: pages that lose their rights to tell who uses them.
#include "mm/mempolicy.h"

#include <cerrno>

#include "mm/migrate.h"
#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

class NumaHinting : public World {
 protected:
  bool protnone(vaddr_t addr) {
    const pmd_t pmd = pmdp_get(find_pmd(mm, addr).pmdp);
    return pmd_trans_huge(pmd) ? pmd_protnone(pmd) : pte_protnone(ptep_get(pte_offset(pmd, addr)));
  }
};

TEST_F(NumaHinting, TheNextAccessOfEachPageIsCounted) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  for (u64 i = 0; i < 4; ++i)
    touch(at + i * PAGE_SIZE);
  ASSERT_EQ(change_prot_numa(mm, at, at + 4 * PAGE_SIZE), 0);
  EXPECT_EQ(numa_hint_faults(mm), 0);
  EXPECT_TRUE(protnone(at));
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(numa_hint_faults(mm), 1);
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 7).ok());
  EXPECT_EQ(numa_hint_faults(mm), 2);
  EXPECT_FALSE(protnone(at));
  EXPECT_TRUE(protnone(at + 2 * PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 7u);
}

TEST_F(NumaHinting, AHugePageIsOne) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  touch(at);
  ASSERT_EQ(change_prot_numa(mm, at, at + 2 * MIB), 0);
  EXPECT_TRUE(protnone(at));
  touch(at + 9 * PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(numa_hint_faults(mm), 1);
}

TEST_F(NumaHinting, WhatHasNoRightsAndWhatIsNotThereStaysSo) {
  const vaddr_t at = space.mmap(PAGE_SIZE, Access::none).value();
  ASSERT_EQ(change_prot_numa(mm, at, at + PAGE_SIZE), 0);
  EXPECT_FALSE(can_read(at));
  EXPECT_EQ(numa_hint_faults(mm), 0);
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  EXPECT_EQ(change_prot_numa(mm, at, at + PAGE_SIZE), -ENOMEM);
}

TEST_F(NumaHinting, PagesCanBePinnedAndMoved) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  touch(at + PAGE_SIZE);
  ASSERT_EQ(change_prot_numa(mm, at, at + 2 * PAGE_SIZE), 0);
  ASSERT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_TRUE(space.pin(at + PAGE_SIZE, 1));
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_TRUE(can_write(at));
}

} // namespace
} // namespace racewalk::test
