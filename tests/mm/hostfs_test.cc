// Mappings of the host's files.
#include "mm/hostfs.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <optional>
#include <thread>

#include "full_disk.h"
#include "host_file.h"
#include "mm/filemap.h"
#include "mm/page_lock.h"
#include "mm/page_writeback.h"
#include "mm/vmscan.h"

namespace racewalk::test {
namespace {

using Hostfs = HostFile;

constexpr std::byte ONE{1};

// ---- content
// ---------------------------------------------------------------------------------------------

TEST_F(Hostfs, a_mapping_has_what_the_file_has) {
  put(PAGE_SIZE + 100, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 4);
  EXPECT_EQ(read(at + PAGE_SIZE + 99), 1);
  EXPECT_EQ(read(at + PAGE_SIZE + 100), 0) << "the rest of the last page";
  EXPECT_EQ(fault_of(at + 2 * PAGE_SIZE), fault_result::sigbus);
  EXPECT_EQ(f.size(), PAGE_SIZE + 100);
  EXPECT_EQ(read(at), 1);
  EXPECT_EQ(get_mm_counter(mm, MM_FILEPAGES), 2);
}

TEST_F(Hostfs, stores_are_on_the_host_after_msync) {
  put(3 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 3);
  for (int version = 2; version < 5; ++version) {
    write(at, version);
    write(at + 2 * PAGE_SIZE, version);
    ASSERT_TRUE(space.msync(at, PAGE_SIZE));
    EXPECT_EQ(on_host(0), version);
    EXPECT_EQ(on_host(2 * PAGE_SIZE), version - 1) << "not in the range";
    ASSERT_TRUE(f.datasync());
    EXPECT_EQ(on_host(2 * PAGE_SIZE), version);
  }
}

TEST_F(Hostfs, stores_to_a_private_mapping_are_not) {
  put(PAGE_SIZE, ONE);
  File f = open(O_RDONLY);
  const vaddr_t at = map_file(f, 1, Sharing::private_copy);
  write(at, 2);
  ASSERT_TRUE(space.msync(at, PAGE_SIZE));
  EXPECT_EQ(on_host(0), 1);
}

TEST_F(Hostfs, the_last_to_use_a_file_leaves_it_written) {
  put(2 * PAGE_SIZE, ONE);
  const u64 before = used_frames();
  {
    File f = open();
    const vaddr_t at = map_file(f, 2);
    write(at, 2);
    f = File::in_memory(system, 0).value(); // closed; still mapped
    write(at + PAGE_SIZE, 3);
    EXPECT_EQ(on_host(PAGE_SIZE), 1);
    ASSERT_TRUE(space.munmap(at, 2 * PAGE_SIZE));
  }
  EXPECT_EQ(on_host(0), 2);
  EXPECT_EQ(on_host(PAGE_SIZE), 3);
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Hostfs, nothing_is_written_beyond_the_end) {
  put(PAGE_SIZE + 10, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 2);
  write(at + PAGE_SIZE + 9, 2);
  write(at + PAGE_SIZE + 10, 3); // where there is memory, and no file
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host().size(), PAGE_SIZE + 10);
  EXPECT_EQ(on_host(PAGE_SIZE + 9), 2);
  ASSERT_TRUE(f.resize(PAGE_SIZE + 20));
  EXPECT_EQ(read(at + PAGE_SIZE + 10), 0) << "never part of the file";
}

TEST_F(Hostfs, every_opening_has_the_same_pages) {
  put(PAGE_SIZE, ONE);
  std::filesystem::create_hard_link(path, directory + "/link");
  File reader = open(O_RDONLY);
  File writer = File::open(system, directory + "/link", O_RDWR).value();
  EXPECT_EQ(reader.opening().f_inode, writer.opening().f_inode);
  const vaddr_t here = map_file(writer, 1);
  const vaddr_t there = space.mmap(reader, 0, PAGE_SIZE, Sharing::shared, Access::read).value();
  write(here, 2);
  EXPECT_EQ(read(there), 2);
  ASSERT_TRUE(reader.sync()) << "by whatever descriptor";
  EXPECT_EQ(on_host(0), 2);
}

TEST_F(Hostfs, calls_and_mappings_see_one_content) {
  File f = open();
  std::array<std::byte, 3 * PAGE_SIZE> buffer{};
  buffer.fill(ONE);
  EXPECT_EQ(*f.write(PAGE_SIZE - 7, buffer), buffer.size());
  EXPECT_EQ(f.size(), 4 * PAGE_SIZE - 7);
  EXPECT_EQ(std::filesystem::file_size(path), 4 * PAGE_SIZE - 7);
  const vaddr_t at = map_file(f, 4);
  EXPECT_EQ(read(at), 0);
  EXPECT_EQ(read(at + PAGE_SIZE - 7), 1);
  EXPECT_EQ(read(at + 4 * PAGE_SIZE - 8), 1);
  write(at + PAGE_SIZE, 5);
  EXPECT_EQ(*f.read(PAGE_SIZE - 1, buffer), 3 * PAGE_SIZE - 6) << "up to the end";
  EXPECT_EQ(buffer[0], ONE);
  EXPECT_EQ(buffer[1], std::byte{5});
  EXPECT_EQ(*f.read(1 << 20, buffer), 0U);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(PAGE_SIZE), 5);
  EXPECT_EQ(on_host(4 * PAGE_SIZE - 8), 1);
}

