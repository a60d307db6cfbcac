// Room on the disk: a store finds it before it is made, so that what could be stored can be written back.
#include <sys/mount.h>

#include "host_file.h"
#include "mm/hostfs.h"

namespace racewalk::test {
namespace {

using DiskSpace = HostFile;

TEST_F(DiskSpace, a_store_to_a_hole_without_room_is_a_fault) {
  File f = open();
  ASSERT_TRUE(f.resize(4 * PAGE_SIZE));
  const vaddr_t at = map_file(f, 4);
  write(at, 1);
  EXPECT_EQ(read(at + PAGE_SIZE), 0);
  system.fail_reserve().fail_every(1);
  EXPECT_EQ(cpu->store<u8>(at + PAGE_SIZE, 1).error(), fault_result::sigbus) << "a page that is mapped";
  EXPECT_EQ(cpu->store<u8>(at + 2 * PAGE_SIZE, 1).error(), fault_result::sigbus) << "and one that is not";
  EXPECT_EQ(read(at + PAGE_SIZE), 0);
  ASSERT_TRUE(f.sync());
  write(at, 2); // has its room already
  system.fail_reserve().fail_every(0);
  write(at + PAGE_SIZE, 3);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(0), 2);
  EXPECT_EQ(on_host(PAGE_SIZE), 3);
}

TEST_F(DiskSpace, a_file_without_holes_asks_for_none) {
  put(2 * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 2);
  system.fail_reserve().fail_every(1);
  write(at, 2);
  EXPECT_EQ(f.write(PAGE_SIZE, std::vector<std::byte>(10)).value(), 10U);
  EXPECT_EQ(system.fail_reserve().failed(), 0U);
  ASSERT_TRUE(f.punch_hole(0, PAGE_SIZE));
  EXPECT_EQ(cpu->store<u8>(at, 1).error(), fault_result::sigbus);
  write(at + PAGE_SIZE, 2);
}

TEST_F(DiskSpace, what_a_truncation_cuts_off_has_to_be_found_again) {
  put(PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 1);
  write(at, 2);
  ASSERT_TRUE(f.sync());
  ASSERT_TRUE(f.resize(100));
  ASSERT_TRUE(f.sync());
  ASSERT_TRUE(f.resize(PAGE_SIZE));
  system.fail_reserve().fail_every(1);
  EXPECT_EQ(cpu->store<u8>(at + 2000, 1).error(), fault_result::sigbus);
}

TEST_F(DiskSpace, a_write_says_how_far_there_is_room) {
  File f = open();
  const std::vector<std::byte> two(2 * PAGE_SIZE, std::byte{1});
  system.fail_reserve().fail_every(1);
  EXPECT_EQ(f.write(0, two).error(), std::errc::no_space_on_device);
  EXPECT_EQ(f.size(), 0U);
  system.fail_reserve().fail_every(0);
  // the whole, then each page: the second of the pages finds none
  system.fail_reserve().fail_nth(1);
  EXPECT_EQ(f.write(0, two).value(), 2 * PAGE_SIZE);
  EXPECT_EQ(f.size(), 2 * PAGE_SIZE);
}

/// A small disk of its own, where this process may make one.
class SmallDisk : public HostFile {
 protected:
  static constexpr u64 ROOM = 16; // pages
  void SetUp() override {
    const std::string size = "size=" + std::to_string(ROOM * PAGE_SIZE);
    mounted_ = ::mount("none", directory.c_str(), "tmpfs", 0, size.c_str()) == 0;
    if (!mounted_) GTEST_SKIP() << "mounting a file system takes rights that this process has not";
  }
  void TearDown() override {
    if (mounted_) {
      EXPECT_EQ(::umount2(directory.c_str(), MNT_DETACH), 0);
    }
  }

 private:
  bool mounted_ = false;
};

TEST_F(SmallDisk, what_could_be_stored_is_written) {
  constexpr u64 PAGES = 4 * ROOM;
  File f = open();
  ASSERT_TRUE(f.resize(PAGES * PAGE_SIZE));
  const vaddr_t at = map_file(f, PAGES);
  u64 stored = 0;
  while (stored < PAGES && cpu->store<u8>(at + stored * PAGE_SIZE, u8(stored + 1)).ok())
    ++stored;
  EXPECT_GT(stored, 0U);
  EXPECT_LE(stored, ROOM);
  ASSERT_TRUE(f.sync());
  const std::vector<std::byte> host = on_host();
  for (u64 page = 0; page < stored; ++page)
    EXPECT_EQ(std::to_integer<u64>(host[page * PAGE_SIZE]), page + 1);
  // a hole gives it back
  ASSERT_TRUE(f.punch_hole(0, PAGE_SIZE));
  write(at + stored * PAGE_SIZE, 1);
  ASSERT_TRUE(f.sync());
}

TEST_F(SmallDisk, a_write_ends_where_the_disk_does) {
  File f = open();
  const std::vector<std::byte> much(4 * ROOM * PAGE_SIZE, std::byte{5});
  const std::size_t done = f.write(0, much).value();
  EXPECT_GT(done, 0U);
  EXPECT_LE(done, ROOM * PAGE_SIZE);
  EXPECT_EQ(f.size(), done);
  EXPECT_EQ(f.write(done, much).error(), std::errc::no_space_on_device);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(), std::vector<std::byte>(done, std::byte{5}));
}

} // namespace
} // namespace racewalk::test
