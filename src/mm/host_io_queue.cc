#include "mm/host_io_queue.h"

#include <liburing.h>

#include <algorithm>
#include <new>
#include <utility>

namespace racewalk::inline RACEWALK_BACKEND {

io_fault_attr::io_fault_attr(int with) : error(with) {}

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
    io.result = fail_io.should_fail() ? -fail_io.error : -EAGAIN;
  if (std::unique_ptr<ring> r = ios.size() > 1 ? take_ring() : nullptr) {
    for (u64 n = 0; n < ios.size(); n += ring::DEPTH)
      r->transfer(dir, ios.subspan(n, std::min<u64>(ios.size() - n, ring::DEPTH)));
    keep_ring(std::move(r));
  }
  for (host_io& io : ios)
    transfer(dir, io);
}

} // namespace racewalk::inline RACEWALK_BACKEND
