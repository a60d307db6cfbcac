#include "cli/ranks/errand.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/job_runner.h"
#include "cli/ranks/descriptors.h"
#include "cli/wire.h"

namespace racewalk::cli {
namespace {

/// The helpers that have come, after it has been said that some are wanted.
class helpers_wanted {
 public:
  explicit helpers_wanted(int socket) : socket_(socket) {}
  std::vector<assistant> come();

 private:
  int socket_;
  bool said_ = false;
};

std::vector<assistant> helpers_wanted::come() {
  if (!said_) said_ = say(socket_, word::hungry);
  std::vector<assistant> all;
  for (;;) {
    unsigned rank = 0;
    std::array<int, 1> way{-1};
    const ssize_t got = receive_with_descriptors(socket_, &rank, sizeof rank, way, MSG_DONTWAIT);
    if (got != static_cast<ssize_t>(sizeof rank) || way[0] < 0) return all;
    all.push_back({way[0], fmt::format("rank {}", rank)});
  }
}

} // namespace

bool say(int socket, word what, const explore::packet& more) {
  explore::packet whole;
  whole.put(what);
  whole.put(std::uint64_t{more.bytes().size()});
  whole.put_raw(more.bytes());
  const auto* at = reinterpret_cast<const char*>(whole.bytes().data());
  for (std::size_t left = whole.bytes().size(); left > 0;) {
    const ssize_t sent = send(socket, at, left, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    at += sent;
    left -= static_cast<std::size_t>(sent);
  }
  return true;
}

std::optional<saying> next_saying(std::vector<std::byte>& bytes) {
  constexpr std::size_t HEADER = sizeof(word) + sizeof(std::uint64_t);
  if (bytes.size() < HEADER) return std::nullopt;
  saying s;
  std::uint64_t size = 0;
  std::memcpy(&s.what, bytes.data(), sizeof s.what);
  std::memcpy(&size, bytes.data() + sizeof s.what, sizeof size);
  if (bytes.size() - HEADER < size) return std::nullopt;
  const auto body = bytes.begin() + HEADER;
  const auto end = body + static_cast<std::ptrdiff_t>(size);
  s.more = explore::packet({body, end});
  bytes.erase(bytes.begin(), end);
  return s;
}

void run_errand(const std::vector<job>& jobs, const errand& what, int socket, desk& shared) {
  const job& j = jobs[what.job];
  check_request request = j.request;
  helpers_wanted helpers(socket);
  if (what.assists)
    request.assist_over = socket;
  else
    request.assistants = [&helpers] { return helpers.come(); };
  const progress_fn note = [&shared](const progress& p) {
    shared.executions = p.executions;
    shared.blocked = p.blocked;
    shared.depth = p.depth;
  };
  const report::result r = decide_job(j, request, note, shared.stop);
  if (what.assists) return;
  explore::packet answer;
  put(answer, r);
  if (!say(socket, word::result, answer)) _exit(1);
}

} // namespace racewalk::cli
