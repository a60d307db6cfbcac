// Memory that is short: what is taken back, in which order, and what stays.
#include <chrono>
#include <cstring>
#include <thread>

#include "host_file.h"

namespace racewalk::test {
namespace {

class ReclaimTest : public HostFile {
 protected:
  Reclaim& reclaim() { return system.reclaim(); }
  bool present(vaddr_t at) { return space.pagemap(at, 1).value()[0].present(); }
};

/// A machine with little memory, and this thread as a CPU of it.
struct small_world {
  explicit small_world(u64 bytes = 8U << 20) : system(bytes, 2) {}
  System system;
  AddressSpace space{system};
  CpuSession cpu{system, 0, space};
};

/// A test whose thread is a CPU of a small_world instead.
class OutOfCore : public ::testing::Test {
 protected:
  static constexpr u64 MIB = u64{1} << 20;
  const temporary_directory own;
  const std::string directory = own.path();
  small_world w;
};

TEST_F(OutOfCore, more_memory_than_there_are_frames) {
  ASSERT_TRUE(w.system.reclaim().swapon(directory + "/swap", 64 * MIB));
  constexpr u64 BYTES = 20 * MIB;
  const vaddr_t at = w.space.mmap(BYTES).value();
  for (int pass = 0; pass < 2; ++pass) {
    for (vaddr_t a = at; a < at + BYTES; a += PAGE_SIZE)
      ASSERT_TRUE(w.cpu->store<u64>(a, a + static_cast<u64>(pass)).ok());
    for (vaddr_t a = at; a < at + BYTES; a += PAGE_SIZE)
      ASSERT_EQ(*w.cpu->load<u64>(a), a + static_cast<u64>(pass));
  }
  const Reclaim::Statistics s = w.system.reclaim().statistics();
  EXPECT_GT(s.alloc_stalls, 0U);
  EXPECT_GE(s.swapped_out, (BYTES - 8 * MIB) / PAGE_SIZE);
  EXPECT_GT(s.swapped_in, 0U);
  EXPECT_GE(s.stolen, s.swapped_in);
}

TEST_F(OutOfCore, when_nothing_can_be_had_the_space_is_intact) {
  constexpr u64 BYTES = 20 * MIB;
  const vaddr_t at = w.space.mmap(BYTES).value();
  vaddr_t end = at;
  while (w.cpu->store<u64>(end, end).ok())
    end += PAGE_SIZE;
  EXPECT_EQ(w.cpu->store<u64>(end, 0).error(), fault_result::oom);
  EXPECT_GT(end, at + 6 * MIB);
  EXPECT_LT(end, at + 8 * MIB);
  for (vaddr_t a = at; a < end; a += PAGE_SIZE)
    ASSERT_EQ(*w.cpu->load<u64>(a), a);
  // room for it makes it work
  ASSERT_TRUE(w.system.reclaim().swapon(directory + "/swap", 64 * MIB));
  ASSERT_TRUE(w.cpu->store<u64>(end, end).ok());
}

TEST_F(OutOfCore, a_file_larger_than_memory) {
  constexpr u64 BYTES = 20 * MIB;
  File f = File::open(w.system, directory + "/file", O_RDWR | O_CREAT).value();
  ASSERT_TRUE(f.resize(BYTES));
  const vaddr_t at = w.space.mmap(f, 0, BYTES).value();
  for (vaddr_t a = at; a < at + BYTES; a += PAGE_SIZE)
    ASSERT_TRUE(w.cpu->store<u64>(a, a).ok());
  for (vaddr_t a = at; a < at + BYTES; a += PAGE_SIZE)
    ASSERT_EQ(*w.cpu->load<u64>(a), a);
  const Reclaim::Statistics s = w.system.reclaim().statistics();
  EXPECT_GE(s.written, (BYTES - 8 * MIB) / PAGE_SIZE);
  EXPECT_EQ(s.swapped_out, 0U);
  ASSERT_TRUE(f.sync());
  std::vector<std::byte> page(PAGE_SIZE);
  for (u64 from = 0; from < BYTES; from += PAGE_SIZE) {
    ASSERT_EQ(f.read(from, page).value(), PAGE_SIZE);
    u64 word = 0;
    std::memcpy(&word, page.data(), sizeof word);
    ASSERT_EQ(word, at + from);
  }
}

TEST_F(OutOfCore, what_comes_back_soon_is_counted) {
  constexpr u64 BYTES = 10 * MIB; // a little more than there is
  File f = File::open(w.system, directory + "/file", O_RDWR | O_CREAT).value();
  ASSERT_TRUE(f.resize(BYTES));
  const vaddr_t at = w.space.mmap(f, 0, BYTES).value();
  for (int pass = 0; pass < 2; ++pass)
    for (vaddr_t a = at; a < at + BYTES; a += PAGE_SIZE)
      ASSERT_EQ(*w.cpu->load<u64>(a), 0U);
  EXPECT_GT(w.system.reclaim().statistics().refaults, 0U);
}

TEST_F(OutOfCore, kswapd_keeps_frames_free) {
  ASSERT_TRUE(w.system.reclaim().swapon(directory + "/swap", 64 * MIB));
  Reclaim& reclaim = w.system.reclaim();
  ASSERT_TRUE(reclaim.tune_kswapd({.low = 100, .high = 200}));
  reclaim.start_kswapd();
  reclaim.start_kswapd(); // it runs
  EXPECT_TRUE(reclaim.kswapd_runs());
  const vaddr_t at = w.space.mmap(16 * MIB).value();
  for (vaddr_t a = at; a < at + 16 * MIB; a += PAGE_SIZE)
    ASSERT_TRUE(w.cpu->store<u64>(a, a).ok());
  while (w.system.free_frames() < w.system.total_frames() / 10) // the test's time limit says if it never is
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_GT(reclaim.statistics().kswapd_runs, 0U);
  reclaim.stop_kswapd();
  EXPECT_FALSE(reclaim.kswapd_runs());
  for (vaddr_t a = at; a < at + 16 * MIB; a += PAGE_SIZE)
    ASSERT_EQ(*w.cpu->load<u64>(a), a);
}

TEST_F(OutOfCore, settings_that_cannot_be_are_refused) {
  Reclaim& reclaim = w.system.reclaim();
  EXPECT_FALSE(reclaim.tune_kswapd({.low = 5, .high = 4}));
  EXPECT_FALSE(reclaim.tune_kswapd({.low = 5, .high = 1000}));
  EXPECT_EQ(reclaim.kswapd_tuning().low, kswapd_settings{}.low);
  EXPECT_TRUE(reclaim.tune_kswapd({.low = 0, .high = 0}));
  reclaim.stop_kswapd(); // it does not run
}

TEST_F(ReclaimTest, what_is_used_stays_longest) {
  ASSERT_TRUE(system.reclaim().swapon(directory + "/swap", 4 * MIB));
  constexpr u64 PAGES = 128; // the first half is used again and again
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  const auto use = [&](u64 pages) {
    for (u64 i = 0; i < pages; ++i)
      touch(at + i * PAGE_SIZE);
  };
  use(PAGES);
  ASSERT_GT(reclaim().shrink(1), 0U); // all of them are looked at
  use(PAGES / 2);
  ASSERT_GE(reclaim().shrink(PAGES / 4), PAGES / 4);
  for (u64 i = 0; i < PAGES / 2; ++i)
    EXPECT_TRUE(present(at + i * PAGE_SIZE)) << i;
  use(PAGES / 2);
}

TEST_F(ReclaimTest, what_calls_use_again_stays) {
  constexpr u64 PAGES = 64;
  put(PAGES * PAGE_SIZE, std::byte{1});
  File f = open();
  std::vector<std::byte> content(PAGES * PAGE_SIZE);
  ASSERT_TRUE(f.read(0, content)); // all of it, once
  std::byte bytes[100];
  for (const u64 page : {u64{3}, u64{40}})
    ASSERT_TRUE(f.read(page * PAGE_SIZE, bytes));
  ASSERT_TRUE(f.write(50 * PAGE_SIZE, bytes));
  ASSERT_EQ(cached(f), PAGES);
  EXPECT_EQ(reclaim().shrink(PAGES - 3), PAGES - 3);
  for (u64 page = 0; page < PAGES; ++page)
    EXPECT_EQ(!f.opening().mapping().i_pages.load(page).none(), page == 3 || page == 40 || page == 50)
        << page;
}

TEST_F(ReclaimTest, a_page_that_is_read_in_pieces_is_used_once) {
  put(2 * PAGE_SIZE, std::byte{1});
  File f = open();
  std::byte bytes[512];
  for (u64 at = 0; at < PAGE_SIZE; at += sizeof bytes)
    ASSERT_TRUE(f.read(at, bytes));
  for (int n = 0; n < 2; ++n) {
    ASSERT_TRUE(f.read(PAGE_SIZE, bytes));
    ASSERT_TRUE(f.read(2 * PAGE_SIZE, bytes)); // elsewhere: its end
  }
  EXPECT_EQ(reclaim().shrink(1), 1U);
  EXPECT_TRUE(f.opening().mapping().i_pages.load(0).none());
}

TEST_F(ReclaimTest, a_dirty_page_is_written_first) {
  put(4 * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 4);
  write(at, 2);
  EXPECT_EQ(read(at + PAGE_SIZE), 1);
  ASSERT_GE(cached(f), 2U);
  EXPECT_GE(reclaim().shrink(4), 2U);
  EXPECT_EQ(cached(f), 0U);
  EXPECT_EQ(on_host(0), 2);
  EXPECT_EQ(reclaim().statistics().written, 1U);
  EXPECT_EQ(read(at), 2);
}

TEST_F(ReclaimTest, what_is_in_use_stays) {
  put(2 * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 2);
  const File memory = File::in_memory(system, PAGE_SIZE).value();
  const vaddr_t in_memory = space.mmap(memory, 0, PAGE_SIZE).value();
  write(in_memory, 7);
  {
    const PinnedPages pin = space.pin(at, 1).value();
    pin[0][0] = std::byte{3};
    (void)reclaim().shrink(16);
    EXPECT_EQ(cached(f), 1U) << "the other page went";
    EXPECT_EQ(cached(memory), 1U);
    pin[0][0] = std::byte{4};
  }
  EXPECT_GE(reclaim().shrink(16), 1U);
  EXPECT_EQ(cached(f), 0U);
  EXPECT_EQ(on_host(0), 4);
  EXPECT_EQ(read(in_memory), 7);
}

} // namespace
} // namespace racewalk::test
