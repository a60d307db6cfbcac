#include "mm/host_io.h"

#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace racewalk::inline RACEWALK_BACKEND {

io_fault_attr::io_fault_attr() : error(EIO) {}

// ---- one at a time ---------------------------------------------------------------------------------------

namespace {

/// Leaves out the first `done` bytes.
void advance(host_io& io, u64 done) {
  io.offset += done;
  io.bytes -= done;
  while (done != 0) {
    iovec& first = io.vectors.front();
    const u64 n = std::min<u64>(done, first.iov_len);
    first.iov_base = static_cast<std::byte*>(first.iov_base) + n;
    first.iov_len -= n;
    done -= n;
    if (first.iov_len == 0) io.vectors = io.vectors.subspan(1);
  }
}

/// Programs may store to what is written meanwhile, as they may while a disk reads it: hence the system call
/// itself, not a function of which ThreadSanitizer believes that it reads plainly.
long transfer_once(io_dir dir, const host_io& io) {
  const auto nr = static_cast<int>(io.vectors.size());
  const auto at = static_cast<off_t>(io.offset);
  const long n = dir == io_dir::read ? ::preadv(io.fd, io.vectors.data(), nr, at)
                                     : ::syscall(SYS_pwritev, io.fd, io.vectors.data(), nr, at, 0L);
  return n < 0 ? -errno : n;
}

bool is_temporary(long result) { return result == -EINTR || result == -EAGAIN; }

/// What is left of the transfer after its first step.
void finish(io_dir dir, host_io& io) {
  for (;; io.result = transfer_once(dir, io)) {
    if (is_temporary(io.result)) continue;
    if (io.result == 0 && dir == io_dir::write)
      io.result = -EIO; // a disk that takes nothing and says nothing
    if (io.result < 0) io.error = static_cast<int>(io.result);
    if (io.result <= 0) return;
    io.done += static_cast<u64>(io.result);
    advance(io, static_cast<u64>(io.result));
    if (io.bytes == 0) return;
  }
}

} // namespace

// ---- many at a time --------------------------------------------------------------------------------------

class host_io_queue::ring {
 public:
  static constexpr unsigned DEPTH = 64;

  ring() : error_(io_uring_queue_init(DEPTH, &ring_, 0)) {}
  ~ring() {
    if (error_ == 0) io_uring_queue_exit(&ring_);
  }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  /// 0 or a negative errno: there is no ring.
  [[nodiscard]] int error() const { return error_; }

  /// The first step of those of at most DEPTH transfers that are still to be done.
  void transfer(io_dir dir, std::span<host_io> ios) {
    unsigned left = 0;
    for (host_io& io : ios) {
      if (!is_temporary(io.result)) continue;
      prepare(dir, io);
      ++left;
    }
    while (left != 0) {
      // a call that a signal ends early, or that finds the host short of memory, has handed over what it
      // could; the rest is still in the ring
      (void)io_uring_submit_and_wait(&ring_, 1);
      left -= reap();
    }
  }

 private:
  void prepare(io_dir dir, host_io& io) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_); // there is one: the ring is empty at first
    const auto nr = static_cast<unsigned>(io.vectors.size());
    if (dir == io_dir::read)
      io_uring_prep_readv(sqe, io.fd, io.vectors.data(), nr, io.offset);
    else
      io_uring_prep_writev(sqe, io.fd, io.vectors.data(), nr, io.offset);
    io_uring_sqe_set_data(sqe, &io);
  }

  /// Takes in what is done. How many transfers that were.
  unsigned reap() {
    unsigned done = 0;
    io_uring_cqe* cqe;
    for (; io_uring_peek_cqe(&ring_, &cqe) == 0; ++done) {
      static_cast<host_io*>(io_uring_cqe_get_data(cqe))->result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
    }
    return done;
  }

  friend class host_io_queue;
  io_uring ring_{};
  const int error_;
  std::unique_ptr<ring> next_; ///< while it is idle
};

host_io_queue::host_io_queue() = default;
host_io_queue::~host_io_queue() = default;

/// Null: it is to be done without.
std::unique_ptr<host_io_queue::ring> host_io_queue::take_ring() {
  if (no_rings_) return nullptr;
  {
    std::lock_guard guard(lock_);
    if (idle_ != nullptr) return std::exchange(idle_, std::move(idle_->next_));
  }
  std::unique_ptr<ring> made(new (std::nothrow) ring);
  if (made == nullptr || made->error() == 0) return made;
  // forbidden, or not built into the host's kernel; what else goes wrong may go right the next time
  if (made->error() == -ENOSYS || made->error() == -EPERM) no_rings_ = true;
  return nullptr;
}

void host_io_queue::keep_ring(std::unique_ptr<ring> r) {
  std::lock_guard guard(lock_);
  r->next_ = std::move(idle_);
  idle_ = std::move(r);
}

void host_io_queue::submit_and_wait(io_dir dir, std::span<host_io> ios) {
  nr_ios_[static_cast<unsigned>(dir)] += ios.size();
  for (host_io& io : ios)
    io.result = fail_io.should_fail() ? -fail_io.error : -EAGAIN; // which is: to be done
  if (std::unique_ptr<ring> r = ios.size() > 1 ? take_ring() : nullptr) {
    for (u64 n = 0; n < ios.size(); n += ring::DEPTH)
      r->transfer(dir, ios.subspan(n, std::min<u64>(ios.size() - n, ring::DEPTH)));
    keep_ring(std::move(r));
  }
  for (host_io& io : ios)
    finish(dir, io);
}

} // namespace racewalk::inline RACEWALK_BACKEND
