#include "cli/decider/child.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "explore/guard.h"

namespace racewalk::cli {
namespace {

using std::chrono::steady_clock;

constexpr int TICK_MS = 50;
constexpr std::chrono::seconds GRACE{2}; // for a child that was told to stop

/// A dashboard in memory that both processes have.
class shared_dashboard {
 public:
  shared_dashboard() {
    void* at = mmap(nullptr, sizeof(dashboard), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    board_ = new (at) dashboard;
  }
  ~shared_dashboard() { munmap(board_, sizeof *board_); }
  shared_dashboard(const shared_dashboard&) = delete;
  shared_dashboard& operator=(const shared_dashboard&) = delete;

  dashboard& operator*() const { return *board_; }

 private:
  dashboard* board_;
};

dashboard* board_of_this_child = nullptr;

void note_last_words(const char* line) {
  std::strncpy(board_of_this_child->last_words, line, sizeof board_of_this_child->last_words - 1);
}

/// stdout is for results, and nobody is there to be asked anything.
void redirect_standard_files() {
  dup2(STDERR_FILENO, STDOUT_FILENO);
  if (const int nothing = open("/dev/null", O_RDONLY); nothing >= 0) dup2(nothing, STDIN_FILENO);
}

bool write_all(int to, const std::vector<std::byte>& bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t n = write(to, bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

[[noreturn]] void live_as_child(int answers, dashboard& board,
                                const std::function<explore::packet(dashboard&)>& compute) {
  prctl(PR_SET_PDEATHSIG, SIGKILL); // nobody would read the answer
  redirect_standard_files();
  board_of_this_child = &board;
  explore::guard_process(&note_last_words);
  try {
    const explore::packet answer = compute(board);
    std::fflush(nullptr); // what the user's code printed
    _exit(write_all(answers, answer.bytes()) ? 0 : explore::GUARD_EXIT);
  } catch (const std::exception& e) {
    note_last_words(e.what());
  } catch (...) {
    note_last_words("an exception that is none of the standard's");
  }
  _exit(explore::GUARD_EXIT);
}

std::string accident_of(int status, const dashboard& board) {
  if (board.last_words[0]) return board.last_words;
  if (WIFSIGNALED(status))
    return fmt::format("ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return fmt::format("ended by exit({})", WEXITSTATUS(status));
}

/// Collects what the child writes until it ends.
std::vector<std::byte> collect(int answers, pid_t pid, dashboard& board,
                               const std::function<void(dashboard&)>& tick) {
  std::vector<std::byte> bytes;
  std::byte chunk[4096];
  steady_clock::time_point told_to_stop{};
  for (;;) {
    pollfd ready{answers, POLLIN, 0};
    if (poll(&ready, 1, TICK_MS) > 0) {
      const ssize_t n = read(answers, chunk, sizeof chunk);
      if (n == 0) return bytes;
      if (n > 0) bytes.insert(bytes.end(), chunk, chunk + n);
      continue;
    }
    tick(board);
    if (!board.stop) continue;
    if (told_to_stop == steady_clock::time_point{}) told_to_stop = steady_clock::now();
    if (steady_clock::now() - told_to_stop > GRACE) kill(pid, SIGKILL);
  }
}

} // namespace

child_result run_child(const std::function<explore::packet(dashboard&)>& compute,
                       const std::function<void(dashboard&)>& tick) {
  const shared_dashboard board;
  int ends[2];
  pid_t pid = -1;
  {
    // The end of what a child writes is its own end only if no other child holds the pipe.
    static std::mutex one_at_a_time;
    const std::lock_guard guard(one_at_a_time);
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    pid = fork();
    if (pid == 0) {
      close(ends[0]);
      live_as_child(ends[1], *board, compute);
    }
    const int error = errno;
    close(ends[1]);
    if (pid < 0) {
      close(ends[0]);
      throw std::system_error(error, std::generic_category(), "fork");
    }
  }
  std::vector<std::byte> bytes = collect(ends[0], pid, *board, tick);
  close(ends[0]);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !bytes.empty())
    return {explore::packet(std::move(bytes)), ""};
  return {{}, accident_of(status, *board)};
}

} // namespace racewalk::cli
