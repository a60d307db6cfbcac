// Pages that nobody uses: marked, and asked for later.
#include "mm/page_idle.h"

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "host_file.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"

namespace racewalk::test {
namespace {

class PageIdle : public HostFile {
 protected:
  std::vector<bool> idle(vaddr_t at, u64 pages) { return space.idle(at, pages).value(); }
  static std::vector<bool> all(u64 pages, bool value) { return std::vector<bool>(pages, value); }
};

TEST_F(PageIdle, Who_is_used_is_not) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  touch_all(at, 4 * PAGE_SIZE);
  EXPECT_EQ(idle(at, 4), all(4, false)) << "nobody has marked them";
  ASSERT_TRUE(space.mark_idle(at, 4));
  EXPECT_EQ(idle(at, 4), all(4, true));
  ASSERT_TRUE(can_read(at + PAGE_SIZE));
  touch(at + 3 * PAGE_SIZE);
  EXPECT_EQ(idle(at, 4), (std::vector{true, false, true, false}));
  EXPECT_EQ(idle(at, 4), (std::vector{true, false, true, false})) << "to ask changes nothing";
  ASSERT_TRUE(space.mark_idle(at, 4));
  EXPECT_EQ(idle(at, 4), all(4, true));
}

TEST_F(PageIdle, What_is_not_mapped_is_not) {
  const vaddr_t at = map(3 * PAGE_SIZE);
  ASSERT_TRUE(can_read(at)); // the page of zeros is everybody's
  touch(at + PAGE_SIZE);
  ASSERT_TRUE(space.mark_idle(at - PAGE_SIZE, 5));
  EXPECT_EQ(idle(at - PAGE_SIZE, 5), (std::vector{false, false, true, false, false}));
  EXPECT_EQ(space.mark_idle(at + 1, 1).error(), std::errc::invalid_argument);
  EXPECT_EQ(space.idle(geometry().address_limit(), 1).error(), std::errc::invalid_argument);
  EXPECT_EQ(page_idle_set(mm, at, ~u64{0} >> PAGE_SHIFT), -EINVAL);
}

TEST_F(PageIdle, A_huge_page_is_used_as_a_whole) {
  const vaddr_t at = huge_page();
  ASSERT_TRUE(space.mark_idle(at + PAGE_SIZE, 1));
  EXPECT_EQ(idle(at, 2), all(2, true));
  touch(at + 5 * PAGE_SIZE);
  EXPECT_EQ(idle(at, 2), all(2, false));
  EXPECT_TRUE(is_huge(at));
}

TEST_F(PageIdle, Whoever_maps_it_uses_it) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  const auto child = space.fork().value();
  ASSERT_TRUE(space.mark_idle(at, 1));
  cpu.switch_to(*child);
  ASSERT_TRUE(can_read(at));
  cpu.switch_to(space);
  EXPECT_EQ(idle(at, 1), all(1, false));
}

TEST_F(PageIdle, Calls_use_it_too) {
  put(3 * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 3);
  ASSERT_TRUE(can_read(at));
  ASSERT_TRUE(can_read(at + PAGE_SIZE));
  ASSERT_TRUE(can_read(at + 2 * PAGE_SIZE));
  ASSERT_TRUE(space.mark_idle(at, 3));
  std::byte bytes[16]{};
  ASSERT_TRUE(f.read(0, bytes));
  ASSERT_TRUE(f.write(2 * PAGE_SIZE, bytes));
  EXPECT_EQ(idle(at, 3), (std::vector{false, true, false}));
}

TEST_F(PageIdle, It_stays_idle_when_it_moves) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch_all(at, 2 * PAGE_SIZE);
  ASSERT_TRUE(space.mark_idle(at, 2));
  const vaddr_t pages[] = {at, at + PAGE_SIZE};
  for (const std::errc moved : space.move_pages(pages))
    EXPECT_EQ(moved, std::errc{});
  EXPECT_EQ(idle(at, 2), all(2, true));
}

TEST_F(PageIdle, Reclaim_and_this_do_not_hide_uses_from_each_other) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch_all(at, 2 * PAGE_SIZE);
  folio* folio = page_folio(pfn_to_page(space.pagemap(at, 1).value()[0].pfn()));
  const auto used = [&] {
    tlbflush_unmap_batch batch{};
    folio_lock(folio);
    const bool referenced = folio_referenced(folio, batch);
    folio_unlock(folio);
    try_to_unmap_flush(batch);
    return referenced;
  };
  ASSERT_TRUE(used());
  touch(at);
  ASSERT_TRUE(space.mark_idle(at, 2)); // which makes its entry old
  EXPECT_TRUE(used());
  EXPECT_FALSE(used());
  EXPECT_EQ(idle(at, 2), all(2, true));
  touch(at);
  EXPECT_TRUE(used()); // which makes its entry old
  EXPECT_EQ(idle(at, 2), (std::vector{false, true}));
}

TEST_F(PageIdle, Nobody_is_disturbed_by_it) {
  constexpr u64 PAGES = 32;
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  touch_all(at, PAGES * PAGE_SIZE);
  std::atomic<bool> stop{false};
  std::jthread storing([&] {
    CpuSession other(system, 1, space);
    for (u64 n = 0; !stop; n = (n + 1) % (PAGES - 1)) // but for the last one
      ASSERT_TRUE(other->fetch_add<u64>(at + n * PAGE_SIZE + 8, 1).ok());
  });
  std::jthread moving([&] {
    while (!stop) {
      const vaddr_t pages[] = {at, at + 5 * PAGE_SIZE, at + (PAGES - 1) * PAGE_SIZE};
      (void)space.move_pages(pages);
      (void)system.reclaim().shrink(1);
      const auto child = space.fork();
    }
  });
  for (int n = 0; n < 200; ++n) {
    ASSERT_TRUE(space.mark_idle(at, PAGES));
    (void)idle(at, PAGES);
  }
  stop = true;
  storing.join();
  moving.join();
  for (u64 n = 0; n < PAGES; ++n)
    EXPECT_EQ(*cpu->load<u64>(at + n * PAGE_SIZE), at + n * PAGE_SIZE);
}

} // namespace
} // namespace racewalk::test