TEST_F(Hostfs, a_write_far_beyond_the_end_leaves_a_hole) {
  File f = open();
  const u64 far = u64{1} << 40;
  const std::array<std::byte, 1> byte{ONE};
  EXPECT_EQ(*f.write(far, byte), 1U);
  EXPECT_EQ(f.size(), far + 1);
  const vaddr_t at = space.mmap(f, far - PAGE_SIZE, 2 * PAGE_SIZE).value();
  EXPECT_EQ(read(at), 0);
  EXPECT_EQ(read(at + PAGE_SIZE), 1);
  write(at + 5, 6);
  ASSERT_TRUE(f.sync());
  ASSERT_TRUE(f.resize(PAGE_SIZE));
  EXPECT_EQ(fault_of(at), fault_result::sigbus);
  EXPECT_EQ(on_host(), std::vector<std::byte>(PAGE_SIZE));
}

// ---- size and holes
// --------------------------------------------------------------------------------------

TEST_F(Hostfs, truncation_cuts_the_hosts_file) {
  put(4 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 4);
  for (u64 i = 0; i < 4; ++i)
    write(at + i * PAGE_SIZE, 2);
  ASSERT_TRUE(f.resize(PAGE_SIZE + 10));
  EXPECT_EQ(std::filesystem::file_size(path), PAGE_SIZE + 10);
  EXPECT_EQ(fault_of(at + 2 * PAGE_SIZE), fault_result::sigbus);
  ASSERT_TRUE(f.resize(3 * PAGE_SIZE));
  EXPECT_EQ(read(at + PAGE_SIZE), 2);
  EXPECT_EQ(read(at + PAGE_SIZE + 9), 1);
  EXPECT_EQ(read(at + PAGE_SIZE + 10), 0);
  EXPECT_EQ(read(at + 2 * PAGE_SIZE), 0);
  EXPECT_EQ(f.resize(~u64{0}).error(), std::errc::invalid_argument);
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(PAGE_SIZE + 10), 0);
  EXPECT_EQ(on_host(PAGE_SIZE), 2);
}

