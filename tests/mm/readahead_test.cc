// How many transfers it takes: pages read ahead, and pages written together.
#include "mm/readahead.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <thread>

#include "host_file.h"
#include "mm/host_io_queue.h"
#include "mm/hostfs.h"
#include "racewalk/writeback.h"

namespace racewalk::test {
namespace {

constexpr u64 PAGES = 256;

class Readahead : public HostFile {
 protected:
  /// Each page's first byte is its number.
  void put_numbered(u64 pages = PAGES) {
    std::vector<std::byte> content(pages * PAGE_SIZE);
    for (u64 n = 0; n < pages; ++n)
      content[n * PAGE_SIZE] = static_cast<std::byte>(n);
    put(content);
  }
  int byte_of(File& f, u64 page) {
    std::byte value{};
    EXPECT_EQ(f.read(page * PAGE_SIZE, {&value, 1}).value(), 1U);
    return std::to_integer<int>(value);
  }
  u64 reads() const { return writeback.statistics().reads; }
  u64 writes() const { return writeback.statistics().writes; }

  Writeback writeback{system};
};

// ---- reading ---------------------------------------------------------------------------------------------

TEST_F(Readahead, who_reads_in_order_waits_seldom) {
  put_numbered();
  File f = open();
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_EQ(byte_of(f, n), static_cast<int>(n % 256));
  EXPECT_EQ(cached(f), PAGES);
  EXPECT_LE(reads(), 12U) << "windows of 4, 8, 16, 32, 32 ...";
}

TEST_F(Readahead, a_long_read_is_one_window_after_the_other) {
  put_numbered();
  File f = open();
  std::vector<std::byte> all(PAGES * PAGE_SIZE);
  ASSERT_EQ(f.read(0, all).value(), all.size());
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_EQ(all[n * PAGE_SIZE], static_cast<std::byte>(n));
  EXPECT_EQ(reads(), 2U) << "the longest window, in parts of half a megabyte";
}

TEST_F(Readahead, who_reads_at_random_gets_what_was_asked_for) {
  put_numbered();
  File f = open();
  for (const u64 n : {200U, 13U, 150U, 77U})
    EXPECT_EQ(byte_of(f, n), static_cast<int>(n));
  EXPECT_EQ(cached(f), 4U);
  EXPECT_EQ(reads(), 4U);
}

TEST_F(Readahead, a_fault_reads_what_is_around) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  EXPECT_EQ(read(at + 100 * PAGE_SIZE), 100);
  EXPECT_EQ(cached(f), hostfs::RA_PAGES);
  EXPECT_EQ(reads(), 1U);
  for (u64 n = 84; n < 108; ++n)
    EXPECT_EQ(read(at + n * PAGE_SIZE), static_cast<int>(n));
  EXPECT_EQ(reads(), 1U);
}

TEST_F(Readahead, who_comes_upon_the_mark_has_the_next_window_read) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  EXPECT_EQ(read(at + 100 * PAGE_SIZE), 100);
  EXPECT_EQ(read(at + 107 * PAGE_SIZE), 107);
  EXPECT_EQ(cached(f), 32U);
  EXPECT_EQ(read(at + 108 * PAGE_SIZE), 108) << "a quarter before the end of the window";
  EXPECT_EQ(cached(f), 32U + 64U);
  EXPECT_EQ(read(at + 109 * PAGE_SIZE), 109);
  EXPECT_EQ(cached(f), 32U + 64U) << "once";
  for (u64 n = 116; n < PAGES; ++n)
    EXPECT_EQ(read(at + n * PAGE_SIZE), static_cast<int>(n));
  EXPECT_EQ(reads(), 3U) << "the pages around, and two windows";
}

TEST_F(Readahead, by_calls_too) {
  put_numbered();
  File f = open();
  EXPECT_EQ(byte_of(f, 0), 0);
  EXPECT_EQ(cached(f), 4U);
  EXPECT_EQ(byte_of(f, 1), 1);
  EXPECT_EQ(cached(f), 4U + 16U) << "the mark is after what was asked for";
}

