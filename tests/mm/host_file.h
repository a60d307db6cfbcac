// A file of the host in a directory that goes with the test.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cli/temporary_directory.h"
#include "world.h"

namespace racewalk::test {

class HostFile : public World {
 protected:
  /// What the host has, past this library.
  void put(std::size_t bytes, std::byte value) { put(std::vector<std::byte>(bytes, value)); }
  void put(const std::vector<std::byte>& content) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    EXPECT_EQ(::pwrite(fd, content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    ::close(fd);
  }
  std::vector<std::byte> on_host() {
    std::vector<std::byte> content(std::filesystem::file_size(path));
    const int fd = ::open(path.c_str(), O_RDONLY);
    EXPECT_EQ(::pread(fd, content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
    ::close(fd);
    return content;
  }
  int on_host(u64 at) {
    const std::vector<std::byte> content = on_host();
    return at < content.size() ? std::to_integer<int>(content[at]) : -1;
  }

  File open(int flags = O_RDWR | O_CREAT) { return File::open(system, path, flags).value(); }
  vaddr_t map_file(const File& f, u64 pages, Sharing sharing = Sharing::shared) {
    return space.mmap(f, 0, pages * PAGE_SIZE, sharing).value();
  }
  int read(vaddr_t at) { return cpu->load<u8>(at).value(); }
  fault_result fault_of(vaddr_t at) { return cpu->load<u8>(at).error(); }
  void write(vaddr_t at, int value) { ASSERT_TRUE(cpu->store<u8>(at, static_cast<u8>(value)).ok()); }
  static u64 cached(const File& f) { return static_cast<u64>(atomic_read(f.opening().mapping().nrpages)); }

  const temporary_directory own_;
  std::string directory = own_.path();
  std::string path = directory + "/file";
};

} // namespace racewalk::test