TEST_F(Hostfs, a_hole_is_one_on_the_host) {
  put(6 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 6);
  write(at + 2 * PAGE_SIZE, 2); // dirty, to be forgotten
  ASSERT_TRUE(f.punch_hole(PAGE_SIZE + 100, 3 * PAGE_SIZE));
  EXPECT_EQ(read(at + PAGE_SIZE + 99), 1);
  EXPECT_EQ(read(at + PAGE_SIZE + 100), 0);
  EXPECT_EQ(read(at + 2 * PAGE_SIZE), 0);
  EXPECT_EQ(read(at + 3 * PAGE_SIZE), 0) << "which was not in memory";
  EXPECT_EQ(read(at + 4 * PAGE_SIZE + 99), 0);
  EXPECT_EQ(read(at + 4 * PAGE_SIZE + 100), 1);
  ASSERT_TRUE(f.sync());
  const std::vector<std::byte> now = on_host();
  for (u64 i = 0; i < now.size(); ++i)
    ASSERT_EQ(now[i] == ONE, i < PAGE_SIZE + 100 || i >= 4 * PAGE_SIZE + 100) << i;
  EXPECT_EQ(f.punch_hole(0, 0).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.punch_hole(u64{1} << 62, u64{1} << 62).error(), std::errc::file_too_large);
}

TEST_F(Hostfs, another_program_cuts_the_file) {
  put(4 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 4);
  ASSERT_TRUE(space.madvise(at, 4 * PAGE_SIZE, MADV_RANDOM)); // else all of it is here before
  EXPECT_EQ(read(at), 1);
  ASSERT_EQ(::truncate(path.c_str(), PAGE_SIZE), 0);
  EXPECT_EQ(fault_of(at + 2 * PAGE_SIZE), fault_result::sigbus);
  EXPECT_EQ(cpu->store<u8>(at + 2 * PAGE_SIZE, 1).error(), fault_result::sigbus);
  EXPECT_EQ(f.size(), PAGE_SIZE);
  EXPECT_EQ(read(at), 1);
  put(2 * PAGE_SIZE, std::byte{7});
  EXPECT_EQ(f.size(), 2 * PAGE_SIZE);
  EXPECT_EQ(read(at + PAGE_SIZE), 7);
}

TEST_F(Hostfs, another_program_makes_the_file_longer) {
  put(PAGE_SIZE + 10, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 4);
  EXPECT_EQ(read(at + PAGE_SIZE + 10), 0);
  write(at + PAGE_SIZE, 2);
  const int fd = ::open(path.c_str(), O_RDWR | O_APPEND);
  const std::vector<std::byte> more(PAGE_SIZE, std::byte{3});
  EXPECT_EQ(::write(fd, more.data(), more.size()), static_cast<ssize_t>(more.size()));
  ::close(fd);
  EXPECT_EQ(f.size(), 2 * PAGE_SIZE + 10);
  EXPECT_EQ(read(at + PAGE_SIZE), 2);
  EXPECT_EQ(read(at + PAGE_SIZE + 10), 3);
  EXPECT_EQ(read(at + 2 * PAGE_SIZE + 9), 3);
}

// ---- pins
// ------------------------------------------------------------------------------------------------

TEST_F(Hostfs, what_a_device_stores_is_written_again) {
  put(PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 1);
  {
    PinnedPages pinned = space.pin(at, 1).value();
    pinned[0][0] = std::byte{2};
    ASSERT_TRUE(f.sync());
    EXPECT_EQ(on_host(0), 2);
    pinned[0][0] = std::byte{3};
  }
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(0), 3);
}

TEST_F(Hostfs, a_pin_keeps_a_file_that_nobody_has_open) {
  put(PAGE_SIZE, ONE);
  std::optional<File> f = open();
  const vaddr_t at = map_file(*f, 1);
  std::optional<PinnedPages> pinned = space.pin(at, 1).value();
  f.reset();
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  (*pinned)[0][0] = std::byte{2};
  pinned.reset();
  EXPECT_EQ(on_host(0), 1);
  open(O_RDONLY); // and closes it
  EXPECT_EQ(on_host(0), 2);
}

// ---- errors
// ----------------------------------------------------------------------------------------------

