// mremap: the content goes where the addresses go, whatever it is mapped by; accounts balance; what fails
// leaves all as it was.
#include <atomic>
#include <cerrno>
#include <thread>

#include "mm/gup.h"
#include "mm/pgalloc.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Mremap : public World {
 protected:
  /// Touched memory at a multiple of 2 MiB, plus `offset`.
  vaddr_t touched(u64 bytes, u64 offset = 0) {
    const vaddr_t at = map(bytes + offset + HUGE);
    EXPECT_EQ(vm_munmap(mm, at + offset + bytes, HUGE), 0);
    if (offset != 0) {
      EXPECT_EQ(vm_munmap(mm, at, offset), 0);
    }
    touch_all(at + offset, bytes);
    return at + offset;
  }
  /// Room that nothing else takes, not mapped.
  vaddr_t room(u64 bytes) {
    const vaddr_t at = map(bytes);
    EXPECT_EQ(vm_munmap(mm, at, bytes), 0);
    return at;
  }
  pmd_t pmd(vaddr_t at) {
    const pmd_lookup found = find_pmd(mm, at);
    return found.found ? pmdp_get(found.pmdp) : pmd_t{};
  }
  /// The memory at `at` is what touch() left at `from`.
  void expect_content(vaddr_t at, vaddr_t from, u64 bytes) {
    for (u64 done = 0; done < bytes; done += PAGE_SIZE)
      ASSERT_EQ(*cpu->load<u64>(at + done), from + done) << done;
  }
  long mremap(vaddr_t old_addr, u64 old_len, u64 new_len, int flags, vaddr_t new_addr = 0) {
    return vm_mremap(mm, old_addr, old_len, new_len, flags, new_addr);
  }
  static constexpr int FIXED = MREMAP_MAYMOVE | MREMAP_FIXED;
};

TEST_F(Mremap, PagesMoveWithTheirContent) {
  const u64 before = used_frames();
  const vaddr_t at = touched(5 * PAGE_SIZE);
  const vaddr_t to = room(5 * PAGE_SIZE);
  ASSERT_NE(to, at);
  const u64 used = used_frames();
  EXPECT_EQ(mremap(at, 5 * PAGE_SIZE, 5 * PAGE_SIZE, FIXED, to + HUGE), long(to + HUGE));
  EXPECT_LE(used_frames(), used + 3) << "tables alone";
  expect_content(to + HUGE, at, 5 * PAGE_SIZE);
  EXPECT_TRUE(can_write(to + HUGE));
  EXPECT_FALSE(can_read(at));
  EXPECT_EQ(anon_pages(), 5);
  ASSERT_EQ(vm_munmap(mm, to + HUGE, 5 * PAGE_SIZE), 0);
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Mremap, AWholeTableMovesAtOnce) {
  const u64 bytes = HUGE + 3 * PAGE_SIZE;
  const vaddr_t at = touched(bytes);
  const pmd_t table = pmd(at);
  ASSERT_TRUE(pmd_is_table(table));
  const vaddr_t blocker = at + bytes; // it cannot grow where it is
  ASSERT_EQ(vm_mmap(mm, blocker, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED),
            long(blocker));
  const long to = mremap(at, bytes, bytes + HUGE, MREMAP_MAYMOVE);
  ASSERT_GT(to, 0);
  EXPECT_EQ(pmd_table_pfn(pmd(static_cast<vaddr_t>(to))), pmd_table_pfn(table));
  expect_content(static_cast<vaddr_t>(to), at, bytes);
}