TEST_F(Readahead, what_is_in_flight_is_waited_for) {
  put_numbered();
  for (u64 round = 0; round < 50; ++round) {
    File f = open();
    const vaddr_t at = map_file(f, PAGES);
    ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, MADV_WILLNEED));
    const u64 n = round * 5;
    switch (round % 4) {
    case 0:
      EXPECT_EQ(read(at + n * PAGE_SIZE), static_cast<int>(n));
      break;
    case 1:
      ASSERT_TRUE(f.resize(n * PAGE_SIZE));
      EXPECT_EQ(cached(f), n);
      put_numbered();
      break;
    case 2:
      ASSERT_TRUE(f.punch_hole(n * PAGE_SIZE, 4 * PAGE_SIZE));
      EXPECT_EQ(read(at + n * PAGE_SIZE), 0) << "and does not come back";
      put_numbered();
      break;
    default: // the file goes
      break;
    }
    ASSERT_TRUE(space.munmap(at, PAGES * PAGE_SIZE));
  }
}

TEST_F(Readahead, what_could_not_be_read_ahead_is_read_by_who_wants_it) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  system.fail_io().fail_every(1);
  ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, MADV_WILLNEED));
  EXPECT_EQ(fault_of(at + 10 * PAGE_SIZE), fault_result::sigbus);
  system.fail_io().fail_every(0);
  EXPECT_EQ(cached(f), PAGES);
  for (u64 n = 0; n < PAGES; ++n)
    EXPECT_EQ(read(at + n * PAGE_SIZE), static_cast<int>(n));
}

TEST_F(Readahead, the_file_ends_where_it_ends) {
  put_numbered(10);
  File f = open();
  const vaddr_t at = map_file(f, 16);
  EXPECT_EQ(read(at + 9 * PAGE_SIZE), 9);
  EXPECT_EQ(cached(f), 10U);
  EXPECT_EQ(fault_of(at + 10 * PAGE_SIZE), fault_result::sigbus);
}

TEST_F(Readahead, advice_is_taken) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, MADV_RANDOM));
  EXPECT_EQ(read(at + 100 * PAGE_SIZE), 100);
  EXPECT_EQ(cached(f), 1U);
  ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, MADV_SEQUENTIAL));
  EXPECT_EQ(read(at + 200 * PAGE_SIZE), 200);
  EXPECT_EQ(cached(f), 5U) << "a first window, from there on";
  EXPECT_EQ(read(at + 204 * PAGE_SIZE), 204);
  EXPECT_EQ(cached(f), 21U) << "a second one, four times as long";
  ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, MADV_NORMAL));
  EXPECT_EQ(read(at + 50 * PAGE_SIZE), 50);
  EXPECT_EQ(cached(f), 53U);
}

TEST_F(Readahead, what_will_be_needed_is_read) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  ASSERT_TRUE(space.madvise(at, PAGES * PAGE_SIZE, MADV_WILLNEED));
  EXPECT_EQ(cached(f), PAGES);
  EXPECT_EQ(reads(), PAGES / 128);
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_EQ(read(at + n * PAGE_SIZE), static_cast<int>(n % 256));
  EXPECT_EQ(reads(), PAGES / 128);
  EXPECT_EQ(space.madvise(at, (PAGES + 1) * PAGE_SIZE, MADV_WILLNEED).error(), std::errc::not_enough_memory);
}

TEST_F(Readahead, what_is_of_no_use_ends) {
  constexpr u64 MANY = 16'384;
  put(MANY * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, MANY);
  for (u64 n = 0; n < 120; ++n)
    EXPECT_EQ(read(at + (16 + n * 64) * PAGE_SIZE), 1);
  const u64 before = cached(f);
  EXPECT_EQ(read(at + 12'000 * PAGE_SIZE), 1);
  EXPECT_EQ(cached(f), before + 1);
}

TEST_F(Readahead, a_page_that_cannot_be_read_is_no_matter_until_it_is_wanted) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  system.fail_io().fail_nth(1);
  EXPECT_EQ(read(at + 100 * PAGE_SIZE), 100) << "read by itself";
  EXPECT_EQ(system.fail_io().failed(), 1U);
  EXPECT_EQ(read(at + 101 * PAGE_SIZE), 101);
  system.fail_io().fail_every(1);
  EXPECT_EQ(fault_of(at + 200 * PAGE_SIZE), fault_result::sigbus);
  std::byte nothing{};
  EXPECT_EQ(f.read(0, {&nothing, 1}).error(), std::errc::io_error);
  system.fail_io().fail_every(0);
  EXPECT_EQ(read(at + 200 * PAGE_SIZE), 200);
}

TEST_F(Readahead, without_memory_less_is_read) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  system.fail_page_alloc().fail_nth(4); // a node of the page cache, a table, a page, and no more
  EXPECT_EQ(read(at + 100 * PAGE_SIZE), 100);
  EXPECT_LT(cached(f), u64{hostfs::RA_PAGES});
  EXPECT_EQ(system.fail_page_alloc().failed(), 1U);
}

