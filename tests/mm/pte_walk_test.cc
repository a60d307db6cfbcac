// The look-up that ends at an entry.
#include "mm/pte_walk.h"

#include "mm/gup.h"
#include "world.h"

namespace racewalk::test {
namespace {

class PteWalk : public World {
 protected:
  page* look_up(vaddr_t addr, bool* huge) {
    lockless_walk section(mm);
    const linux_pte pte = find_linux_pte(mm, addr);
    *huge = pte.huge;
    return pte.found ? linux_pte_page(pte, addr) : nullptr;
  }
};

TEST_F(PteWalk, FindsSmallAndHugePages) {
  const vaddr_t at = map(4 * MIB);
  ASSERT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_HUGEPAGE), 0);
  const vaddr_t in_huge = at + 3 * PAGE_SIZE;
  const vaddr_t small = at + 2 * MIB + PAGE_SIZE;
  for (const vaddr_t addr : {in_huge, small}) {
    touch(addr);
    bool huge = false;
    const page* found = look_up(addr, &huge);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(*static_cast<u64*>(page_address(found)), addr);
    EXPECT_EQ(huge, addr == in_huge);
  }
}

TEST_F(PteWalk, FindsNothingWhereNothingIs) {
  bool huge = false;
  EXPECT_EQ(look_up(0, &huge), nullptr);
  const vaddr_t at = map(2 * PAGE_SIZE);
  EXPECT_EQ(look_up(at, &huge), nullptr) << "no table";
  touch(at);
  EXPECT_EQ(look_up(at + PAGE_SIZE, &huge), nullptr) << "no page";
}

} // namespace
} // namespace racewalk::test
