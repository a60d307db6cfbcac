// What is read of the swap file before anybody asks for it: neighbours of what is touched in order, little
// else; and it does no harm.
#include <optional>
#include <thread>

#include "mm/host_io_queue.h"
#include "swapped.h"

namespace racewalk::test {
namespace {

enum class memory { anonymous, file };

class SwapReadahead : public Swapped, public testing::WithParamInterface<memory> {
 protected:
  static constexpr u64 PAGES = 512;

  void SetUp() override {
    swapon();
    if (GetParam() == memory::file) file_.emplace(File::in_memory(system, PAGES * PAGE_SIZE).value());
    at_ = file_ ? map_file(*file_, PAGES) : map(PAGES * PAGE_SIZE);
    fill(at_, PAGES);
    for (const u64 parity :
         {0, 1}) // neighbours in memory are not neighbours in the file, but every other one is
      for (u64 i = parity; i < PAGES; i += 2)
        pageout(at_ + i * PAGE_SIZE, 1);
    ASSERT_EQ(slots_used(), PAGES);
  }
  Reclaim::Statistics now() { return system.reclaim().statistics(); }
  void unmap() {
    ASSERT_TRUE(space.munmap(at_, PAGES * PAGE_SIZE));
    file_.reset();
    system.settle(); // waits for what is on its way
  }

  vaddr_t at_ = 0;
  std::optional<File> file_;
};

INSTANTIATE_TEST_SUITE_P(Of, SwapReadahead, testing::Values(memory::anonymous, memory::file),
                         [](const auto& of) { return of.param == memory::file ? "file" : "anonymous"; });

TEST_P(SwapReadahead, what_is_touched_in_order_is_there_before) {
  expect_content(at_, PAGES);
  EXPECT_EQ(now().swapped_in, PAGES) << "and nothing else";
  EXPECT_GE(now().swap_ra_hits, PAGES / 2);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_P(SwapReadahead, in_either_direction) {
  for (u64 i = PAGES; i-- > 0;)
    expect_content(at_ + i * PAGE_SIZE, 1);
  EXPECT_EQ(now().swapped_in, PAGES);
  EXPECT_GE(now().swap_ra_hits, PAGES / 2);
}

TEST_P(SwapReadahead, what_is_touched_here_and_there_comes_alone) {
  constexpr u64 TOUCHED = 20;
  for (u64 i = 0; i < TOUCHED; ++i)
    expect_content(at_ + i * 23 % PAGES * PAGE_SIZE, 1);
  EXPECT_LT(now().swap_ra, 2 * SWAP_RA_MAX) << "the window closes";
}

TEST_P(SwapReadahead, areas_do_not_learn_from_each_other) {
  if (GetParam() == memory::file) GTEST_SKIP() << "they do: it is the file that learns";
  ASSERT_TRUE(space.mprotect(at_ + PAGES / 2 * PAGE_SIZE, PAGES / 2 * PAGE_SIZE, Access::read));
  for (u64 i = 0; i < PAGES / 2; ++i) {
    expect_content(at_ + i * PAGE_SIZE, 1);
    expect_content(at_ + (PAGES - 1 - i) * PAGE_SIZE, 1);
  }
  EXPECT_EQ(now().swapped_in, PAGES);
  EXPECT_GE(now().swap_ra_hits, PAGES / 2);
}

TEST_P(SwapReadahead, what_cannot_be_read_ahead_is_read_when_it_is_wanted) {
  system.fail_io().fail_every(1);
  expect_content(at_, PAGES / 2);
  system.fail_io().fail_every(0);
  system.failslab().fail_every(1);
  expect_content(at_ + PAGES / 2 * PAGE_SIZE, PAGES / 2);
  system.failslab().fail_every(0);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_P(SwapReadahead, willneed_reads_neighbours_in_one_transfer) {
  fill(at_, PAGES);
  ASSERT_TRUE(system.reclaim().swapoff()); // no page has the slot that it had
  swapon();
  pageout(at_, 32);
  const u64 read = now().swapped_in;
  system.fail_io().fail_nth(2);
  ASSERT_EQ(vm_madvise(mm, at_, 32 * PAGE_SIZE, MADV_WILLNEED), 0);
  system.settle();
  EXPECT_EQ(now().swapped_in, read + 32);
  EXPECT_EQ(system.fail_io().failed(), 0U) << "there was no second one";
  system.fail_io().fail_nth(0);
  expect_content(at_, 32);
  EXPECT_EQ(now().swapped_in, read + 32);
}

TEST_P(SwapReadahead, willneed_takes_what_memory_there_is) {
  u64 nth = 0;
  for (system.fail_page_alloc().fail_nth(++nth); nth <= 40; system.fail_page_alloc().fail_nth(++nth)) {
    ASSERT_EQ(vm_madvise(mm, at_, 40 * PAGE_SIZE, MADV_WILLNEED), 0);
    system.settle();
  }
  system.fail_page_alloc().fail_nth(0);
  expect_content(at_, PAGES);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_P(SwapReadahead, an_error_is_that_of_who_asks) {
  system.reclaim().fail_swap_read().fail_nth(1);
  EXPECT_EQ(cpu->load<u64>(at_ + 4 * PAGE_SIZE).error(), fault_result::sigbus);
  expect_content(at_, PAGES);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_P(SwapReadahead, what_nobody_wants_goes_with_its_mapping) {
  for (u64 i = 0; i < PAGES; i += 64)
    expect_content(at_ + i * PAGE_SIZE, 2);
  EXPECT_GT(now().swap_ra, 0U);
  unmap();
  EXPECT_EQ(slots_used(), 0U);
}

TEST_P(SwapReadahead, swapoff_waits_for_it) {
  for (u64 i = 0; i < PAGES; i += 64)
    expect_content(at_ + i * PAGE_SIZE, 2);
  ASSERT_TRUE(system.reclaim().swapoff());
  expect_content(at_, PAGES);
}

// Two CPUs go through the same pages in opposite directions while a third swaps them out.
TEST_P(SwapReadahead, many_at_once) {
  const auto count = [&](unsigned id, bool up) {
    CpuSession session(system, id, space);
    for (u64 round = 0; round < 4; ++round)
      for (u64 i = 0; i < PAGES; ++i)
        ASSERT_TRUE(session->fetch_add<u64>(at_ + (up ? i : PAGES - 1 - i) * PAGE_SIZE + 8, 1).ok());
  };
  std::thread a(count, 1, true);
  std::thread b(count, 2, false);
  for (int n = 0; n < 20; ++n)
    pageout(at_, PAGES);
  a.join();
  b.join();
  expect_content(at_, PAGES);
  for (u64 i = 0; i < PAGES; ++i)
    ASSERT_EQ(*cpu->load<u64>(at_ + i * PAGE_SIZE + 8), 8U);
}

} // namespace
} // namespace racewalk::test
