// A shadow table: it has what the mm maps, until the mm says that it maps it no longer.
#include "mm/shadow_table.h"

#include <atomic>
#include <cerrno>
#include <thread>

#include "mm/migrate.h"
#include "world.h"

namespace racewalk::test {
namespace {

class ShadowTable : public World {
 protected:
  static constexpr u64 PAGES = 512;
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  shadow_table shadow{at, PAGES};
};

TEST_F(ShadowTable, HasWhatWasLookedUp) {
  ASSERT_EQ(shadow.attach(mm), 0);
  EXPECT_EQ(shadow.load(at).error(), fault_result::sigsegv);
  EXPECT_FALSE(shadow.fault_fast(at)) << "nothing is there yet";
  EXPECT_EQ(shadow.fault(at), 0);
  EXPECT_TRUE(shadow.store(at + 8, 5).ok());
  EXPECT_EQ(*cpu->load<u64>(at + 8), 5U);
  touch(at + PAGE_SIZE);
  EXPECT_TRUE(shadow.fault_fast(at + PAGE_SIZE));
  EXPECT_EQ(*shadow.load(at + PAGE_SIZE), at + PAGE_SIZE);
  EXPECT_EQ(shadow.detach(), 0);
  EXPECT_FALSE(shadow.load(at).ok());
}

TEST_F(ShadowTable, RefusesWhatItIsNotFor) {
  EXPECT_EQ(shadow.detach(), -EINVAL);
  ASSERT_EQ(shadow.attach(mm), 0);
  EXPECT_EQ(shadow.attach(mm), -EEXIST);
  EXPECT_EQ(shadow.fault(at + PAGES * PAGE_SIZE), -EFAULT);
  EXPECT_EQ(shadow.fault(at - 1), -EFAULT);
  EXPECT_FALSE(shadow.fault_fast(at - 1));
  EXPECT_EQ(shadow.load(at - 8).error(), fault_result::sigsegv);
  EXPECT_EQ(shadow.load(at + 4).error(), fault_result::sigbus);
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(shadow.fault(at), -EFAULT);
  EXPECT_EQ(shadow.detach(), 0);
}

TEST_F(ShadowTable, ForgetsWhatChanges) {
  ASSERT_EQ(shadow.attach(mm), 0);
  const auto forgotten = [&] { return shadow.load(at).error() == fault_result::sigsegv; };
  const auto entered = [&] { return shadow.fault(at) == 0 && shadow.load(at).ok(); };
  ASSERT_TRUE(entered());
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_TRUE(forgotten());
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
  ASSERT_TRUE(entered());
  EXPECT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_TRUE(forgotten());
  ASSERT_TRUE(entered());
  EXPECT_EQ(vm_madvise(mm, at & ~(2 * MIB - 1), 2 * MIB, MADV_COLLAPSE), 0);
  EXPECT_TRUE(forgotten());
  ASSERT_TRUE(entered());
  EXPECT_EQ(split_page_at(mm, at), 0);
  EXPECT_TRUE(forgotten());
  ASSERT_TRUE(entered());
  EXPECT_EQ(vm_madvise(mm, at, PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_TRUE(forgotten());
  ASSERT_TRUE(entered());
  EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  EXPECT_TRUE(forgotten());
  EXPECT_EQ(shadow.fault(at), -EFAULT);
  EXPECT_EQ(shadow.detach(), 0);
}

TEST_F(ShadowTable, IsEmptyOnceTheMmIsGone) {
  shadow_table of_brief(at, PAGES);
  {
    AddressSpace brief(system);
    ASSERT_TRUE(brief.mmap_fixed(at, PAGE_SIZE).has_value());
    ASSERT_EQ(of_brief.attach(brief.mm()), 0);
    ASSERT_EQ(of_brief.fault(at), 0);
    EXPECT_TRUE(of_brief.load(at).ok());
  }
  EXPECT_EQ(of_brief.load(at).error(), fault_result::sigsegv);
  EXPECT_EQ(of_brief.detach(), -EINVAL) << "the mm has ended the subscription";
}

/// A virtual machine writes while its memory is unmapped and given to others.
TEST_F(ShadowTable, NeverWritesToMemoryThatIsGone) {
  constexpr u64 FEW = 8;
  ASSERT_EQ(shadow.attach(mm), 0);
  const vaddr_t ours = map(FEW * PAGE_SIZE);
  std::atomic<u64> written{0};
  std::jthread guest([&](const std::stop_token& over) {
    CpuSession session(system, 1, space);
    for (u64 n = 0; !over.stop_requested(); ++n) {
      const vaddr_t va = at + n % FEW * PAGE_SIZE;
      if (!shadow.store(va, ~u64{0}).ok() && shadow.fault(va) != 0) continue;
      written += shadow.store(va, ~u64{0}).ok();
    }
  });
  for (int round = 0; round < 300 || written == 0; ++round) {
    ASSERT_EQ(vm_madvise(mm, at, FEW * PAGE_SIZE, MADV_DONTNEED), 0);
    for (u64 i = 0; i < FEW; ++i)
      touch(ours + i * PAGE_SIZE);
    for (u64 i = 0; i < FEW; ++i)
      ASSERT_EQ(*cpu->load<u64>(ours + i * PAGE_SIZE), ours + i * PAGE_SIZE);
    ASSERT_EQ(vm_madvise(mm, ours, FEW * PAGE_SIZE, MADV_DONTNEED), 0);
  }
  guest.request_stop();
  guest.join();
  EXPECT_EQ(shadow.detach(), 0);
}

} // namespace
} // namespace racewalk::test
