#include "cli/ranks/nursery.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>
#include <new>
#include <system_error>

#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/ranks/descriptors.h"

namespace racewalk::cli {
namespace {

constexpr int REAP_MS = 10;

/// How a child ended, as the nursery tells it.
struct obituary {
  std::uint64_t id = 0;
  int status = 0;
};

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

desk* map_desk(int descriptor) {
  void* const at = mmap(nullptr, sizeof(desk), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  return at == MAP_FAILED ? nullptr : static_cast<desk*>(at);
}

/// Ends with its parent: nobody would hear of what it does.
void end_with(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
}

std::string accident_of(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("its process was killed by signal {} ({})", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
  return fmt::format("its process ended by exit({})", WEXITSTATUS(status));
}

/// The process that all children are forked from. It allocates nothing that depends on what it was asked.
class mother {
 public:
  mother(int socket, const nursery::life& main) : socket_(socket), main_(main) {}
  [[noreturn]] void live();

 private:
  void bear(const errand& what, int socket, int memory);
  void reap();

  struct entry {
    pid_t pid;
    std::uint64_t id;
  };
  static constexpr std::size_t MAX_CHILDREN = 1024;
  int socket_;
  const nursery::life& main_;
  std::array<entry, MAX_CHILDREN> children_{};
  std::size_t n_children_ = 0;
};

void mother::bear(const errand& what, int socket, int memory) {
  const pid_t self = getpid();
  const pid_t pid = n_children_ < MAX_CHILDREN ? fork() : -1;
  if (pid == 0) {
    end_with(self);
    close(socket_);
    desk* const shared = map_desk(memory);
    close(memory);
    if (!shared) _exit(1);
    try {
      main_(what, socket, *shared);
    } catch (...) { // out of memory: said by the exit status
      _exit(1);
    }
    _exit(0);
  }
  close(socket);
  close(memory);
  if (pid > 0) {
    children_[n_children_++] = {pid, what.id};
    return;
  }
  const obituary stillborn{what.id, 1 << 8};
  (void)send(socket_, &stillborn, sizeof stillborn, MSG_NOSIGNAL);
}

void mother::reap() {
  for (;;) {
    obituary gone;
    const pid_t pid = waitpid(-1, &gone.status, WNOHANG);
    if (pid <= 0) return;
    for (std::size_t i = 0; i < n_children_; i++) {
      if (children_[i].pid != pid) continue;
      gone.id = children_[i].id;
      children_[i] = children_[--n_children_];
      (void)send(socket_, &gone, sizeof gone, MSG_NOSIGNAL);
      break;
    }
  }
}

void mother::live() {
  for (;;) {
    pollfd ready{socket_, POLLIN, 0};
    const int n = poll(&ready, 1, n_children_ > 0 ? REAP_MS : -1);
    reap();
    if (n <= 0) continue;
    errand what;
    std::array<int, 2> descriptors{-1, -1};
    const ssize_t got = receive_with_descriptors(socket_, &what, sizeof what, descriptors);
    if (got < 0 && errno == EINTR) continue;
    if (got != static_cast<ssize_t>(sizeof what)) _exit(0); // the rank is gone
    bear(what, descriptors[0], descriptors[1]);
  }
}

} // namespace

nursery::nursery(life main) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
  const pid_t self = getpid();
  pid_ = fork();
  if (pid_ == 0) {
    end_with(self);
    close(ends[0]);
    mother(ends[1], main).live();
  }
  close(ends[1]);
  socket_ = ends[0];
  if (pid_ < 0) {
    close(ends[0]);
    fail("fork");
  }
}

nursery::~nursery() {
  close(socket_);
  kill(pid_, SIGKILL); // and with it the children
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

nursery::child nursery::start(const errand& what) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
  const int memory = memfd_create("racewalk", MFD_CLOEXEC);
  if (memory < 0 || ftruncate(memory, sizeof(desk)) != 0) fail("memfd_create");
  desk* const shared = map_desk(memory);
  if (!shared) throw std::bad_alloc();
  new (shared) desk;
  const bool sent = send_with_descriptors(socket_, &what, sizeof what, std::array{ends[1], memory});
  close(ends[1]);
  close(memory);
  if (!sent) fail("the nursery");
  return {ends[0], shared};
}

void nursery::release(desk* shared) { munmap(shared, sizeof(desk)); }

std::vector<nursery::end> nursery::ended() {
  std::vector<end> all;
  obituary gone;
  while (recv(socket_, &gone, sizeof gone, MSG_DONTWAIT) == static_cast<ssize_t>(sizeof gone))
    all.push_back({gone.id, accident_of(gone.status)});
  return all;
}

} // namespace racewalk::cli
