#include "mm/memory.h"

#include <thread>

#include "world.h"

namespace racewalk::test {
namespace {

using Fault = World;

TEST_F(Fault, GivesZeroedPagesOneByOne) {
  const vaddr_t at = map(MIB);
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(*cpu->load<u64>(at + 5 * PAGE_SIZE), 0u);
  EXPECT_EQ(anon_pages(), 0);
  touch(at);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(*cpu->load<u64>(at + 8), 0u);
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(Fault, RecycledFramesAreZeroToo) {
  for (int round = 0; round < 3; ++round) {
    const vaddr_t at = map(16 * PAGE_SIZE);
    for (int i = 0; i < 16; ++i) {
      EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE + 128), 0u);
      ASSERT_TRUE(cpu->store<u64>(at + i * PAGE_SIZE + 128, ~u64{0}).ok());
    }
    ASSERT_TRUE(space.munmap(at, 16 * PAGE_SIZE));
  }
}

TEST_F(Fault, RefusesWhatTheAreaForbids) {
  EXPECT_EQ(cpu->load<u64>(0).error(), fault_result::sigsegv);
  EXPECT_EQ(cpu->load<u64>(geometry().address_limit()).error(), fault_result::sigsegv);
  EXPECT_EQ(cpu->load<u64>(~u64{7}).error(), fault_result::sigsegv);
  const vaddr_t read_only = space.mmap(PAGE_SIZE, Access::read).value();
  EXPECT_TRUE(can_read(read_only));
  EXPECT_EQ(cpu->store<u64>(read_only, 1).error(), fault_result::sigsegv);
  const vaddr_t nothing = space.mmap(PAGE_SIZE, Access::none).value();
  EXPECT_EQ(cpu->load<u64>(nothing).error(), fault_result::sigsegv);
}

TEST_F(Fault, GivesHugePagesWhereTheyFit) {
  const vaddr_t at = map(6 * MIB);
  ASSERT_TRUE(space.madvise(at, 6 * MIB, AddressSpace::HugePages::yes));
  touch(at + 2 * MIB + 77 * PAGE_SIZE);
  EXPECT_EQ(anon_pages(), hpage_pmd_nr());
  EXPECT_EQ(*cpu->load<u64>(at + 3 * MIB), 0u);
  EXPECT_EQ(anon_pages(), hpage_pmd_nr());
}

TEST_F(Fault, FallsBackToSmallPages) {
  const vaddr_t at = map(4 * MIB);
  ASSERT_TRUE(space.madvise(at, 4 * MIB, AddressSpace::HugePages::yes));
  touch(at); // the upper tables are there now
  system.fail_page_alloc().fail_nth(1);
  touch(at + 2 * MIB);
  EXPECT_EQ(anon_pages(), hpage_pmd_nr() + 1);
}

TEST_F(Fault, KeepsContentsWhenAHugePageIsCut) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  for (u64 i = 0; i < hpage_pmd_nr(); ++i)
    touch(at + i * PAGE_SIZE);
  ASSERT_TRUE(space.munmap(at + 100 * PAGE_SIZE, PAGE_SIZE));
  ASSERT_TRUE(space.mprotect(at + 200 * PAGE_SIZE, PAGE_SIZE, Access::read));
  for (u64 i = 0; i < hpage_pmd_nr(); ++i) {
    if (i == 100) continue;
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), at + i * PAGE_SIZE);
  }
  EXPECT_FALSE(can_write(at + 200 * PAGE_SIZE));
  EXPECT_TRUE(can_write(at + 201 * PAGE_SIZE));
  EXPECT_EQ(anon_pages(), hpage_pmd_nr() - 1);
}

