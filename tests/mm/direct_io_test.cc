// Files past the host's page cache (O_DIRECT).
#include <sys/mman.h>

#include <cstdlib>
#include <utility>

#include "host_file.h"
#include "racewalk/writeback.h"

namespace racewalk::test {
namespace {

constexpr u64 PAGES = 64;

class DirectIo : public HostFile {
 protected:
  /// Whether the host has a page of the file in its page cache.
  bool host_caches(u64 page) {
    const int fd = ::open(path.c_str(), O_RDONLY);
    void* at = ::mmap(nullptr, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(page * PAGE_SIZE));
    unsigned char resident = 0;
    EXPECT_EQ(::mincore(at, PAGE_SIZE, &resident), 0);
    ::munmap(at, PAGE_SIZE);
    ::close(fd);
    return (resident & 1) != 0;
  }
  /// Makes it have none.
  void drop_caches() {
    const int fd = ::open(path.c_str(), O_RDONLY);
    ASSERT_EQ(::fdatasync(fd), 0);
    ASSERT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    ::close(fd);
  }
  /// Whether the host has O_DIRECT for this file, and tells what is in its page cache.
  bool can_be_direct() {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT);
    if (fd < 0) return false;
    ::close(fd);
    drop_caches();
    return !host_caches(0);
  }
};

TEST_F(DirectIo, what_is_read_is_not_in_the_hosts_page_cache) {
  put(PAGES * PAGE_SIZE, std::byte{3});
  if (!can_be_direct()) GTEST_SKIP() << "the file system of the tests has no O_DIRECT";
  {
    File f = open(O_RDWR | O_DIRECT);
    const vaddr_t at = map_file(f, PAGES);
    for (u64 n = 0; n < PAGES; ++n)
      EXPECT_EQ(read(at + n * PAGE_SIZE), 3);
    for (u64 n = 0; n < PAGES; ++n)
      EXPECT_FALSE(host_caches(n));
    ASSERT_TRUE(space.munmap(at, PAGES * PAGE_SIZE));
  }
  File f = open(O_RDWR);
  EXPECT_EQ(read(map_file(f, PAGES)), 3);
  EXPECT_TRUE(host_caches(0)) << "otherwise it is";
}

TEST_F(DirectIo, what_is_written_is_what_others_read) {
  put(PAGES * PAGE_SIZE, std::byte{3});
  File f = open(O_RDWR | O_DIRECT);
  const vaddr_t at = map_file(f, PAGES);
  EXPECT_EQ(on_host(PAGE_SIZE), 3) << "and the host has it in its page cache";
  for (u64 n = 0; n < PAGES; n += 2)
    write(at + n * PAGE_SIZE, 4);
  ASSERT_TRUE(space.msync(at, PAGES * PAGE_SIZE));
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_EQ(on_host(n * PAGE_SIZE), n % 2 == 0 ? 4 : 3);
}

TEST_F(DirectIo, the_end_of_a_file_need_be_no_whole_page) {
  put(2 * PAGE_SIZE + 100, std::byte{3});
  File f = open(O_RDWR | O_DIRECT);
  const vaddr_t at = map_file(f, 8);
  EXPECT_EQ(read(at + 2 * PAGE_SIZE + 99), 3);
  EXPECT_EQ(read(at + 2 * PAGE_SIZE + 100), 0);
  for (u64 n = 0; n < 3; ++n)
    write(at + n * PAGE_SIZE + 1, 4);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host().size(), 2 * PAGE_SIZE + 100);
  for (u64 n = 0; n < 3; ++n)
    EXPECT_EQ(on_host(n * PAGE_SIZE + 1), 4);

  const std::byte more{5}; // which makes the last page a whole one
  ASSERT_TRUE(f.write(4 * PAGE_SIZE - 1, {&more, 1}));
  write(at + 2 * PAGE_SIZE + 2, 6);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(2 * PAGE_SIZE + 1), 4);
  EXPECT_EQ(on_host(2 * PAGE_SIZE + 2), 6);
  EXPECT_EQ(on_host(2 * PAGE_SIZE + 99), 3);
  EXPECT_EQ(on_host(2 * PAGE_SIZE + 100), 0);
  EXPECT_EQ(on_host(4 * PAGE_SIZE - 1), 5);

  ASSERT_TRUE(f.resize(PAGE_SIZE + 50)); // and back
  write(at + PAGE_SIZE + 3, 7);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host().size(), PAGE_SIZE + 50);
  EXPECT_EQ(on_host(PAGE_SIZE + 3), 7);
}

TEST_F(DirectIo, a_file_that_another_program_has_cut_ends_where_it_ends) {
  put(PAGES * PAGE_SIZE, std::byte{3});
  File f = open(O_RDWR | O_DIRECT);
  const vaddr_t at = map_file(f, PAGES);
  ASSERT_EQ(::truncate(path.c_str(), 10 * PAGE_SIZE + 100), 0);
  EXPECT_EQ(read(at + 10 * PAGE_SIZE + 99), 3);
  EXPECT_EQ(read(at + 10 * PAGE_SIZE + 100), 0);
  EXPECT_EQ(fault_of(at + 11 * PAGE_SIZE), fault_result::sigbus);
}

TEST_F(DirectIo, any_opening_may_ask_for_it) {
  put(PAGES * PAGE_SIZE, std::byte{3});
  if (!can_be_direct()) GTEST_SKIP() << "the file system of the tests has no O_DIRECT";
  File f = open(O_RDONLY);
  File g = open(O_RDONLY | O_DIRECT);
  File h = open(O_RDWR);
  drop_caches();
  const vaddr_t at = map_file(h, PAGES);
  for (u64 n = 0; n < PAGES; ++n)
    write(at + n * PAGE_SIZE, 4);
  for (u64 n = 0; n < PAGES; ++n)
    EXPECT_FALSE(host_caches(n));
  ASSERT_TRUE(h.sync());
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_EQ(on_host(n * PAGE_SIZE), 4);
}

TEST_F(DirectIo, where_the_host_has_none_nothing_changes) {
  std::string name = "/dev/shm/racewalk-XXXXXX"; // a tmpfs, of which old ones refuse it
  const int fd = ::mkstemp(name.data());
  if (fd < 0) GTEST_SKIP() << "there is no /dev/shm";
  ::close(fd);
  std::filesystem::remove_all(std::exchange(path, name));
  {
    put(2 * PAGE_SIZE + 100, std::byte{3});
    File f = open(O_RDWR | O_DIRECT);
    const vaddr_t at = map_file(f, 3);
    EXPECT_EQ(read(at + 2 * PAGE_SIZE + 99), 3);
    write(at + PAGE_SIZE, 4);
    ASSERT_TRUE(f.sync());
    EXPECT_EQ(on_host(PAGE_SIZE), 4);
    ASSERT_TRUE(space.munmap(at, 3 * PAGE_SIZE));
  }
  std::filesystem::remove(name);
}

} // namespace
} // namespace racewalk::test
