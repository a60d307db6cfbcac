#include "bench/out_of_core.h"

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

namespace racewalk::bench {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

int open_or_fail(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) fail("open");
  return fd;
}

} // namespace

// ---- the file --------------------------------------------------------------------------------------------

large_file::large_file() {
  const std::string name = temporary_file_name();
  fd_ = open_or_fail(name, O_RDWR);
  unlink(name.c_str());
  std::vector<std::uint64_t> block(MiB / sizeof(std::uint64_t));
  for (std::size_t at = 0; at < file_bytes; at += MiB) {
    for (std::uint64_t& word : block) // nothing that a disk could leave out
      word = at + static_cast<std::size_t>(&word - block.data());
    if (pwrite(fd_, block.data(), MiB, static_cast<off_t>(at)) != static_cast<ssize_t>(MiB)) fail("pwrite");
  }
  if (fsync(fd_) != 0) fail("fsync");
}

large_file::~large_file() { close(fd_); }

std::string large_file::path() const { return "/proc/self/fd/" + std::to_string(fd_); }

void large_file::drop_caches() const {
  if (fdatasync(fd_) != 0) fail("fdatasync"); // what is dirty would stay
  if (posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED) != 0) fail("posix_fadvise");
}

// ---- the kernel ------------------------------------------------------------------------------------------

std::uint64_t limited_kernel::map(cpu& /*on*/, const large_file& file) {
  const int fd = open_or_fail(file.path(), O_RDWR);
  void* at = mmap(nullptr, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) fail("mmap");
  close(fd);
  return reinterpret_cast<std::uint64_t>(at);
}

void limited_kernel::unmap(cpu& /*on*/, std::uint64_t at) { cpu::unmap(at, file_bytes); }

void limited_kernel::at_random(std::uint64_t at) {
  if (madvise(reinterpret_cast<void*>(at), file_bytes, MADV_RANDOM) != 0) fail("madvise(MADV_RANDOM)");
}

std::uint64_t swapping_kernel::map(cpu& on, const large_file& /*instead_of*/) {
  return fill(on, on.map(file_bytes, backing::small_pages));
}

// ---- direct I/O ------------------------------------------------------------------------------------------

namespace {

/// A scan in transfers with which the disk gives the most it can: larger ones, or more of them, add nothing.
constexpr std::size_t scan_block = 512 * KiB;
constexpr unsigned scan_depth = 8;

class direct_io : public workload {
 public:
  direct_io(unsigned threads, disk_access a, std::shared_ptr<const large_file> file)
      : threads_(threads), access_(a), depth_(a == disk_access::scan     ? scan_depth
                                              : a == disk_access::gather ? threads * gathered_at_once
                                                                         : threads),
        block_(a == disk_access::scan ? scan_block : page_bytes), file_(std::move(file)),
        fd_(open_or_fail(file_->path(), O_RDWR | O_DIRECT)),
        memory_(static_cast<std::byte*>(std::aligned_alloc(page_bytes, depth_ * block_))) {
    if (const int error = io_uring_queue_init(depth_, &ring_, 0)) {
      errno = -error;
      fail("io_uring_queue_init");
    }
  }
  ~direct_io() override {
    io_uring_queue_exit(&ring_);
    close(fd_);
    std::free(memory_);
  }
  direct_io(const direct_io&) = delete;
  direct_io& operator=(const direct_io&) = delete;

  nanoseconds run(std::uint64_t iterations) override {
    const std::uint64_t transfers = iterations * threads_ * page_bytes / block_;
    file_->drop_caches();
    const auto from = bench_clock::now();
    for (unsigned n = 0; n < depth_ && n < transfers; n++)
      prepare(n, n);
    for (std::uint64_t begun = std::min<std::uint64_t>(depth_, transfers), done = 0; done < transfers;) {
      if (io_uring_submit_and_wait(&ring_, 1) < 0) fail("io_uring_submit_and_wait");
      io_uring_cqe* cqe;
      for (; io_uring_peek_cqe(&ring_, &cqe) == 0; done++) {
        if (cqe->res != static_cast<int>(block_))
          throw std::runtime_error("racewalk bench: direct I/O failed");
        const auto buffer = static_cast<unsigned>(cqe->user_data);
        io_uring_cqe_seen(&ring_, cqe);
        if (begun < transfers) prepare(buffer, begun++);
      }
    }
    if (access_ == disk_access::load_store && fdatasync(fd_) != 0) fail("fdatasync");
    return bench_clock::now() - from;
  }

 private:
  void prepare(unsigned buffer, std::uint64_t nth) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    const std::uint64_t random = walk_.next();
    const std::uint64_t at = access_ == disk_access::scan ? nth * block_ % file_bytes
                                                          : random_walk::offset(random) / block_ * block_;
    std::byte* memory = memory_ + buffer * block_;
    const auto bytes = static_cast<unsigned>(block_);
    if (access_ == disk_access::load_store && random_walk::stores(random))
      io_uring_prep_write(sqe, fd_, memory, bytes, at);
    else
      io_uring_prep_read(sqe, fd_, memory, bytes, at);
    sqe->user_data = buffer;
  }

  const unsigned threads_;
  const disk_access access_;
  const unsigned depth_; ///< transfers at a time, each with a buffer
  const std::size_t block_;
  std::shared_ptr<const large_file> file_;
  const int fd_;
  std::byte* const memory_;
  random_walk walk_{0};
  io_uring ring_{};
};

} // namespace

std::unique_ptr<workload> make_direct_io(unsigned threads, disk_access a,
                                         std::shared_ptr<const large_file> file) {
  return std::make_unique<direct_io>(threads, a, std::move(file));
}

} // namespace racewalk::bench
