#include "bench/limited_process.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/kernel_side.h"

namespace racewalk::bench {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

// ---- the cgroup ------------------------------------------------------------------------------------------

/// Whether the file took it all.
bool put(const fs::path& file, const std::string& text) {
  std::ofstream out(file);
  return static_cast<bool>(out << text << std::flush);
}

/// A memory controller of this system: where its tree is, and which of its files is the limit.
struct memory_controller {
  fs::path mount;
  std::string line;  ///< what /proc/self/cgroup calls it
  const char* limit; ///< in bytes
};

std::optional<memory_controller> find_memory_controller() {
  std::optional<memory_controller> unified;
  std::ifstream mounts("/proc/self/mounts");
  for (std::string device, at, type, options, rest;
       mounts >> device >> at >> type >> options && std::getline(mounts, rest);) {
    if (type == "cgroup" && ("," + options + ",").find(",memory,") != std::string::npos)
      return memory_controller{at, ":memory:", "memory.limit_in_bytes"};
    if (type == "cgroup2") unified = memory_controller{at, "0::", "memory.max"};
  }
  return unified;
}

/// The cgroup of this process.
fs::path own_cgroup(const memory_controller& controller) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);)
    if (const auto at = line.find(controller.line); at != std::string::npos)
      return controller.mount / fs::path(line.substr(at + controller.line.size())).relative_path();
  return controller.mount;
}

/// An empty cgroup of so many bytes, below this process's own or, where that may have none, below one above.
std::optional<fs::path> make_memory_cgroup(std::uint64_t bytes) {
  const auto controller = find_memory_controller();
  if (!controller) return {};
  for (fs::path above = own_cgroup(*controller);; above = above.parent_path()) {
    put(above / "cgroup.subtree_control", "+memory"); // version 2 only, and perhaps it is there already
    const fs::path group = above / ("racewalk-bench-" + std::to_string(getpid()));
    std::error_code error;
    if (fs::create_directory(group, error) && put(group / controller->limit, std::to_string(bytes)))
      return group;
    fs::remove(group, error);
    if (above == controller->mount || above == above.root_path()) return {};
  }
}

/// The last process of it may be on its way out still.
void remove_cgroup(const fs::path& group) {
  for (unsigned n = 0; n < 100 && rmdir(group.c_str()) != 0 && errno == EBUSY; n++)
    usleep(10'000);
}

// ---- the swap file ---------------------------------------------------------------------------------------

constexpr std::size_t swap_page = 4096;

/// A swap file of the kernel's while it lives, if the kernel takes it.
class kernel_swap {
 public:
  explicit kernel_swap(std::uint64_t bytes) : name_(temporary_file_name()) {
    const int fd = open(name_.c_str(), O_RDWR | O_CLOEXEC);
    on_ = fd >= 0 && posix_fallocate(fd, 0, static_cast<off_t>(bytes)) == 0 && write_header(fd, bytes) &&
          swapon(name_.c_str(), 0) == 0;
    if (fd >= 0) close(fd);
  }
  ~kernel_swap() {
    if (on_) swapoff(name_.c_str());
    unlink(name_.c_str());
  }
  kernel_swap(const kernel_swap&) = delete;
  kernel_swap& operator=(const kernel_swap&) = delete;

  [[nodiscard]] bool on() const { return on_; }

 private:
  /// What mkswap writes: version, last page and bad pages after 1024 bytes, and ten bytes at the page's end.
  static bool write_header(int fd, std::uint64_t bytes) {
    std::array<char, swap_page> header{};
    const std::array<std::uint32_t, 3> info{1, static_cast<std::uint32_t>(bytes / swap_page - 1), 0};
    std::memcpy(header.data() + 1024, info.data(), sizeof info);
    std::memcpy(header.data() + swap_page - 10, "SWAPSPACE2", 10);
    return pwrite(fd, header.data(), header.size(), 0) == static_cast<ssize_t>(header.size()) &&
           fsync(fd) == 0;
  }

  const std::string name_;
  bool on_ = false;
};

// ---- the processes ---------------------------------------------------------------------------------------

/// Does what is asked until nobody is there to ask. First it says whether it can.
void serve(int fd, const fs::path& group, const make_workload& make) {
  const char ready = put(group / "cgroup.procs", std::to_string(getpid())) ? 1 : 0;
  const auto work = ready ? make() : nullptr;
  if (write(fd, &ready, 1) != 1 || !work) return;
  for (std::uint64_t iterations; read(fd, &iterations, sizeof iterations) == sizeof iterations;) {
    const double took = work->run(iterations).count();
    if (write(fd, &took, sizeof took) != sizeof took) return;
  }
}

/// Makes the cgroup and a process in it that serves, and waits for its end.
void guard(int fd, const process_limits& limits, const make_workload& make) {
  setsid(); // what ends the others from the keyboard leaves it alone
  for (const int signal : {SIGINT, SIGHUP, SIGTERM})
    std::signal(signal, SIG_IGN);
  std::optional<kernel_swap> swap;
  if (limits.swap != 0 && !swap.emplace(limits.swap).on()) return; // which the other end sees
  const auto group = make_memory_cgroup(limits.memory);
  if (!group) return;
  const pid_t server = fork();
  if (server == 0) {
    serve(fd, *group, make);
    _exit(0);
  }
  close(fd);
  if (server > 0) waitpid(server, nullptr, 0);
  remove_cgroup(*group);
}

class limited_process : public workload {
 public:
  limited_process(const process_limits& limits, const make_workload& make) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    fd_ = ends[0];
    guard_ = fork();
    if (guard_ == 0) {
      close(ends[0]);
      try {
        guard(ends[1], limits, make);
      } catch (...) { // the other end sees that nobody is there
      }
      _exit(0);
    }
    close(ends[1]);
    if (guard_ < 0) fail("fork");
    char ready = 0;
    ready_ = read(fd_, &ready, 1) == 1 && ready == 1;
  }
  ~limited_process() override {
    close(fd_);
    waitpid(guard_, nullptr, 0);
  }
  limited_process(const limited_process&) = delete;
  limited_process& operator=(const limited_process&) = delete;

  [[nodiscard]] bool ready() const { return ready_; }

  nanoseconds run(std::uint64_t iterations) override {
    double took = 0;
    if (write(fd_, &iterations, sizeof iterations) != sizeof iterations ||
        read(fd_, &took, sizeof took) != sizeof took)
      throw std::runtime_error("racewalk bench: the process of limited memory has ended");
    return nanoseconds(took);
  }

 private:
  int fd_ = -1;
  pid_t guard_ = -1;
  bool ready_ = false;
};

} // namespace

std::unique_ptr<workload> in_limited_process(const process_limits& limits, const make_workload& make) {
  auto process = std::make_unique<limited_process>(limits, make);
  return process->ready() ? std::move(process) : nullptr;
}

} // namespace racewalk::bench
