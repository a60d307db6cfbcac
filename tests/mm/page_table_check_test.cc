// What entries may map is checked at the call that changes them. (All tests of World run with the check.)
#include "mm/page_table_check.h"

#include "mm/gup.h"
#include "mm/rmap.h"
#include "world.h"

namespace racewalk::test {
namespace {

class PageTableCheck : public World {
 protected:
  PageTableCheck() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  pte_t pte_of(vaddr_t addr) {
    pte_map_lock table(find_pmd(mm, addr).pmdp);
    return ptep_get(table.at(addr));
  }
  /// An entry that no function of the manager would make.
  void force_pte(vaddr_t addr, pte_t pte) {
    pte_map_lock table(find_pmd(mm, addr).pmdp);
    set_pte_at(addr, table.at(addr), pte);
  }
  void grant_store(vaddr_t addr) {
    pte_map_lock table(find_pmd(mm, addr).pmdp);
    const pte_t pte = ptep_get(table.at(addr));
    (void)ptep_set_access_flags(addr, table.at(addr), pte_mkdirty(pte_mkwrite(pte)));
  }
  const page_ext& counts(vaddr_t addr) { return machine().page_ext[pte_pfn(pte_of(addr))]; }
  s32 anon_count(vaddr_t addr) { return atomic_read(counts(addr).anon_map_count); }
  s32 file_count(vaddr_t addr) { return atomic_read(counts(addr).file_map_count); }
};

TEST_F(PageTableCheck, Entries_are_counted_while_they_are_present) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  EXPECT_EQ(anon_count(at), 1);
  auto child = space.fork().value();
  EXPECT_EQ(anon_count(at), 2);
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::none));
  EXPECT_EQ(anon_count(at), 2); // PROT_NONE, and still its
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read));
  EXPECT_EQ(anon_count(at), 2);
  child.reset();
  EXPECT_EQ(anon_count(at), 1);
  EXPECT_EQ(file_count(at), 0);
}

TEST_F(PageTableCheck, A_file_may_be_mapped_for_writing_any_number_of_times) {
  const File file = File::in_memory(system, PAGE_SIZE).value();
  const vaddr_t one = space.mmap(file, 0, PAGE_SIZE).value();
  const vaddr_t two = space.mmap(file, 0, PAGE_SIZE).value();
  touch(one);
  touch(two);
  EXPECT_EQ(pte_pfn(pte_of(one)), pte_pfn(pte_of(two)));
  EXPECT_EQ(file_count(one), 2);
  EXPECT_EQ(anon_count(one), 0);
}

TEST_F(PageTableCheck, Pages_of_a_huge_page_keep_their_counts_through_splits_and_collapses) {
  const vaddr_t at = (map(4 * MIB) + 2 * MIB - 1) & pmd_mask();
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  touch(at);
  ASSERT_TRUE(pmd_trans_huge(pmdp_get(find_pmd(mm, at).pmdp)));
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read)); // which splits the entry
  EXPECT_EQ(anon_count(at), 1);
  EXPECT_EQ(anon_count(at + PAGE_SIZE), 1);
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read_write));
  EXPECT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), 0);
  ASSERT_TRUE(pmd_trans_huge(pmdp_get(find_pmd(mm, at).pmdp)));
  ASSERT_TRUE(space.munmap(at, 2 * MIB)); // frees what must not be counted any more
}

TEST_F(PageTableCheck, Anonymous_memory_is_not_mapped_twice_for_writing) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  EXPECT_DEATH(force_pte(at + PAGE_SIZE, pte_of(at)), "INV-PTC");
}

TEST_F(PageTableCheck, Who_shares_anonymous_memory_gets_no_right_to_store) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = space.fork().value();
  EXPECT_DEATH(grant_store(at), "INV-PTC");
}

TEST_F(PageTableCheck, A_page_is_of_one_kind) {
  const File file = File::in_memory(system, PAGE_SIZE).value();
  const vaddr_t at = space.mmap(file, 0, PAGE_SIZE).value();
  touch(at);
  EXPECT_DEATH(
      {
        folio_set_anon(page_folio(pfn_to_page(pte_pfn(pte_of(at)))));
        force_pte(map(PAGE_SIZE), pte_of(at));
      },
      "INV-PTC");
}

TEST_F(PageTableCheck, A_page_is_not_freed_while_it_is_mapped) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  page* page = pfn_to_page(pte_pfn(pte_of(at)));
  EXPECT_DEATH(
      {
        folio_remove_rmap_pte(page); // everybody believes it
        put_page(page);
      },
      "INV-PTC: a page is freed");
}

TEST(PageTableCheckOff, Nothing_is_counted_unless_asked_for) {
  System system(16 << 20, 1);
  EXPECT_EQ(system.machine().page_ext, nullptr);
}

} // namespace
} // namespace racewalk::test
