// MADV_FREE, MADV_COLD, MADV_PAGEOUT: memory that may go, and whether it does.
#include "mm/vmscan.h"

#include <sys/mman.h>

#include <barrier>
#include <cerrno>
#include <thread>

#include "mm/mmap.h"
#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Lazyfree : public World {
 protected:
  int advise(vaddr_t at, u64 bytes, int advice) { return vm_madvise(mm, at, bytes, advice); }
  pte_t pte(vaddr_t addr) { return ptep_get(pte_offset(pmdp_get(find_pmd(mm, addr).pmdp), addr)); }
  void use_huge_pages(vaddr_t at, u64 bytes) {
    ASSERT_TRUE(space.madvise(at, bytes, AddressSpace::HugePages::yes));
  }
};

TEST_F(Lazyfree, WhatIsNotStoredToAgainIsTakenBack) {
  const vaddr_t at = map(8 * PAGE_SIZE);
  for (u64 i = 0; i < 8; ++i)
    touch(at + i * PAGE_SIZE);
  const u64 used = used_frames();
  ASSERT_EQ(advise(at, 8 * PAGE_SIZE, MADV_FREE), 0);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE); // not yet
  ASSERT_TRUE(cpu->store<u64>(at + 3 * PAGE_SIZE, 42).ok());
  ASSERT_EQ(advise(at, 8 * PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(used_frames(), used - 7);
  EXPECT_EQ(anon_pages(), 1);
  for (u64 i = 0; i < 8; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), i == 3 ? 42u : 0u) << i;
}

TEST_F(Lazyfree, MemoryThatWasNotFreedStays) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  touch(at);
  ASSERT_EQ(advise(at, 4 * PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(Lazyfree, WhatWasStoredToCanBeFreedAgain) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_FREE), 0);
  touch(at);
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_FREE), 0);
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
}

TEST_F(Lazyfree, APinnedPageStays) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  {
    const PinnedPages pin = space.pin(at, 1, Access::read).value();
    ASSERT_EQ(advise(at, PAGE_SIZE, MADV_FREE), 0);
    ASSERT_EQ(advise(at, PAGE_SIZE, MADV_PAGEOUT), 0);
    EXPECT_EQ(*cpu->load<u64>(at), at);
  }
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
}

TEST_F(Lazyfree, WhatADeviceStoredStays) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  {
    const PinnedPages pin = space.pin(at, 1).value();
    ASSERT_EQ(advise(at, PAGE_SIZE, MADV_FREE), 0);
    pin[0][0] = std::byte{42};
  }
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(*cpu->load<u8>(at), 42);
}

TEST_F(Lazyfree, AHugePageGoesAsAWhole) {
  const vaddr_t at = map(4 * MIB);
  use_huge_pages(at, 4 * MIB);
  touch(at);
  touch(at + 2 * MIB);
  const u64 used = used_frames();
  ASSERT_EQ(advise(at, 4 * MIB, MADV_FREE), 0);
  touch(at + 2 * MIB + 5 * PAGE_SIZE);
  ASSERT_EQ(advise(at, 4 * MIB, MADV_PAGEOUT), 0);
  EXPECT_EQ(anon_pages(), hpage_pmd_nr());
  EXPECT_EQ(*cpu->load<u64>(at + 2 * MIB), at + 2 * MIB);
  EXPECT_LE(used_frames(), used - hpage_pmd_nr());
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
}

TEST_F(Lazyfree, ColdPagesAreOldAndKeepTheirContent) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  ASSERT_EQ(advise(at, PAGE_SIZE, MADV_COLD), 0);
  EXPECT_FALSE(pte_young(pte(at)));
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_TRUE(pte_young(pte(at)));
}

TEST_F(Lazyfree, HolesAreToldAndTheRestIsDone) {
  const vaddr_t at = map(3 * PAGE_SIZE);
  for (u64 i = 0; i < 3; ++i)
    touch(at + i * PAGE_SIZE);
  ASSERT_TRUE(space.munmap(at + PAGE_SIZE, PAGE_SIZE));
  for (const int advice : {MADV_COLD, MADV_FREE, MADV_PAGEOUT})
    EXPECT_EQ(advise(at, 3 * PAGE_SIZE, advice), -ENOMEM);
  EXPECT_EQ(*cpu->load<u64>(at), 0u);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), 0u);
  EXPECT_EQ(advise(at + 1, PAGE_SIZE, MADV_FREE), -EINVAL);
}

// Each round one page is freed and taken back while another CPU stores to it: what it stored after madvise()
// had returned is there, and before it is either there or zero.
TEST_F(Lazyfree, NoStoreThatComesAfterIsLost) {
  constexpr u64 ROUNDS = 300;
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  std::barrier step(2);
  std::thread other([&] {
    CpuSession session(system, 1, space);
    for (u64 n = 1; n <= ROUNDS; ++n) {
      step.arrive_and_wait(); // madvise() has returned
      EXPECT_TRUE(session->store<u64>(at, n).ok());
      step.arrive_and_wait();
    }
  });
  for (u64 n = 1; n <= ROUNDS; ++n) {
    ASSERT_EQ(advise(at, PAGE_SIZE, MADV_FREE), 0);
    step.arrive_and_wait();
    ASSERT_EQ(advise(at, PAGE_SIZE, MADV_PAGEOUT), 0);
    step.arrive_and_wait();
    ASSERT_EQ(*cpu->load<u64>(at), n);
  }
  other.join();
}

} // namespace
} // namespace racewalk::test
