#include "bench/kernel_side.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace racewalk::bench {
namespace {

constexpr std::size_t huge_page = 2U << 20;
constexpr std::size_t page = 4096;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

/// A huge-page mapping has to begin at a huge page: map more, give the ends back.
void* map_aligned(std::size_t bytes) {
  void* raw = mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return raw;
  const auto from = reinterpret_cast<std::uintptr_t>(raw);
  const std::uintptr_t start = (from + huge_page - 1) & ~(huge_page - 1);
  if (start > from) munmap(raw, start - from);
  if (start < from + huge_page) munmap(reinterpret_cast<void*>(start + bytes), from + huge_page - start);
  return reinterpret_cast<void*>(start);
}

} // namespace

std::string temporary_file_name() {
  const char* dir = std::getenv("TMPDIR");
  std::string name = std::string(dir ? dir : "/tmp") + "/racewalk-bench-XXXXXX";
  const int fd = mkstemp(name.data());
  if (fd < 0) fail("mkstemp");
  close(fd);
  return name;
}

kernel_side::cpu::~cpu() {
  if (file_ >= 0) close(file_);
}

/// An unlinked file, as large as the first mapping of it.
int kernel_side::cpu::file(std::size_t bytes) {
  if (file_ >= 0) return file_;
  const std::string name = temporary_file_name();
  file_ = open(name.c_str(), O_RDWR | O_CLOEXEC);
  if (file_ < 0) fail("open");
  unlink(name.c_str());
  if (ftruncate(file_, static_cast<off_t>(bytes)) != 0) fail("ftruncate");
  return file_;
}

std::uint64_t kernel_side::cpu::map(std::size_t bytes, backing b) {
  constexpr int rights = PROT_READ | PROT_WRITE;
  void* at = MAP_FAILED;
  switch (b) {
  case backing::small_pages:
    at = mmap(nullptr, bytes, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    break;
  case backing::huge_pages:
    at = map_aligned(bytes);
    if (at != MAP_FAILED && madvise(at, bytes, MADV_HUGEPAGE) != 0) fail("madvise(MADV_HUGEPAGE)");
    break;
  case backing::private_file:
    at = mmap(nullptr, bytes, rights, MAP_PRIVATE, file(bytes), 0);
    break;
  case backing::shared_file:
    at = mmap(nullptr, bytes, rights, MAP_SHARED, file(bytes), 0);
    break;
  }
  if (at == MAP_FAILED) fail("mmap");
  return reinterpret_cast<std::uint64_t>(at);
}

void kernel_side::cpu::unmap(std::uint64_t at, std::size_t bytes) {
  if (munmap(reinterpret_cast<void*>(at), bytes) != 0) fail("munmap");
}

void kernel_side::cpu::dont_need(std::uint64_t at, std::size_t bytes) {
  if (madvise(reinterpret_cast<void*>(at), bytes, MADV_DONTNEED) != 0) fail("madvise(MADV_DONTNEED)");
}

void kernel_side::cpu::protect(std::uint64_t at, std::size_t bytes, bool writable) {
  if (mprotect(reinterpret_cast<void*>(at), bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ) != 0)
    fail("mprotect");
}

void kernel_side::cpu::want_huge(std::uint64_t at, std::size_t bytes) {
  if (madvise(reinterpret_cast<void*>(at), bytes, MADV_HUGEPAGE) != 0) fail("madvise(MADV_HUGEPAGE)");
}

void kernel_side::cpu::collapse(std::uint64_t at, std::size_t bytes) {
  if (madvise(reinterpret_cast<void*>(at), bytes, MADV_COLLAPSE) != 0) fail("madvise(MADV_COLLAPSE)");
}

void kernel_side::cpu::sync(std::uint64_t at, std::size_t bytes) {
  if (msync(reinterpret_cast<void*>(at), bytes, MS_SYNC) != 0) fail("msync");
}

void kernel_side::cpu::clear_refs() {
  const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, "1", 1) != 1) fail("/proc/self/clear_refs");
  close(fd);
}

namespace {

constexpr const char* compact_memory = "/proc/sys/vm/compact_memory";

std::uint64_t pages_migrated() {
  std::ifstream vmstat("/proc/vmstat");
  std::string name;
  for (std::uint64_t value = 0; vmstat >> name >> value;)
    if (name == "pgmigrate_success") return value;
  return 0;
}

} // namespace

namespace {

/// Memory in pieces: of each run of pages one is there.
class sparse_range {
 public:
  static constexpr std::size_t bytes = std::size_t{1} << 30;
  static constexpr std::size_t run = 16 * page;

