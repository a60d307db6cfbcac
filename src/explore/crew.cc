#include "explore/crew.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <new>

namespace racewalk::explore {

namespace {

enum class message : u8 {
  subtree,
  idle,
  report,
  quit,
  layout, ///< a helper's first word
  state,  ///< and the answer to it
  count,  ///< what a helper would write on the blackboard
  news,   ///< what it would read there
};
constexpr int TICK_MS = 50;
constexpr std::chrono::milliseconds EXCHANGE{10};

bool send_all(int socket, const void* data, std::size_t n) {
  const auto* p = static_cast<const char*>(data);
  while (n > 0) {
    const ssize_t sent = send(socket, p, n, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    p += sent;
    n -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool receive_all(int socket, void* data, std::size_t n) {
  auto* p = static_cast<char*>(data);
  while (n > 0) {
    const ssize_t got = recv(socket, p, n, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    p += got;
    n -= static_cast<std::size_t>(got);
  }
  return true;
}

bool send_message(int socket, message kind, const packet& body = {}) {
  const u64 size = body.bytes().size();
  return send_all(socket, &kind, sizeof kind) && send_all(socket, &size, sizeof size) &&
         send_all(socket, body.bytes().data(), size);
}

struct received {
  message kind;
  packet body;
};

std::optional<received> receive_message(int socket) {
  message kind{};
  u64 size = 0;
  if (!receive_all(socket, &kind, sizeof kind) || !receive_all(socket, &size, sizeof size))
    return std::nullopt;
  std::vector<std::byte> bytes(size);
  if (!receive_all(socket, bytes.data(), size)) return std::nullopt;
  return received{kind, packet(std::move(bytes))};
}

} // namespace

namespace {

void write(blackboard::count& to, u64 executions, u64 blocked, unsigned depth) {
  to.executions.store(executions, std::memory_order_relaxed);
  to.blocked.store(blocked, std::memory_order_relaxed);
  to.depth.store(depth, std::memory_order_relaxed);
}

packet packet_of(const blackboard::count& c) {
  packet p;
  p.put(c.executions.load(std::memory_order_relaxed));
  p.put(c.blocked.load(std::memory_order_relaxed));
  p.put(c.depth.load(std::memory_order_relaxed));
  return p;
}

void read_count(packet& from, blackboard::count& to) {
  const auto executions = from.get<u64>();
  const auto blocked = from.get<u64>();
  write(to, executions, blocked, from.get<unsigned>());
}

void read_news(packet& from, blackboard& to, blackboard::count& others) {
  to.wanted = from.get<int>();
  if (from.get<bool>()) to.stop = true;
  if (from.get<bool>()) to.failed = true;
  read_count(from, others);
}

} // namespace

// ---- a worker --------------------------------------------------------------------------------------------

void worker_link::note(u64 executions, u64 blocked, unsigned depth) {
  write(board_.counts[id_], executions, blocked, depth);
  if (remote_) exchange_news();
}

/// A helper's blackboard is not the broker's: tells what it has counted, takes in what has come.
void worker_link::exchange_news() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_exchange_ < EXCHANGE) return;
  last_exchange_ = now;
  if (!send_message(socket_, message::count, packet_of(board_.counts[HELPER]))) _exit(1);
  for (pollfd ready{socket_, POLLIN, 0}; poll(&ready, 1, 0) > 0;) {
    std::optional<received> m = receive_message(socket_);
    if (!m) _exit(1); // the broker is gone
    if (m->kind == message::news) read_news(m->body, board_, board_.counts[OTHERS]);
  }
}

std::optional<packet> worker_link::introduce(u64 layout) {
  packet p;
  p.put(layout);
  if (!send_message(socket_, message::layout, p)) return std::nullopt;
  std::optional<received> answer = receive_message(socket_);
  if (!answer || answer->kind != message::state) return std::nullopt;
  return std::move(answer->body);
}

u64 worker_link::total() const {
  u64 sum = 0;
  for (const blackboard::count& c : board_.counts)
    sum += c.executions.load(std::memory_order_relaxed) + c.blocked.load(std::memory_order_relaxed);
  return sum;
}

bool worker_link::asked_to_give() {
  int wanted = board_.wanted.load(std::memory_order_relaxed);
  while (wanted > 0)
    if (board_.wanted.compare_exchange_weak(wanted, wanted - 1, std::memory_order_relaxed)) return true;
  return false;
}

void worker_link::give(const packet& subtree) {
  if (!send_message(socket_, message::subtree, subtree)) _exit(1); // the broker is gone
}

std::optional<packet> worker_link::ask() {
  if (!send_message(socket_, message::idle)) _exit(1);
  for (;;) {
    std::optional<received> answer = receive_message(socket_);
    if (!answer) _exit(1);
    if (answer->kind == message::subtree) return std::move(answer->body);
    if (answer->kind == message::quit) return std::nullopt;
    read_news(answer->body, board_, board_.counts[OTHERS]);
  }
}

void worker_link::leave(const packet& report) {
  const bool sent = send_message(socket_, message::report, report);
  _exit(sent ? 0 : 1);
}

// ---- the broker ------------------------------------------------------------------------------------------

crew::crew(worker_main main) : main_(std::move(main)) {
  void* page = mmap(nullptr, sizeof(blackboard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw std::bad_alloc();
  board_ = new (page) blackboard;
}

crew::~crew() {
  for (worker& w : workers_) {
    if (w.pid > 0 && !w.left) kill(w.pid, SIGKILL);
    if (w.socket >= 0) close(w.socket);
    if (w.pid > 0) waitpid(w.pid, nullptr, 0);
  }
  munmap(board_, sizeof(blackboard));
}

bool crew::hire() {
  if (workers_.size() == blackboard::MAX_WORKERS) return false;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return false;
  const pid_t pid = fork();
  if (pid < 0) {
    close(ends[0]);
    close(ends[1]);
    return false;
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // nobody would read what it finds
    close(ends[0]);
    for (const worker& w : workers_) // so that a worker notices when the broker is gone
      if (w.socket >= 0) close(w.socket);
    worker_link link(*board_, static_cast<unsigned>(workers_.size()), ends[1]);
    try {
      main_(link);
    } catch (...) { // out of memory: said by the exit status
    }
    _exit(1);
  }
  close(ends[1]);
  worker& hired = workers_.emplace_back();
  hired.pid = pid;
  hired.socket = ends[0];
  reports_.emplace_back();
  return true;
}

void crew::admit(helper who, u64 layout, const packet& state) {
  if (workers_.size() == blackboard::MAX_WORKERS) {
    close(who.socket);
    return;
  }
  worker& w = workers_.emplace_back();
  w.socket = who.socket;
  w.remote = true;
  w.introduced = false;
  w.name = std::move(who.name);
  w.layout = layout;
  w.state = state;
  reports_.emplace_back();
}

void crew::dismiss(worker& w) {
  w.left = true;
  close(w.socket);
  w.socket = -1;
}

void crew::introduce(unsigned w, u64 layout) {
  worker& who = workers_[w];
  if (layout != who.layout) {
    dismiss(who); // addresses mean something else there: it is of no help
    return;
  }
  who.introduced = send_message(who.socket, message::state, who.state);
  if (!who.introduced) lost(w);
}

/// The worker died: what it had is lost, so the others need not go on.
void crew::lost(unsigned w) {
  worker& gone = workers_[w];
  int status = 0;
  if (gone.pid > 0) waitpid(gone.pid, &status, 0);
  gone.pid = -1;
  dismiss(gone);
  if (!gone.introduced) return; // it had nothing yet
  board_->stop = true;
  if (!accident_.empty()) return;
  if (gone.remote)
    accident_ = "a worker on " + gone.name + " ended early";
  else
    accident_ = WIFSIGNALED(status) ? "a worker was killed by signal " + std::to_string(WTERMSIG(status))
                                    : std::string("a worker ended early");
}

void crew::receive(unsigned w) {
  std::optional<received> m = receive_message(workers_[w].socket);
  if (!m) {
    lost(w);
    return;
  }
  switch (m->kind) {
  case message::subtree:
    queue_.push_back(std::move(m->body));
    break;
  case message::idle:
    workers_[w].idle = true;
    break;
  case message::report:
    reports_[w] = std::move(m->body);
    workers_[w].left = true;
    break;
  case message::layout:
    introduce(w, m->body.get<u64>());
    break;
  case message::count:
    read_count(m->body, board_->counts[w]);
    break;
  case message::quit:
  case message::state:
  case message::news:
    break; // only the broker says so
  }
}

/// There is no more work for those that have none.
void crew::send_off() {
  for (worker& w : workers_) {
    if (w.left) continue;
    if (!w.introduced) {
      dismiss(w);
    } else if (w.idle) {
      w.idle = false;
      (void)send_message(w.socket, message::quit); // who is gone already is noticed by receive()
    }
  }
  board_->wanted = 0;
}

/// What the helpers' blackboards should have.
void crew::tell_news() {
  u64 executions = 0;
  u64 blocked = 0;
  for (const blackboard::count& c : board_->counts) {
    executions += c.executions;
    blocked += c.blocked;
  }
  for (unsigned i = 0; i < workers_.size(); i++) {
    const worker& w = workers_[i];
    if (!w.remote || w.left || !w.introduced) continue;
    blackboard::count others;
    write(others, executions - board_->counts[i].executions, blocked - board_->counts[i].blocked, 0);
    packet p;
    p.put(board_->wanted.load());
    p.put(board_->stop.load());
    p.put(board_->failed.load());
    const packet sums = packet_of(others);
    p.put_raw(sums.bytes());
    (void)send_message(w.socket, message::news, p);
  }
}

/// Gives the idle ones work; says how much is wanted beyond it.
void crew::dispatch() {
  int idle = 0;
  bool all_idle = true;
  for (unsigned w = 0; w < workers_.size(); w++) {
    worker& to = workers_[w];
    if (to.left || !to.introduced) continue;
    if (to.idle && !queue_.empty() && !board_->stop) {
      to.idle = false;
      if (send_message(to.socket, message::subtree, queue_.front()))
        queue_.pop_front();
      else
        lost(w);
    }
    idle += to.idle;
    all_idle &= to.idle;
  }
  if (all_idle || board_->stop) {
    send_off();
    return;
  }
  const int spare = static_cast<int>(workers_.size()); // subtrees kept in hand
  const int wanted = std::max(0, idle + spare - static_cast<int>(queue_.size()));
  const bool news = (wanted > 0) != (board_->wanted > 0);
  board_->wanted = wanted;
  if (news) tell_news();
}

void crew::run(const std::function<void()>& tick) {
  auto next_tick = std::chrono::steady_clock::now();
  for (;;) {
    dispatch();
    std::vector<pollfd> fds;
    std::vector<unsigned> of;
    for (unsigned w = 0; w < workers_.size(); w++)
      if (!workers_[w].left) {
        fds.push_back({workers_[w].socket, POLLIN, 0});
        of.push_back(w);
      }
    if (fds.empty()) return;
    const int ready = poll(fds.data(), fds.size(), TICK_MS);
    if (const auto now = std::chrono::steady_clock::now(); ready <= 0 || now >= next_tick) {
      tick();
      tell_news();
      next_tick = now + std::chrono::milliseconds(TICK_MS);
    }
    for (std::size_t i = 0; i < fds.size(); i++)
      if (fds[i].revents) receive(of[i]);
  }
}

} // namespace racewalk::explore