TEST_F(Mremap, AHugePageMovesInOnePieceWithItsDeposit) {
  const u64 before = used_frames();
  const vaddr_t at = huge_page();
  const vaddr_t to = (u64{3} << 39) + 4 * HUGE; // another region: other tables all the way down
  ASSERT_EQ(mremap(at, HUGE, HUGE, FIXED, to), long(to));
  EXPECT_TRUE(is_huge(to));
  expect_content(to, at, HUGE);
  EXPECT_FALSE(can_read(at));
  // the deposit has come along: a split finds it
  ASSERT_EQ(vm_madvise(mm, to + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_FALSE(is_huge(to));
  EXPECT_EQ(*cpu->load<u64>(to), at);
  EXPECT_EQ(*cpu->load<u64>(to + PAGE_SIZE), 0u);
  ASSERT_EQ(vm_munmap(mm, to, HUGE), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Mremap, AHugePageIsSplitWhereItDoesNotFit) {
  const vaddr_t at = huge_page();
  const vaddr_t to = map(3 * HUGE) + PAGE_SIZE;
  ASSERT_EQ(mremap(at, HUGE, HUGE, FIXED, to), long(to));
  expect_content(to, at, HUGE);
  EXPECT_EQ(*cpu->load<u64>(to - PAGE_SIZE), 0u);
  EXPECT_EQ(*cpu->load<u64>(to + HUGE), 0u);
  const vaddr_t part = huge_page();
  ASSERT_EQ(mremap(part + PAGE_SIZE, 2 * PAGE_SIZE, 2 * PAGE_SIZE, FIXED, to), long(to));
  expect_content(to, part + PAGE_SIZE, 2 * PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(part), part);
  EXPECT_FALSE(can_read(part + PAGE_SIZE));
}

TEST_F(Mremap, ShrinkingUnmapsTheRest) {
  const vaddr_t at = touched(4 * PAGE_SIZE);
  EXPECT_EQ(mremap(at, 4 * PAGE_SIZE, PAGE_SIZE, 0), long(at));
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_FALSE(can_read(at + PAGE_SIZE));
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(mremap(at, PAGE_SIZE, PAGE_SIZE, 0), long(at)) << "nothing to do";
}

TEST_F(Mremap, GrowsWhereItIsIfThereIsRoom) {
  const vaddr_t at = touched(PAGE_SIZE);
  EXPECT_EQ(mremap(at, PAGE_SIZE, 8 * PAGE_SIZE, 0), long(at));
  EXPECT_EQ(areas(at), 1u);
  touch(at + 7 * PAGE_SIZE);
  EXPECT_FALSE(can_read(at + 8 * PAGE_SIZE));
  ASSERT_EQ(vm_mmap(mm, at + 8 * PAGE_SIZE, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED),
            long(at + 8 * PAGE_SIZE));
  EXPECT_EQ(mremap(at, 8 * PAGE_SIZE, 9 * PAGE_SIZE, 0), -ENOMEM);
  const long to = mremap(at, 8 * PAGE_SIZE, 16 * PAGE_SIZE, MREMAP_MAYMOVE);
  ASSERT_GT(to, 0);
  EXPECT_NE(static_cast<vaddr_t>(to), at);
  EXPECT_EQ(*cpu->load<u64>(static_cast<vaddr_t>(to)), at);
  EXPECT_EQ(*cpu->load<u64>(static_cast<vaddr_t>(to) + 7 * PAGE_SIZE), at + 7 * PAGE_SIZE);
  touch(static_cast<vaddr_t>(to) + 15 * PAGE_SIZE);
  EXPECT_FALSE(can_read(at));
  EXPECT_TRUE(can_read(at + 8 * PAGE_SIZE));
}

TEST_F(Mremap, DontunmapLeavesTheOldAddressesEmpty) {
  const vaddr_t at = touched(3 * PAGE_SIZE);
  const long to = mremap(at, 3 * PAGE_SIZE, 3 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
  ASSERT_GT(to, 0);
  expect_content(static_cast<vaddr_t>(to), at, 3 * PAGE_SIZE);
  for (vaddr_t a = at; a < at + 3 * PAGE_SIZE; a += PAGE_SIZE)
    EXPECT_EQ(cpu->fetch_add<u64>(a, 1).value(), 0u);
  EXPECT_EQ(anon_pages(), 6);
}

TEST_F(Mremap, RightsComeAlong) {
  const vaddr_t at = touched(2 * PAGE_SIZE);
  ASSERT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(mremap(at, 2 * PAGE_SIZE, 4 * PAGE_SIZE, MREMAP_MAYMOVE), -EFAULT)
      << "two areas of different rights";
  const vaddr_t to = room(PAGE_SIZE) + 4 * HUGE;
  ASSERT_EQ(mremap(at, PAGE_SIZE, 2 * PAGE_SIZE, FIXED, to), long(to));
  EXPECT_EQ(*cpu->load<u64>(to), at);
  EXPECT_FALSE(can_write(to));
  EXPECT_FALSE(can_write(to + PAGE_SIZE));
  EXPECT_TRUE(can_write(at + PAGE_SIZE));
}

TEST_F(Mremap, SharedMemoryMovesAndIsMappedTwice) {
  const u64 before = used_frames();
  const long shared = vm_mmap(mm, 0, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  ASSERT_GT(shared, 0);
  const auto at = static_cast<vaddr_t>(shared);
  for (u64 done = 0; done < 3 * PAGE_SIZE; done += PAGE_SIZE)
    touch(at + done);
  const vaddr_t to = u64{6} << 39;
  ASSERT_EQ(mremap(at, 3 * PAGE_SIZE, 3 * PAGE_SIZE, FIXED, to), long(to));
  expect_content(to, at, 3 * PAGE_SIZE);
  const long again = mremap(to + PAGE_SIZE, 0, 2 * PAGE_SIZE, MREMAP_MAYMOVE);
  ASSERT_GT(again, 0);
  expect_content(static_cast<vaddr_t>(again), at + PAGE_SIZE, 2 * PAGE_SIZE);
  ASSERT_TRUE(cpu->store<u64>(to + PAGE_SIZE, 5).ok());
  EXPECT_EQ(*cpu->load<u64>(static_cast<vaddr_t>(again)), 5u);
  EXPECT_EQ(mremap(to, 0, PAGE_SIZE, 0), -EINVAL);
  ASSERT_EQ(vm_munmap(mm, to, 3 * PAGE_SIZE), 0);
  ASSERT_EQ(vm_munmap(mm, static_cast<vaddr_t>(again), 2 * PAGE_SIZE), 0);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Mremap, APinFollowsItsPage) {
  const vaddr_t at = touched(PAGE_SIZE);
  page* pinned = nullptr;
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE, &pinned), 1);
  const vaddr_t to = room(PAGE_SIZE) + 4 * HUGE;
  ASSERT_EQ(mremap(at, PAGE_SIZE, PAGE_SIZE, FIXED, to), long(to));
  WRITE_ONCE(page_words(pinned)[0], 77);
  EXPECT_EQ(*cpu->load<u64>(to), 77u);
  unpin_user_page(pinned);
}

TEST_F(Mremap, CrossesRegions) {
  const vaddr_t border = u64{5} << 39;
  const vaddr_t at = touched(2 * HUGE);
  ASSERT_EQ(mremap(at, 2 * HUGE, 2 * HUGE, FIXED, border - HUGE), long(border - HUGE));
  expect_content(border - HUGE, at, 2 * HUGE);
  const long back = mremap(border - HUGE, 2 * HUGE, 2 * HUGE + PAGE_SIZE, FIXED, at);
  ASSERT_EQ(back, long(at));
  expect_content(at, at, 2 * HUGE);
  EXPECT_FALSE(can_read(border - PAGE_SIZE));
  EXPECT_FALSE(can_read(border));
}

TEST_F(Mremap, WhatCannotBeIsAnError) {
  const vaddr_t at = touched(2 * PAGE_SIZE);
  const vaddr_t limit = geometry().address_limit();
  const u64 two = 2 * PAGE_SIZE;
  EXPECT_EQ(mremap(at + 1, PAGE_SIZE, PAGE_SIZE, 0), -EINVAL);
  EXPECT_EQ(mremap(at, two, 0, 0), -EINVAL);
  EXPECT_EQ(mremap(at, 0, PAGE_SIZE, MREMAP_MAYMOVE), -EINVAL);
  EXPECT_EQ(mremap(at, two, two, 64), -EINVAL);
  EXPECT_EQ(mremap(at, two, two, MREMAP_FIXED, at + 4 * HUGE), -EINVAL);
  EXPECT_EQ(mremap(at, two, two, MREMAP_DONTUNMAP), -EINVAL);
  EXPECT_EQ(mremap(at, two, 2 * two, MREMAP_MAYMOVE | MREMAP_DONTUNMAP), -EINVAL);
  EXPECT_EQ(mremap(at, two, two, FIXED, at + PAGE_SIZE), -EINVAL) << "overlapping";
  EXPECT_EQ(mremap(at, two, two, FIXED, at + 4 * HUGE + 1), -EINVAL);
  EXPECT_EQ(mremap(at, two, two, FIXED, limit - PAGE_SIZE), -EINVAL);
  EXPECT_EQ(mremap(at, two, ~u64{0} - 5, MREMAP_MAYMOVE), -EINVAL);
  EXPECT_EQ(mremap(at, 3 * PAGE_SIZE, two, 0), -EFAULT) << "a part is not mapped";
  EXPECT_EQ(mremap(at + two, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE), -EFAULT);
  EXPECT_EQ(mremap(limit, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE), -EFAULT);
  EXPECT_EQ(mremap(at, two, limit, MREMAP_MAYMOVE), -ENOMEM) << "no room";
  expect_content(at, at, two);
}

TEST_F(Mremap, WithoutFramesTheContentIsWhereItWas) {
  const u64 bytes = HUGE + 4 * PAGE_SIZE;
  const vaddr_t at = touched(bytes, 5 * PAGE_SIZE);
  const vaddr_t to = (u64{7} << 39) + 9 * PAGE_SIZE; // every table is new, none moves whole
  const s64 tables_before = tables();
  const unsigned failures = fail_each_allocation([&] {
    const long error = mremap(at, bytes, bytes, FIXED, to);
    if (error == long(to)) { // without it, or without any failing: and back, for the next
      expect_content(to, at, bytes);
      const bool back = mremap(to, bytes, bytes, FIXED, at) == long(at);
      EXPECT_TRUE(back || mremap(to, bytes, bytes, FIXED, at) == long(at));
      return false;
    }
    EXPECT_EQ(error, -ENOMEM);
    EXPECT_EQ(tables(), tables_before);
    EXPECT_FALSE(can_read(to));
    expect_content(at, at, bytes);
    return true;
  });
  EXPECT_GE(failures, 4u);
  expect_content(at, at, bytes);
}

/// A thread that uses the memory at whichever address it is at the moment.
TEST_F(Mremap, NoUpdateIsLostToAMove) {
  const u64 before = used_frames();
  const vaddr_t places[2] = {touched(HUGE), (u64{9} << 39) + 3 * HUGE};
  std::atomic<bool> stop{false};
  std::atomic<u64> added{0};
  std::thread writer([&] {
    CpuSession other(system, 1, space);
    u64 n = 0;
    for (u64 i = 0; !stop.load(std::memory_order_relaxed); ++i)
      n += other->fetch_add<u64>(places[i % 2] + (i * 7 % 512) * PAGE_SIZE + 8, 1).ok();
    added = n;
  });
  for (unsigned i = 0; i < 200; ++i) {
    const vaddr_t from = places[i % 2];
    const vaddr_t to = places[1 - i % 2];
    ASSERT_EQ(mremap(from, HUGE, HUGE, FIXED, to), long(to));
    if (i % 50 == 49) {
      ASSERT_EQ(vm_madvise(mm, to, HUGE, MADV_COLLAPSE), 0);
    }
    if (i % 50 == 25) {
      ASSERT_EQ(vm_mprotect(mm, to, PAGE_SIZE, PROT_READ), 0); // splits a huge entry
      ASSERT_EQ(vm_mprotect(mm, to, PAGE_SIZE, PROT_READ | PROT_WRITE), 0);
    }
  }
  stop = true;
  writer.join();
  u64 sum = 0;
  for (unsigned i = 0; i < 512; ++i)
    sum += *cpu->load<u64>(places[0] + i * PAGE_SIZE + 8);
  EXPECT_EQ(sum, added);
  expect_content(places[0], places[0], HUGE);
  ASSERT_EQ(vm_munmap(mm, places[0], HUGE), 0);
  EXPECT_EQ(used_frames(), before);
}

} // namespace
} // namespace racewalk::test