TEST_F(Fault, AnyAllocationMayFail) {
  const vaddr_t at = map(MIB);
  const unsigned failures = fail_each_allocation([&] {
    const auto done = cpu->store<u64>(at, 1);
    if (!done) {
      EXPECT_EQ(done.error(), fault_result::oom);
      EXPECT_EQ(anon_pages(), 0);
    }
    return !done;
  });
  EXPECT_EQ(failures, 3u) << "what a failed fault got, the next one has";
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(Fault, ReportsWhenFramesAreOut) {
  const vaddr_t at = map(256 * MIB);
  u64 pages = 0;
  fault_result error{};
  for (; error == fault_result::handled; ++pages)
    error = cpu->store<u64>(at + pages * PAGE_SIZE, 1).error();
  EXPECT_EQ(error, fault_result::oom);
  EXPECT_GT(pages, system.total_frames() * 9 / 10);
  ASSERT_TRUE(space.munmap(at, 256 * MIB));
  const vaddr_t again = map(PAGE_SIZE);
  EXPECT_TRUE(can_write(again)) << "what was unmapped can be used";
}

TEST_F(Fault, CpusThatFaultTogetherGetTheSamePage) {
  const vaddr_t at = map(64 * PAGE_SIZE);
  const auto add_to_all = [&](Cpu& c) {
    for (int i = 0; i < 64; ++i)
      ASSERT_TRUE(c.fetch_add<u64>(at + i * PAGE_SIZE, 1).ok());
  };
  std::jthread other([&] {
    CpuSession second(system, 1, space);
    add_to_all(*second);
  });
  add_to_all(*cpu);
  other.join();
  for (int i = 0; i < 64; ++i)
    EXPECT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), 2u);
  EXPECT_EQ(anon_pages(), 64);
}

using Unmap = World;

TEST_F(Unmap, GivesEverythingBack) {
  const s64 tables_before = tables();
  const u64 before = used_frames();
  const vaddr_t at = map(16 * MIB);
  ASSERT_TRUE(space.madvise(at + 8 * MIB, 8 * MIB, AddressSpace::HugePages::yes));
  for (u64 addr = at; addr < at + 16 * MIB; addr += PAGE_SIZE)
    touch(addr);
  EXPECT_EQ(anon_pages(), static_cast<s64>(16 * MIB / PAGE_SIZE));
  ASSERT_TRUE(space.munmap(at, 16 * MIB));
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(tables(), tables_before);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Unmap, KeepsTablesThatANeighbourNeeds) {
  const vaddr_t at = map(3 * PAGE_SIZE);
  for (int i = 0; i < 3; ++i)
    touch(at + i * PAGE_SIZE);
  const s64 before = tables();
  ASSERT_TRUE(space.munmap(at + PAGE_SIZE, PAGE_SIZE));
  EXPECT_EQ(tables(), before);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), at + 2 * PAGE_SIZE);
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  ASSERT_TRUE(space.munmap(at + 2 * PAGE_SIZE, PAGE_SIZE));
  EXPECT_EQ(tables(), before - 3);
}

TEST_F(Unmap, FreesTablesOfWhatWasNeverTouchedButForANeighbour) {
  const s64 before = tables();
  const vaddr_t touched = map(PAGE_SIZE);
  const vaddr_t untouched = space.mmap_fixed(touched + 16 * MIB, PAGE_SIZE).value();
  touch(touched);
  ASSERT_TRUE(space.munmap(touched, PAGE_SIZE));
  ASSERT_TRUE(space.munmap(untouched, PAGE_SIZE));
  EXPECT_EQ(tables(), before);
}

TEST_F(Unmap, IsSeenByOtherCpusAtOnce) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  std::atomic<int> phase{0};
  std::jthread other([&] {
    CpuSession second(system, 1, space);
    EXPECT_EQ(*second->load<u64>(at), at);
    phase = 1;
    while (phase != 2) {
    }
    EXPECT_FALSE(second->load<u64>(at).ok());
  });
  while (phase != 1) {
  }
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  phase = 2;
}

TEST_F(Unmap, FramesOnTheirWayBackAreWaitedFor) {
  // each round leaves tables to a grace period; together they would not fit the machine
  const u64 rounds = 2 * system.total_frames();
  for (u64 i = 0; i < rounds; ++i) {
    const vaddr_t at = map(PAGE_SIZE);
    ASSERT_TRUE(cpu->store<u64>(at, 1).ok()) << "in round " << i;
    ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  }
}

TEST_F(Unmap, NeedsNoMemory) {
  const vaddr_t at = map(4 * MIB);
  for (u64 addr = at; addr < at + 4 * MIB; addr += PAGE_SIZE)
    touch(addr);
  const u64 before = used_frames();
  system.fail_page_alloc().fail_with_probability(1'000'000);
  EXPECT_TRUE(space.munmap(at, 4 * MIB)) << "without batch pages tables go one by one";
  system.fail_page_alloc().fail_with_probability(0);
  EXPECT_LE(used_frames(), before - 4 * MIB / PAGE_SIZE);
}

} // namespace
} // namespace racewalk::test