// ---- writing ---------------------------------------------------------------------------------------------

TEST_F(Readahead, neighbours_are_written_together) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  for (u64 n = 0; n < 64; ++n)
    write(at + n * PAGE_SIZE + 1, 7);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(writes(), 1U);
  for (u64 n = 0; n < PAGES; n += 2)
    write(at + n * PAGE_SIZE + 2, 8);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(writes(), 1U + PAGES / 2);
  const std::vector<std::byte> content = on_host();
  for (u64 n = 0; n < PAGES; ++n) {
    ASSERT_EQ(content[n * PAGE_SIZE], static_cast<std::byte>(n));
    ASSERT_EQ(content[n * PAGE_SIZE + 1], std::byte{n < 64 ? u8{7} : u8{0}});
    ASSERT_EQ(content[n * PAGE_SIZE + 2], std::byte{n % 2 == 0 ? u8{8} : u8{0}});
  }
  EXPECT_EQ(writeback.statistics().dirty, 0U);
}

TEST_F(Readahead, what_is_taken_back_is_written_together) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  for (u64 n = 0; n < 64; ++n)
    write(at + n * PAGE_SIZE, 7);
  const u64 before = writes();
  ASSERT_TRUE(space.madvise(at, 64 * PAGE_SIZE, MADV_PAGEOUT));
  EXPECT_LE(writes() - before, 4U);
  EXPECT_EQ(on_host(63 * PAGE_SIZE), 7);
  for (u64 n = 0; n < 64; ++n)
    EXPECT_EQ(read(at + n * PAGE_SIZE), 7);
}

TEST_F(Readahead, of_pages_written_together_those_that_fail_stay_dirty) {
  put_numbered(64);
  File f = open();
  const vaddr_t at = map_file(f, 64);
  for (u64 n = 0; n < 64; n += 2)
    write(at + n * PAGE_SIZE + 1, 9);
  system.fail_io().error = ENOSPC;
  system.fail_io().fail_every(4);
  EXPECT_EQ(f.sync().error(), std::errc::no_space_on_device);
  EXPECT_EQ(writeback.statistics().dirty, 8U);
  system.fail_io().fail_every(0);
  ASSERT_TRUE(f.sync()) << "told once";
  EXPECT_EQ(writes(), 32U + 8U);
  const std::vector<std::byte> content = on_host();
  for (u64 n = 0; n < 64; n += 2)
    ASSERT_EQ(content[n * PAGE_SIZE + 1], std::byte{9});
}

TEST_F(Readahead, many_write_at_once) {
  put_numbered();
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  for (u64 n = 0; n < PAGES; ++n)
    (void)read(at + n * PAGE_SIZE);
  std::atomic<bool> done{false};
  std::vector<std::jthread> writers;
  for (int k = 0; k < 3; ++k)
    writers.emplace_back([&] {
      while (!done)
        EXPECT_TRUE(f.sync());
    });
  for (int round = 1; round < 50; ++round)
    for (u64 n = static_cast<u64>(round % 2); n < PAGES; n += 2)
      write(at + n * PAGE_SIZE + 1, round);
  done = true;
  writers.clear();
  ASSERT_TRUE(f.sync());
  const std::vector<std::byte> content = on_host();
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_EQ(content[n * PAGE_SIZE + 1], static_cast<std::byte>(n % 2 == 1 ? 49 : 48));
}

// ---- the queue by itself ---------------------------------------------------------------------------------

TEST_F(Readahead, a_queue_says_what_became_of_each_transfer) {
  put_numbered(4);
  const int fd = ::open(path.c_str(), O_RDONLY);
  host_io_queue queue;
  std::array<std::byte, 300> memory{};
  std::array<iovec, 200> vectors{};
  std::vector<host_io> ios;
  for (u64 n = 0; n < 200; ++n) {
    vectors[n] = {&memory[n], 1};
    ios.push_back({n == 7 ? -1 : fd, n * PAGE_SIZE, {&vectors[n], 1}, 1});
  }
  queue.submit_and_wait(io_dir::read, ios);
  for (u64 n = 0; n < 200; ++n) {
    EXPECT_EQ(ios[n].error, n == 7 ? -EBADF : 0);
    EXPECT_EQ(ios[n].done, n < 4 ? 1U : 0U) << "the file ends";
  }
  EXPECT_EQ(memory[3], std::byte{3});
  EXPECT_EQ(queue.nr_ios(io_dir::read), 200U);
  ::close(fd);
}

} // namespace
} // namespace racewalk::test