  sparse_range()
      : at_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0)) {
    if (at_ == MAP_FAILED) fail("mmap");
    for (std::size_t offset = 0; offset < bytes; offset += run)
      madvise(static_cast<std::byte*>(at_) + offset + page, run - page, MADV_DONTNEED);
  }
  ~sparse_range() { munmap(at_, bytes); }
  sparse_range(const sparse_range&) = delete;
  sparse_range& operator=(const sparse_range&) = delete;

 private:
  void* at_;
};

/// Tells the kernel to compact its memory: the time that it took, and how many pages it moved.
std::pair<nanoseconds, std::uint64_t> compact() {
  const int fd = open(compact_memory, O_WRONLY | O_CLOEXEC);
  if (fd < 0) fail(compact_memory);
  const std::uint64_t before = pages_migrated();
  const auto from = bench_clock::now();
  const bool done = write(fd, "1", 1) == 1;
  const nanoseconds taken = bench_clock::now() - from;
  close(fd);
  if (!done) fail(compact_memory);
  return {taken, pages_migrated() - before};
}

} // namespace

nanoseconds kernel_side::cpu::move_pages(std::uint64_t /*at*/, std::size_t bytes) {
  constexpr unsigned tries = 4;
  constexpr std::uint64_t enough = 4096; // fewer, and the search is all that is measured
  std::deque<sparse_range> pieces;       // what has been moved is not moved again
  for (unsigned n = 0; n < tries; ++n) {
    pieces.emplace_back();
    const auto [taken, moved] = compact();
    const std::size_t wanted = bytes / page;
    if (moved >= enough) return taken * (static_cast<double>(wanted) / static_cast<double>(moved));
  }
  throw std::runtime_error("the kernel moves too few pages");
}

bool kernel_side::cpu::can_move_pages() {
  try {
    move_pages(0, page);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

kernel_side::child::child(kernel_side& /*side*/) : pid_(fork()) {
  if (pid_ < 0) fail("fork");
  if (pid_ == 0)
    for (;;)
      pause();
}

kernel_side::child::~child() {
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

kernel_side::pinner::pinner(cpu& /*owner*/) : null_(open("/dev/null", O_WRONLY)) {
  if (null_ < 0 || pipe(pipe_) != 0) fail("pipe");
  if (fcntl(pipe_[1], F_SETPIPE_SZ, 256 * page) < 0) fail("fcntl(F_SETPIPE_SZ)");
}

kernel_side::pinner::~pinner() {
  close(pipe_[0]);
  close(pipe_[1]);
  close(null_);
}

void kernel_side::pinner::pin_and_unpin(std::uint64_t at, std::size_t pages) {
  std::size_t left = pages * page;
  while (left > 0) {
    const iovec buffer = {reinterpret_cast<void*>(at), left};
    const ssize_t pinned = vmsplice(pipe_[1], &buffer, 1, 0);
    if (pinned <= 0) fail("vmsplice");
    for (ssize_t drained = 0; drained < pinned;) {
      const ssize_t n =
          splice(pipe_[0], nullptr, null_, nullptr, static_cast<std::size_t>(pinned - drained), 0);
      if (n <= 0) fail("splice");
      drained += n;
    }
    at += static_cast<std::uint64_t>(pinned);
    left -= static_cast<std::size_t>(pinned);
  }
}

kernel_side::userfaults::userfaults(kernel_side& /*side*/, std::uint64_t at, std::size_t bytes)
    : at_(at), bytes_(bytes),
      fd_(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY))) {
  uffdio_api api = {.api = UFFD_API, .features = 0, .ioctls = 0};
  if (fd_ < 0 || ioctl(fd_, UFFDIO_API, &api) != 0) fail("userfaultfd");
  uffdio_register range = {
      .range = {.start = at, .len = bytes}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
  if (ioctl(fd_, UFFDIO_REGISTER, &range) != 0) fail("UFFDIO_REGISTER");
}

kernel_side::userfaults::~userfaults() { close(fd_); }

void kernel_side::userfaults::answer(const std::byte* content) {
  uffd_msg fault;
  if (read(fd_, &fault, sizeof fault) != sizeof fault) fail("read");
  uffdio_copy copy = {.dst = fault.arg.pagefault.address,
                      .src = reinterpret_cast<std::uint64_t>(content),
                      .len = page,
                      .mode = 0,
                      .copy = 0};
  if (ioctl(fd_, UFFDIO_COPY, &copy) != 0) fail("UFFDIO_COPY");
}

void kernel_side::userfaults::drop() { cpu::dont_need(at_, bytes_); }

} // namespace racewalk::bench