TEST_F(Hostfs, what_cannot_be_written_stays_and_each_is_told_once) {
  put(4 * PAGE_SIZE, ONE);
  File f = open();
  File another = open();
  const vaddr_t at = map_file(f, 4);
  write(at, 2);
  write(at + 3 * PAGE_SIZE, 2);
  {
    const full_disk full(PAGE_SIZE);
    EXPECT_EQ(f.sync().error(), std::errc::file_too_large);
    EXPECT_EQ(space.msync(at + 3 * PAGE_SIZE, PAGE_SIZE).error(), std::errc::file_too_large) << "tried again";
    EXPECT_EQ(on_host(0), 2) << "the others are written";
    EXPECT_EQ(read(at + 3 * PAGE_SIZE), 2);
  }
  ASSERT_TRUE(f.sync());
  EXPECT_EQ(on_host(3 * PAGE_SIZE), 2);
  EXPECT_EQ(another.sync().error(), std::errc::file_too_large) << "it had not been told";
  ASSERT_TRUE(another.sync());
  ASSERT_TRUE(open().sync()) << "who comes later is not told";
}

TEST_F(Hostfs, what_signals_end_early_is_done_again) {
  put(8 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 8);
  for (const int error : {EINTR, EAGAIN, ECANCELED}) {
    system.fail_io().error = error;
    system.fail_io().fail_every(1);
    for (u64 n = 0; n < 8; n += 2) {
      EXPECT_EQ(read(at + n * PAGE_SIZE), 1);
      write(at + n * PAGE_SIZE + 1, error);
    }
    EXPECT_TRUE(f.sync());
    system.fail_io().fail_every(0);
    for (u64 n = 0; n < 8; n += 2)
      EXPECT_EQ(on_host(n * PAGE_SIZE + 1), error);
    ASSERT_TRUE(space.madvise(at, 8 * PAGE_SIZE, MADV_PAGEOUT)); // to be read again
  }
}

