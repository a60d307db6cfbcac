#include "cli/ranks/office.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/ranks/descriptors.h"
#include "cli/ranks/errand.h"

namespace racewalk::cli {

using explore::packet;
using std::chrono::steady_clock;

namespace {

constexpr int TURN_MS = 1; // letters do not wake poll()
constexpr std::chrono::seconds BEAT{1};
constexpr std::chrono::seconds SILENCE{60}; // after which a rank on another machine is given up

} // namespace

// ---- who is there ----------------------------------------------------------------------------------------

std::string office::host() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

office::watched::watched(const std::string& where, pid_t pid)
    : descriptor_(where == host() ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1), watched_(true) {
  heard();
  asked_ = last_;
}

office::watched::~watched() {
  if (descriptor_ >= 0) close(descriptor_);
}

office::watched::watched(watched&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), watched_(std::exchange(other.watched_, false)),
      last_(other.last_), asked_(other.asked_) {}

office::watched& office::watched::operator=(watched&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(watched_, other.watched_);
  last_ = other.last_;
  asked_ = other.asked_;
  return *this;
}

bool office::watched::gone() {
  if (!watched_) return false;
  pollfd ended{descriptor_, POLLIN, 0};
  if (descriptor_ >= 0) return poll(&ended, 1, 0) > 0;
  const auto now = steady_clock::now();
  const auto since_asked = now - std::exchange(asked_, now);
  if (since_asked > 5 * BEAT) last_ += since_asked; // it was this process that stood still
  return now - last_ > SILENCE;
}

// ---- letters ---------------------------------------------------------------------------------------------

office::office(transport& ranks, nursery& children, const std::vector<job>& jobs)
    : ranks_(ranks), children_(children), jobs_(jobs) {}

office::~office() {
  for (auto& [id, c] : alive_) {
    if (c.socket >= 0) close(c.socket);
    nursery::release(c.shared);
  }
  for (auto& [key, s] : sessions_)
    if (s.socket >= 0) close(s.socket);
}

packet office::packet_of(mail kind) { return packet({static_cast<std::byte>(kind)}); }

void office::post(unsigned to, const packet& p) {
  if (to == rank())
    to_self_.push_back(p);
  else
    ranks_.send(to, p.bytes());
}

void office::receive(unsigned from, packet p) {
  const auto kind = p.get<mail>();
  if (from == 0) first_.heard();
  switch (kind) {
  case mail::welcome: {
    const std::string where = p.get_text();
    first_ = watched(where, p.get<pid_t>());
    return;
  }
  case mail::check:
    start_check(p.get<std::size_t>());
    return;
  case mail::share: {
    const auto job = p.get<std::size_t>();
    const auto id = p.get<std::uint64_t>();
    share(job, id, p.get<unsigned>());
    return;
  }
  case mail::call: {
    const auto job = p.get<std::size_t>();
    help(job, p.get<std::uint64_t>(), from);
    return;
  }
  case mail::bytes:
  case mail::closed: {
    const auto id = p.get<std::uint64_t>();
    const session_key key{id, p.get<side>()};
    const auto at = sessions_.find(key);
    if (at == sessions_.end()) return; // it ended in the meantime
    if (kind == mail::closed) {
      at->second.closing = true;
    } else {
      const std::vector<std::byte> bytes = p.get_all<std::byte>();
      at->second.out.insert(at->second.out.end(), bytes.begin(), bytes.end());
    }
    write_session(key);
    return;
  }
  case mail::stop:
    stopping_ = true;
    for (auto& [id, c] : alive_)
      c.shared->stop = true;
    return;
  case mail::lost:
    lose(p.get<unsigned>());
    return;
  case mail::quit:
    over_ = true;
    all_alive_ = p.get<bool>();
    return;
  default:
    receive_as_first(from, kind, std::move(p));
  }
}

/// Nothing comes from this rank any more.
void office::lose(unsigned gone) {
  all_alive_ = false;
  std::vector<session_key> broken;
  for (const auto& [key, s] : sessions_)
    if (s.peer == gone) broken.push_back(key);
  for (const session_key& key : broken)
    close_session(key, false);
}

// ---- children --------------------------------------------------------------------------------------------

void office::start_check(std::size_t job) {
  const errand what{next_id_++, job, false};
  const nursery::child born = children_.start(what);
  born.shared->stop = stopping_;
  alive_[what.id] = {what, born.socket, born.shared, {}, 0};
}

/// A helper for a search of this rank.
void office::share(std::size_t job, std::uint64_t id, unsigned with) {
  const auto owner = std::find_if(alive_.begin(), alive_.end(), [&](const auto& entry) {
    return entry.second.what.job == job && !entry.second.what.assists && entry.second.socket >= 0;
  });
  int ends[2];
  if (owner == alive_.end() || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    packet p = packet_of(mail::freed);
    p.put(with);
    post(0, p);
    return;
  }
  (void)send_with_descriptors(owner->second.socket, &with, sizeof with, std::array{ends[1]});
  close(ends[1]); // if the search is over, so is the session
  session& s = sessions_[{id, side::search}];
  s.peer = with;
  s.socket = ends[0];
  packet p = packet_of(mail::call);
  p.put(job);
  p.put(id);
  post(with, p);
}

/// A search of another rank wants help.
void office::help(std::size_t job, std::uint64_t id, unsigned with) {
  const errand what{next_id_++, job, true};
  const nursery::child born = children_.start(what);
  born.shared->stop = stopping_;
  alive_[what.id] = {what, -1, born.shared, {}, 0};
  session& s = sessions_[{id, side::helper}];
  s.peer = with;
  s.socket = born.socket;
}

/// Takes in what the child has said; false if there is nothing more now.
bool office::read_child(child& c) {
  std::array<std::byte, 1 << 16> chunk;
  const ssize_t n = recv(c.socket, chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (n < 0 && errno == EINTR) return true;
  if (n < 0 && errno == EAGAIN) return false;
  auto hang_up = [&c] {
    close(c.socket);
    c.socket = -1;
    return false;
  };
  if (n <= 0) return hang_up();
  c.in.insert(c.in.end(), chunk.begin(), chunk.begin() + n);
  while (std::optional<saying> said = next_saying(c.in)) {
    packet p = packet_of(said->what == word::hungry ? mail::hungry : mail::done);
    p.put(c.what.job);
    if (said->what == word::result) {
      p.put(true);
      p.put_raw(said->more.bytes());
    }
    post(0, p);
    if (said->what == word::result) return hang_up();
  }
  return true;
}

/// A child has ended.
void office::finish(std::uint64_t id, const std::string& accident) {
  const auto at = alive_.find(id);
  if (at == alive_.end()) return;
  child& c = at->second;
  if (!c.what.assists) {
    while (c.socket >= 0 && read_child(c)) { // what it said last
    }
    if (c.socket >= 0) close(c.socket);
    packet p = packet_of(mail::done); // rank 0 takes no notice of it if there is a result
    p.put(c.what.job);
    p.put(false);
    p.put_text(accident);
    post(0, p);
  }
  packet freed = packet_of(mail::freed);
  freed.put(rank());
  post(0, freed);
  nursery::release(c.shared);
  alive_.erase(at);
}

// ---- sessions --------------------------------------------------------------------------------------------

void office::read_session(const session_key& key) {
  session& s = sessions_[key];
  std::vector<std::byte> chunk(1 << 16);
  const ssize_t n = recv(s.socket, chunk.data(), chunk.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    close_session(key, true);
    return;
  }
  packet p = packet_of(mail::bytes);
  p.put(key.first);
  p.put(key.second == side::search ? side::helper : side::search);
  p.put_all(std::span<const std::byte>(chunk.data(), static_cast<std::size_t>(n)));
  post(s.peer, p);
}

/// Hands on what the socket takes. That the process at this end has ended is no reason to close: what it said
/// last may still have to be read, and read_session() comes to its end.
void office::write_session(const session_key& key) {
  session& s = sessions_[key];
  while (!s.out.empty()) {
    std::array<std::byte, 1 << 14> chunk;
    const std::size_t n = std::min(chunk.size(), s.out.size());
    std::copy_n(s.out.begin(), n, chunk.begin());
    const ssize_t sent = send(s.socket, chunk.data(), n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (sent < 0)
      s.out.clear();
    else
      s.out.erase(s.out.begin(), s.out.begin() + sent);
  }
  if (s.closing) close_session(key, false);
}

void office::close_session(const session_key& key, bool tell) {
  const auto at = sessions_.find(key);
  if (at == sessions_.end()) return;
  close(at->second.socket);
  if (tell) {
    packet p = packet_of(mail::closed);
    p.put(key.first);
    p.put(key.second == side::search ? side::helper : side::search);
    post(at->second.peer, p);
  }
  sessions_.erase(at);
}

// ---- one turn --------------------------------------------------------------------------------------------

void office::tell_progress() {
  for (auto& [id, c] : alive_) {
    const std::uint64_t executions = c.shared->executions;
    if (c.what.assists || executions == c.told) continue;
    c.told = executions;
    packet p = packet_of(mail::progress);
    p.put(c.what.job);
    p.put(executions);
    p.put(c.shared->depth.load());
    post(0, p);
  }
}

void office::beat() {
  const auto now = steady_clock::now();
  if (now - last_beat_ < BEAT) return;
  last_beat_ = now;
  tell_progress();
  for (unsigned to = 0; to < ranks(); to++)
    if (to != rank() && (to == 0 || rank() == 0)) post(to, packet_of(mail::beat));
  if (!first_.gone()) return;
  over_ = true;
  all_alive_ = false;
}

void office::turn() {
  std::vector<pollfd> fds{{children_.socket(), POLLIN, 0}};
  std::vector<std::uint64_t> of_child;
  std::vector<session_key> of_session;
  for (auto& [id, c] : alive_)
    if (c.socket >= 0) {
      fds.push_back({c.socket, POLLIN, 0});
      of_child.push_back(id);
    }
  for (auto& [key, s] : sessions_) {
    fds.push_back({s.socket, static_cast<short>(s.out.empty() ? POLLIN : POLLIN | POLLOUT), 0});
    of_session.push_back(key);
  }
  if (poll(fds.data(), fds.size(), to_self_.empty() ? TURN_MS : 0) > 0) {
    std::size_t i = 1;
    for (const std::uint64_t id : of_child)
      if (fds[i++].revents) read_child(alive_[id]);
    for (const session_key& key : of_session) {
      const short what = fds[i++].revents;
      if (what & POLLOUT) write_session(key);
      if (what & ~POLLOUT && sessions_.contains(key)) read_session(key);
    }
    if (fds[0].revents)
      for (const nursery::end& e : children_.ended())
        finish(e.id, e.accident);
  }
  while (!to_self_.empty()) {
    packet p = std::move(to_self_.front());
    to_self_.pop_front();
    receive(rank(), std::move(p));
  }
  while (std::optional<letter> l = ranks_.receive())
    receive(l->from, packet(std::move(l->bytes)));
  beat();
}

} // namespace racewalk::cli
