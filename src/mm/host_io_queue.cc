#include "mm/host_io_queue.h"

#include <liburing.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <new>
#include <thread>
#include <utility>

#include "machine/machine.h"

namespace racewalk::inline RACEWALK_BACKEND {

io_fault_attr::io_fault_attr(int with) : error(with) {}

namespace {

/// Its next step.
void prepare_transfer(io_uring_sqe* sqe, io_dir dir, const host_io& io) {
  const auto nr = static_cast<unsigned>(io.vectors.size());
  if (dir == io_dir::read)
    io_uring_prep_readv(sqe, io.fd, io.vectors.data(), nr, io.offset);
  else
    io_uring_prep_writev(sqe, io.fd, io.vectors.data(), nr, io.offset);
}

} // namespace

// ---- transfers that somebody waits for -------------------------------------------------------------------

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
    prepare_transfer(sqe, dir, io);
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

// ---- transfers that nobody waits for ---------------------------------------------------------------------

class host_io_queue::background_ring {
 public:
  static constexpr unsigned DEPTH = 64;

  background_ring() : error_(io_uring_queue_init(DEPTH, &ring_, 0)) {}
  ~background_ring() {
    if (thread_.joinable()) {
      drain();
      submit(nullptr);
      thread_.join();
    }
    if (error_ == 0) io_uring_queue_exit(&ring_);
  }
  background_ring(const background_ring&) = delete;
  background_ring& operator=(const background_ring&) = delete;

  /// False: there is no ring. Throws std::system_error if there is no thread.
  bool start(Machine& machine) {
    if (error_ == 0) thread_ = std::thread([this, &machine] { reap(machine); });
    return error_ == 0;
  }

  /// Null ends the thread. False: it is full.
  bool submit(async_io* a) {
    std::lock_guard guard(lock_);
    if (in_flight_ == DEPTH) return false;
    ++in_flight_;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_); // there is one: fewer than DEPTH are in flight
    if (a == nullptr)
      io_uring_prep_nop(sqe);
    else
      prepare_transfer(sqe, a->dir, a->io);
    io_uring_sqe_set_data(sqe, a);
    while (io_uring_submit(&ring_) < 0)
      std::this_thread::yield(); // the host is short of memory for a while
    return true;
  }

  void drain() {
    std::unique_lock guard(lock_);
    idle_.wait(guard, [this] { return in_flight_ == 0; });
  }

 private:
  /// The thread: ends each transfer, in the name of the machine that it belongs to.
  void reap(Machine& machine) {
    const machine_scope scope(machine);
    for (;;) {
      io_uring_cqe* cqe;
      if (io_uring_wait_cqe(&ring_, &cqe) != 0) continue; // a signal
      auto* a = static_cast<async_io*>(io_uring_cqe_get_data(cqe));
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (a == nullptr) return;
      { std::lock_guard guard(lock_); } // what submit() has written comes before what is done now
      a->io.result = result;
      transfer(a->dir, a->io); // what is left of it
      a->done(*a);
      std::lock_guard guard(lock_);
      if (--in_flight_ == 0) idle_.notify_all();
    }
  }

  io_uring ring_{};
  const int error_;
  std::mutex lock_; ///< one submits at a time
  std::condition_variable idle_;
  unsigned in_flight_ = 0; ///< under lock_
  std::thread thread_;
};

host_io_queue::background_ring* host_io_queue::background() {
  std::lock_guard guard(lock_);
  if (std::exchange(background_tried_, true) || no_rings_) return background_.get();
  try {
    auto made = std::make_unique<background_ring>();
    if (made->start(machine())) background_ = std::move(made);
  } catch (const std::exception&) { // no memory, no thread: then without
  }
  return background_.get();
}

// ---- the queue -------------------------------------------------------------------------------------------

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

/// A transfer that is about to begin, or fails.
host_io& host_io_queue::count(io_dir dir, host_io& io) {
  ++nr_ios_[static_cast<unsigned>(dir)];
  io.result = fail_io.should_fail() ? -fail_io.error : -EAGAIN;
  return io;
}

void host_io_queue::submit(async_io& a) {
  background_ring* in_background = is_temporary(count(a.dir, a.io).result) ? background() : nullptr;
  if (in_background != nullptr && in_background->submit(&a)) return;
  transfer(a.dir, a.io);
  a.done(a);
}

void host_io_queue::drain() {
  background_ring* in_background = nullptr;
  {
    std::lock_guard guard(lock_);
    in_background = background_.get();
  }
  if (in_background != nullptr) in_background->drain();
}

void host_io_queue::submit_and_wait(io_dir dir, std::span<host_io> ios) {
  for (host_io& io : ios)
    count(dir, io);
  if (std::unique_ptr<ring> r = ios.size() > 1 ? take_ring() : nullptr) {
    for (u64 n = 0; n < ios.size(); n += ring::DEPTH)
      r->transfer(dir, ios.subspan(n, std::min<u64>(ios.size() - n, ring::DEPTH)));
    keep_ring(std::move(r));
  }
  for (host_io& io : ios)
    transfer(dir, io);
}

} // namespace racewalk::inline RACEWALK_BACKEND