TEST_F(Hostfs, a_file_that_cannot_grow_stays_as_it_is) {
  put(PAGE_SIZE, ONE);
  File f = open();
  const std::array<std::byte, 10> bytes{};
  {
    const full_disk full(PAGE_SIZE);
    EXPECT_EQ(f.write(2 * PAGE_SIZE, bytes).error(), std::errc::file_too_large);
    EXPECT_EQ(f.resize(2 * PAGE_SIZE).error(), std::errc::file_too_large);
  }
  EXPECT_EQ(f.size(), PAGE_SIZE);
  EXPECT_EQ(f.write(~u64{0}, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(on_host(), std::vector<std::byte>(PAGE_SIZE, ONE));
}

TEST_F(Hostfs, what_is_no_file_is_refused) {
  const auto error_of = [this](const std::string& name, int flags) {
    return File::open(system, name, flags).error();
  };
  EXPECT_EQ(error_of(directory, O_RDONLY), std::errc::is_a_directory);
  EXPECT_EQ(error_of(directory, O_RDWR), std::errc::is_a_directory);
  EXPECT_EQ(error_of("/dev/null", O_RDWR), std::errc::no_such_device);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(error_of(path, O_RDONLY), std::errc::no_such_device);
  EXPECT_EQ(error_of(path, O_RDWR), std::errc::no_such_device);
  EXPECT_EQ(error_of(directory + "/none", O_RDWR), std::errc::no_such_file_or_directory);
  EXPECT_EQ(error_of("", O_RDWR), std::errc::no_such_file_or_directory);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string name = directory + "/socket";
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(error_of(name, O_RDWR), std::errc::no_such_device_or_address);
  ::close(socket);
}

TEST_F(Hostfs, flags_are_those_of_open) {
  put(PAGE_SIZE, ONE);
  const auto error_of = [this](int flags) { return File::open(system, path, flags).error(); };
  EXPECT_EQ(error_of(O_WRONLY), std::errc::permission_denied);
  EXPECT_EQ(error_of(O_ACCMODE), std::errc::invalid_argument);
  EXPECT_EQ(error_of(O_RDWR | O_APPEND), std::errc::invalid_argument);
  EXPECT_EQ(error_of(O_RDONLY | O_TRUNC), std::errc::invalid_argument);
  EXPECT_EQ(error_of(O_RDWR | O_CREAT | O_EXCL), std::errc::file_exists);
  File before = open();
  const vaddr_t at = map_file(before, 1);
  EXPECT_EQ(read(at), 1);
  open(O_RDWR | O_TRUNC);
  EXPECT_EQ(fault_of(at), fault_result::sigbus);
  EXPECT_EQ(std::filesystem::file_size(path), 0U);
}

TEST_F(Hostfs, what_is_open_for_reading_is_not_changed) {
  put(PAGE_SIZE, ONE);
  File f = open(O_RDONLY);
  EXPECT_EQ(space.mmap(f, 0, PAGE_SIZE).error(), std::errc::permission_denied);
  const std::array<std::byte, 1> byte{};
  EXPECT_EQ(f.write(0, byte).error(), std::errc::bad_file_descriptor);
  EXPECT_EQ(f.resize(0).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.punch_hole(0, PAGE_SIZE).error(), std::errc::bad_file_descriptor);
  EXPECT_EQ(on_host(), std::vector<std::byte>(PAGE_SIZE, ONE));
}

TEST_F(Hostfs, msync_says_what_linux_says) {
  put(4 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 4);
  const auto error_of = [&](vaddr_t start, u64 bytes, int flags) {
    return space.msync(start, bytes, flags).error();
  };
  EXPECT_EQ(error_of(at + 1, PAGE_SIZE, MS_SYNC), std::errc::invalid_argument);
  EXPECT_EQ(error_of(at, PAGE_SIZE, MS_SYNC | MS_ASYNC), std::errc::invalid_argument);
  EXPECT_EQ(error_of(at, PAGE_SIZE, 64), std::errc::invalid_argument);
  EXPECT_EQ(error_of(at, ~u64{0}, MS_SYNC), std::errc::not_enough_memory);
  EXPECT_EQ(error_of(at, ~u64{0} & PAGE_MASK, MS_ASYNC), std::errc::not_enough_memory);
  ASSERT_TRUE(space.msync(at, 0));
  ASSERT_TRUE(space.msync(at, 4 * PAGE_SIZE, MS_ASYNC));
  ASSERT_TRUE(space.msync(at, 4 * PAGE_SIZE, MS_SYNC | MS_INVALIDATE));
  write(at, 2);
  write(at + 3 * PAGE_SIZE, 3);
  ASSERT_TRUE(space.munmap(at + PAGE_SIZE, PAGE_SIZE));
  EXPECT_EQ(error_of(at, 4 * PAGE_SIZE, MS_SYNC), std::errc::not_enough_memory);
  EXPECT_EQ(on_host(0), 2);
  EXPECT_EQ(on_host(3 * PAGE_SIZE), 3) << "what lies behind the hole, too";
  const vaddr_t anonymous = map(PAGE_SIZE);
  write(anonymous, 1);
  ASSERT_TRUE(space.msync(anonymous, PAGE_SIZE));
}

TEST_F(Hostfs, positions_that_cannot_be_are_refused) {
  put(PAGE_SIZE, ONE);
  File f = open();
  std::array<std::byte, 16> bytes{};
  constexpr u64 beyond = u64{1} << 63;
  EXPECT_EQ(f.read(beyond, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.read(beyond - 16, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.read(beyond - 17, bytes).value(), 0U) << "far behind its end";
  EXPECT_EQ(f.write(beyond, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.write(beyond - 16, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.write(beyond - 17, bytes).error(), std::errc::file_too_large) << "says the host";
  EXPECT_EQ(space.mmap(f, beyond, PAGE_SIZE).error(), std::errc::value_too_large);
  EXPECT_EQ(space.mmap(f, beyond - PAGE_SIZE, PAGE_SIZE).error(), std::errc::value_too_large);
  EXPECT_EQ(space.mmap(f, 1, PAGE_SIZE).error(), std::errc::invalid_argument);
  EXPECT_EQ(f.size(), PAGE_SIZE);
}

TEST_F(Hostfs, a_page_under_writeback_stays_as_it_is_where_that_is_asked_for) {
  put(PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 1);
  for (const bool stable : {false, true}) {
    f.set_stable_writes(stable);
    write(at, 2);
    folio* folio = filemap_get_folio(f.opening().mapping(), 0);
    ASSERT_EQ(folio_begin_writeback(folio), writeback_decision::unpinned);
    std::atomic<bool> stored{false};
    std::jthread other([&] {
      CpuSession writer(system, 1, space);
      ASSERT_TRUE(writer->store<u8>(at, 3).ok());
      stored = true;
    });
    if (stable) {
      while (folio_trylock(folio)) { // until it has come to the folio's lock
        folio_unlock(folio);
        std::this_thread::yield();
      }
      for (int n = 0; n < 1000; ++n) // a chance to go on
        std::this_thread::yield();
    } else {
      while (!stored)
        std::this_thread::yield();
    }
    EXPECT_EQ(std::to_integer<int>(*static_cast<std::byte*>(page_address(&folio->page))), stable ? 2 : 3);
    folio_end_writeback(folio);
    other.join();
    EXPECT_EQ(read(at), 3);
    folio_put(folio);
  }
}

TEST_F(Hostfs, out_of_memory_loses_nothing) {
  put(2 * PAGE_SIZE, ONE);
  const std::array<std::byte, 2> bytes{std::byte{4}, std::byte{5}};
  for (fault_attr* attr : {&system.fail_page_alloc(), &system.failslab()}) {
    fail_each_allocation(*attr, [&] {
      const auto f = File::open(system, path, O_RDWR);
      if (!f) {
        EXPECT_EQ(f.error(), std::errc::not_enough_memory);
        return true;
      }
      return false;
    });
    File f = open();
    fail_each_allocation(*attr, [&] {
      const auto n = f.write(PAGE_SIZE - 1, bytes);
      EXPECT_TRUE(n ? *n <= 2 : n.error() == std::errc::not_enough_memory);
      return !n || *n < 2;
    });
    const vaddr_t at = map_file(f, 2);
    fail_each_allocation(*attr, [&] { return !can_write(at); });
    EXPECT_EQ(read(at + PAGE_SIZE - 1), 4);
    EXPECT_EQ(read(at + PAGE_SIZE), 5);
    ASSERT_TRUE(space.munmap(at, 2 * PAGE_SIZE));
  }
  EXPECT_EQ(on_host(PAGE_SIZE - 1), 4);
  EXPECT_EQ(on_host(2 * PAGE_SIZE - 1), 1);
}

TEST_F(Hostfs, pages_can_be_taken_back_and_dirty_ones_are_written_first) {
  put(2 * PAGE_SIZE, ONE);
  File f = open();
  const vaddr_t at = map_file(f, 2);
  write(at, 2);
  EXPECT_EQ(read(at + PAGE_SIZE), 1);
  ASSERT_EQ(vm_madvise(mm, at, 2 * PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(cached(f), 0U);
  EXPECT_EQ(on_host(0), 2);
  EXPECT_EQ(read(at), 2);
  EXPECT_EQ(read(at + PAGE_SIZE), 1); // which is there by now, and mapped from here on
  ASSERT_EQ(vm_madvise(mm, at, 2 * PAGE_SIZE, MADV_PAGEOUT), 0);
  EXPECT_EQ(cached(f), 0U);
  EXPECT_EQ(read(at), 2);
}

TEST_F(Hostfs, calls_by_memory_files_go_through_the_same_pages) {
  File f = File::in_memory(system, 0).value();
  std::array<std::byte, 2 * PAGE_SIZE> bytes{};
  bytes.fill(ONE);
  EXPECT_EQ(*f.write(100, bytes), bytes.size());
  EXPECT_EQ(f.size(), 100 + bytes.size());
  const vaddr_t at = map_file(f, 3);
  EXPECT_EQ(read(at + 99), 0);
  EXPECT_EQ(read(at + 100), 1);
  write(at + PAGE_SIZE, 2);
  EXPECT_EQ(*f.read(PAGE_SIZE, bytes), PAGE_SIZE + 100);
  EXPECT_EQ(bytes[0], std::byte{2});
  ASSERT_TRUE(f.sync());
}

} // namespace
} // namespace racewalk::test
