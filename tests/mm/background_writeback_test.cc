// The flusher, and writers who wait for it.
#include <array>
#include <chrono>
#include <thread>

#include "host_file.h"
#include "racewalk/writeback.h"

namespace racewalk::test {
namespace {

using namespace std::chrono_literals;

class BackgroundWriteback : public HostFile {
 protected:
  /// Waits until it holds; the test's time limit says if it never does.
  template <class F> static void until(F holds) {
    while (!holds())
      std::this_thread::sleep_for(1ms);
  }
};

TEST_F(BackgroundWriteback, what_is_old_is_written) {
  put(2 * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 2);
  Writeback writeback(system);
  ASSERT_TRUE(writeback.tune({.dirty_writeback = 1ms, .dirty_expire = 2ms}));
  write(at, 2);
  EXPECT_EQ(on_host(0), 1) << "nobody writes it";
  writeback.start();
  writeback.start(); // it runs
  EXPECT_TRUE(writeback.runs());
  until([&] { return on_host(0) == 2; });
  write(at, 3); // it was write-protected
  until([&] { return on_host(0) == 3; });
  until([&] { return writeback.statistics().dirty == 0; });
  EXPECT_GE(writeback.statistics().written, 2U);
  writeback.stop();
  EXPECT_FALSE(writeback.runs());
  writeback.start();
  write(at + PAGE_SIZE, 4);
  until([&] { return on_host(PAGE_SIZE) == 4; });
}

TEST_F(BackgroundWriteback, what_is_young_waits) {
  put(PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 1);
  Writeback writeback(system);
  ASSERT_TRUE(writeback.tune({.dirty_writeback = 1ms, .dirty_expire = 1h}));
  writeback.start();
  write(at, 2);
  const u64 before = writeback.statistics().passes;
  until([&] { return writeback.statistics().passes > before + 2; });
  EXPECT_EQ(on_host(0), 1);
  EXPECT_EQ(writeback.statistics().dirty, 1U);
}

TEST_F(BackgroundWriteback, too_much_is_written_at_once) {
  constexpr u64 PAGES = 64;
  File f = open();
  ASSERT_TRUE(f.resize(PAGES * PAGE_SIZE));
  const vaddr_t at = map_file(f, PAGES);
  Writeback writeback(system);
  ASSERT_TRUE(writeback.tune(
      {.dirty_writeback = 1h, .dirty_expire = 1h, .dirty_background_ratio = 0, .dirty_ratio = 0}));
  writeback.start();
  for (u64 i = 0; i < PAGES; ++i)
    write(at + i * PAGE_SIZE, 7); // waits until the one before is written
  EXPECT_GT(writeback.statistics().throttled, 0U);
  const std::array<std::byte, 1> byte{std::byte{8}};
  EXPECT_EQ(*f.write(PAGES * PAGE_SIZE, byte), 1U);
  writeback.wake();
  until([&] { return on_host((PAGES - 1) * PAGE_SIZE) == 7 && on_host(PAGES * PAGE_SIZE) == 8; });
}

TEST_F(BackgroundWriteback, nobody_waits_for_a_flusher_that_does_not_run) {
  File f = open();
  Writeback writeback(system);
  ASSERT_TRUE(writeback.tune({.dirty_background_ratio = 0, .dirty_ratio = 0}));
  const std::vector<std::byte> content(64 * PAGE_SIZE, std::byte{1});
  EXPECT_EQ(*f.write(0, content), content.size());
  EXPECT_EQ(writeback.statistics().throttled, 0U);
}

TEST_F(BackgroundWriteback, an_error_is_told_by_the_next_fsync) {
  put(PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 1);
  write(at, 2);
  Writeback writeback(system);
  ASSERT_TRUE(writeback.tune({.dirty_writeback = 1ms, .dirty_expire = 0ms}));
  PinnedPages pinned = space.pin(at, 1).value(); // it is written from a copy, for which there is no memory
  system.fail_page_alloc().fail_every(1);
  const u64 before = writeback.statistics().passes;
  writeback.start();
  until([&] { return writeback.statistics().passes > before + 1; });
  writeback.stop();
  system.fail_page_alloc().fail_every(0);
  EXPECT_EQ(f.sync().error(), std::errc::not_enough_memory);
  EXPECT_EQ(on_host(0), 2) << "the same fsync has written it";
  ASSERT_TRUE(f.sync());
}

TEST_F(BackgroundWriteback, numbers_that_cannot_be_are_refused) {
  Writeback writeback(system);
  EXPECT_EQ(writeback.tune({.dirty_background_ratio = 101}).error(), std::errc::invalid_argument);
  EXPECT_EQ(writeback.tune({.dirty_ratio = 101}).error(), std::errc::invalid_argument);
  EXPECT_EQ(writeback.tune({.dirty_writeback = -1ms}).error(), std::errc::invalid_argument);
  EXPECT_EQ(writeback.tune({.dirty_expire = -1ms}).error(), std::errc::invalid_argument);
  EXPECT_EQ(writeback.tuning().dirty_ratio, 20U);
}

} // namespace
} // namespace racewalk::test
