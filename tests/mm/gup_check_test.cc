// Who gives a page back as something else than he has got it as is told so at the call, and where he got it.
// (All tests of World run with the check.)
#include "mm/gup_check.h"

#include <string>

#include "mm/gup.h"
#include "world.h"

namespace racewalk::test {
namespace {

class GupCheck : public World {
 protected:
  GupCheck() {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    touch(at);
  }
  page* pin() {
    page* page = nullptr;
    pinned_at = line(__LINE__ + 1);
    EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE, &page), 1);
    return page;
  }
  page* get() {
    page* page = nullptr;
    got_at = line(__LINE__ + 1);
    EXPECT_EQ(get_user_pages_fast(mm, at, 1, FOLL_NONE, &page), 1);
    return page;
  }
  static std::string line(int n) { return "gup_check_test.cc:" + std::to_string(n); }

  const vaddr_t at = map(PAGE_SIZE);
  std::string pinned_at;
  std::string got_at;
};

TEST_F(GupCheck, A_pin_is_not_put) {
  page* page = pin();
  const std::string here = line(__LINE__ + 1);
  EXPECT_DEATH(put_page(page),
               "INV-PIN.*put_page.. at .*" + here + " .*pinned, by the call at .*" + pinned_at);
  unpin_user_page(page);
}

TEST_F(GupCheck, A_reference_is_not_unpinned) {
  page* page = get();
  const std::string here = line(__LINE__ + 1);
  EXPECT_DEATH(unpin_user_page(page),
               "INV-PIN.*unpin_user_page.. at .*" + here + " .*the call at .*" + got_at);
  const std::string there = line(__LINE__ + 1);
  EXPECT_DEATH(unpin_user_pages(&page, 1), "INV-PIN.*" + there + " .*" + got_at);
  const std::string dirty = line(__LINE__ + 1);
  EXPECT_DEATH(unpin_user_pages_dirty_lock(&page, 1), "INV-PIN.*" + dirty + " .*" + got_at);
  put_page(page);
}

TEST_F(GupCheck, What_is_given_back_is_not_given_back_again) {
  page* page = pin();
  unpin_user_page(page);
  EXPECT_DEATH(unpin_user_page(page), "INV-PIN.*nobody has pinned");
}

TEST_F(GupCheck, Of_two_holders_the_last_finds_nothing_left) {
  page* page = pin();
  (void)get();
  put_page(page); // wrong, and nobody can tell: there is a reference
  EXPECT_DEATH(put_page(page), "INV-PIN.*pinned, by the call at .*" + pinned_at);
  unpin_user_page(page);
}

TEST_F(GupCheck, Each_page_is_held_by_itself) {
  const vaddr_t huge = huge_page();
  page* pages[3];
  ASSERT_EQ(pin_user_pages_fast(mm, huge, 3, FOLL_WRITE, pages), 3);
  EXPECT_DEATH(put_page(pages[2]), "INV-PIN");
  unpin_user_pages(pages, 3);
}

TEST_F(GupCheck, What_the_manager_gives_back_is_its_own) {
  page* page = pin();
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE)); // the entry's reference goes, the pin stays
  unpin_user_page(page);
}

TEST(GupCheckOfASystem, Is_off_unless_it_is_asked_for) {
  System system(u64{16} << 20, 1);
  AddressSpace space(system);
  CpuSession cpu(system, 0, space);
  EXPECT_FALSE(gup_checked());
}

} // namespace
} // namespace racewalk::test
