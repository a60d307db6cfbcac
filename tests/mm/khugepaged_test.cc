// Collapse: the content stays, the accounts balance, and what cannot be collapsed is as before.
#include <atomic>
#include <cerrno>
#include <thread>

#include "mm/gup.h"
#include "mm/khugepaged.h"
#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Khugepaged : public World {
 protected:
  /// A PMD's range with every page touched.
  vaddr_t small_pages() {
    const vaddr_t at = map(HUGE);
    touch_all(at);
    return at;
  }
  /// What touch() has left in all pages but the one at `except`.
  void expect_content(vaddr_t at, vaddr_t except = 0) {
    for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
      ASSERT_EQ(*cpu->load<u64>(a), a == except ? 0 : a);
  }
};

TEST_F(Khugepaged, ACollapseKeepsContentAndAccounts) {
  const u64 before = used_frames();
  const vaddr_t at = small_pages();
  const s64 tables_before = tables();
  ASSERT_FALSE(is_huge(at));
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  EXPECT_TRUE(is_huge(at));
  expect_content(at);
  EXPECT_TRUE(can_write(at + PAGE_SIZE));
  EXPECT_EQ(anon_pages(), hpage_pmd_nr());
  EXPECT_EQ(tables(), tables_before) << "the table stays, deposited";
  EXPECT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Khugepaged, HolesBecomeZerosUpToALimit) {
  const vaddr_t at = map(HUGE);
  touch(at + PAGE_SIZE);
  EXPECT_EQ(collapse_huge_page(mm, at, {.max_ptes_none = 510, .wanted_only = false}),
            scan_result::exceed_none_pte);
  EXPECT_FALSE(is_huge(at));
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(collapse_huge_page(mm, at, {.max_ptes_none = 511, .wanted_only = false}), scan_result::succeed);
  EXPECT_EQ(anon_pages(), hpage_pmd_nr());
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
}

TEST_F(Khugepaged, APinnedPageStaysAndSoDoAll) {
  const vaddr_t at = small_pages();
  page* pinned = nullptr;
  ASSERT_EQ(pin_user_pages_fast(mm, at + 5 * PAGE_SIZE, 1, FOLL_WRITE, &pinned), 1);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -EAGAIN);
  EXPECT_FALSE(is_huge(at));
  expect_content(at);
  WRITE_ONCE(page_words(pinned)[0], 7);
  EXPECT_EQ(*cpu->load<u64>(at + 5 * PAGE_SIZE), 7u) << "the pin is of another page than the mapping";
  unpin_user_page(pinned);
  ASSERT_TRUE(cpu->store<u64>(at + 5 * PAGE_SIZE, at + 5 * PAGE_SIZE).ok());
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  expect_content(at);
}

TEST_F(Khugepaged, WithoutAHugePageAllIsAsBefore) {
  const vaddr_t at = small_pages();
  const s64 tables_before = tables();
  const unsigned failures = fail_each_allocation([&] {
    const int error = vm_madvise(mm, at, HUGE, MADV_COLLAPSE);
    if (error == 0) return false;
    EXPECT_EQ(error, -ENOMEM);
    EXPECT_FALSE(is_huge(at));
    EXPECT_EQ(tables(), tables_before);
    expect_content(at);
    return true;
  });
  EXPECT_EQ(failures, 1u);
  EXPECT_TRUE(is_huge(at));
}

TEST_F(Khugepaged, WhatCannotBeCollapsedIsRefused) {
  EXPECT_EQ(vm_madvise(mm, 1, HUGE, MADV_COLLAPSE), -EINVAL);
  EXPECT_EQ(vm_madvise(mm, ~vaddr_t{0} & pmd_mask(), HUGE, MADV_COLLAPSE), -EINVAL);
  const vaddr_t at = map(HUGE);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -EINVAL) << "nothing was ever there";
  EXPECT_EQ(vm_madvise(mm, at, PAGE_SIZE, MADV_COLLAPSE), 0) << "no whole range";
  touch(at);
  ASSERT_EQ(vm_mprotect(mm, at, HUGE, PROT_NONE), 0);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -EINVAL);
  ASSERT_EQ(vm_munmap(mm, at, HUGE), 0);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -ENOMEM);
}

TEST_F(Khugepaged, AHugePageThatWasCutIsPutTogetherAgain) {
  const vaddr_t at = map(HUGE);
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_HUGEPAGE), 0);
  for (vaddr_t a = at; a < at + HUGE; a += PAGE_SIZE)
    touch(a);
  ASSERT_TRUE(is_huge(at));
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  ASSERT_FALSE(is_huge(at));
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -EINVAL) << "the rights differ";
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  EXPECT_TRUE(is_huge(at));
  expect_content(at);
}

TEST_F(Khugepaged, NoStoreIsLostToACollapse) {
  const vaddr_t at = small_pages();
  std::atomic<bool> stop{false};
  std::atomic<u64> added{0};
  std::thread writer([&] {
    CpuSession other(system, 1, space);
    u64 n = 0;
    for (; !stop.load(std::memory_order_relaxed); ++n)
      ASSERT_TRUE(other->fetch_add<u64>(at + (n % 512) * PAGE_SIZE + 8, 1).ok());
    added = n;
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
    // cut it again, by a change of rights that is taken back
    ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
  }
  stop = true;
  writer.join();
  u64 sum = 0;
  for (unsigned i = 0; i < 512; ++i)
    sum += *cpu->load<u64>(at + i * PAGE_SIZE + 8);
  EXPECT_EQ(sum, added);
  expect_content(at);
}

} // namespace
} // namespace racewalk::test
