// usage: crash ROUNDS SEED
//
// What fsync() and msync(MS_SYNC) have acknowledged is in the file, wherever the process is killed.
//
// Each round a child maps a file and stores to it from several threads, by mappings and by write(), while the
// flusher writes, too. Each word says which it is and how often it has been stored to. When a thread has been
// told that words are on the disk, it says so in a pipe. The parent kills the child after a random time,
// reads the pipe to its end, and looks for each of these words in the file: it must be as new as was said, or
// newer.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cli/temporary_directory.h"
#include "racewalk/address_space.h"
#include "racewalk/writeback.h"

namespace {

using namespace racewalk;
using namespace std::chrono_literals;

constexpr u64 pages = 64;
constexpr u64 bytes = pages * PAGE_SIZE;
constexpr u64 words_per_page = 8;
constexpr u64 words = pages * words_per_page;
constexpr unsigned threads = 3;
constexpr unsigned most_at_once = 16;

constexpr u64 offset_of(u64 word) { return word * (PAGE_SIZE / words_per_page); }
constexpr u64 content_of(u64 word, u64 version) { return version << 16 | word; }

/// What goes through the pipe. A message is written in one piece.
struct acknowledgement {
  u64 word;
  u64 version;
};

// ---- the child -------------------------------------------------------------------------------------------

/// Stores to every third page.
class writer {
 public:
  writer(System& system, AddressSpace& space, unsigned id, File file, vaddr_t at, u64 seed, int pipe)
      : space_(space), cpu_(system, id, space), id_(id), file_(std::move(file)), at_(at), random_(seed + id),
        pipe_(pipe) {}

  [[noreturn]] void run() {
    for (;;)
      below(2) == 0 ? sync_page() : sync_file();
  }

 private:
  u64 below(u64 n) { return random_() % n; }
  u64 my_page() { return id_ + threads * below((pages - id_ + threads - 1) / threads); }

  void store(u64 word) {
    const u64 version = (cpu_->load<u64>(at_ + offset_of(word)).value() >> 16) + 1;
    const u64 content = content_of(word, version);
    const bool stored = below(4) == 0
                            ? file_.write(offset_of(word), std::as_bytes(std::span(&content, 1))).has_value()
                            : cpu_->store<u64>(at_ + offset_of(word), content).ok();
    if (!stored) std::abort();
    stored_.push_back({word, version});
  }
  void acknowledge() {
    const std::size_t size = stored_.size() * sizeof(acknowledgement);
    if (::write(pipe_, stored_.data(), size) != static_cast<ssize_t>(size)) std::abort();
    stored_.clear();
  }
  void sync_page() {
    const u64 page = my_page();
    for (u64 n = 1 + below(most_at_once); n > 0; n--)
      store(page * words_per_page + below(words_per_page));
    space_.msync(at_ + page * PAGE_SIZE, PAGE_SIZE).value();
    acknowledge();
  }
  void sync_file() {
    for (u64 n = 1 + below(most_at_once); n > 0; n--)
      store(my_page() * words_per_page + below(words_per_page));
    (below(2) == 0 ? file_.sync() : file_.datasync()).value();
    acknowledge();
  }

  AddressSpace& space_;
  CpuSession cpu_;
  const unsigned id_;
  File file_;
  const vaddr_t at_;
  std::mt19937_64 random_;
  const int pipe_;
  std::vector<acknowledgement> stored_;
};

[[noreturn]] void be_killed(const std::string& path, u64 seed, int pipe) {
  System system(u64{32} << 20, threads);
  AddressSpace space(system);
  Writeback flusher(system);
  flusher.tune({.dirty_writeback = 1ms, .dirty_expire = 1ms}).value();
  flusher.start();
  // every other time past the host's page cache
  const File file = File::open(system, path, seed % 2 == 0 ? O_RDWR : O_RDWR | O_DIRECT).value();
  const vaddr_t at = space.mmap(file, 0, bytes).value();
  std::vector<std::jthread> all;
  for (unsigned id = 0; id < threads; id++)
    all.emplace_back([&, id] {
      writer(system, space, id, File::open(system, path, O_RDWR).value(), at, seed, pipe).run();
    });
  all.clear(); // waits for ever
  std::abort();
}

// ---- the parent ------------------------------------------------------------------------------------------

using versions = std::array<u64, words>;

/// Brings up to date what must be in the file. How many words were acknowledged.
u64 read_acknowledgements(int pipe, versions& newest) {
  u64 count = 0;
  for (acknowledgement a; ::read(pipe, &a, sizeof a) == sizeof a; count++)
    newest[a.word] = std::max(newest[a.word], a.version);
  return count;
}

/// Whether every word is as new as it must be.
bool look(const std::string& path, const versions& newest) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  bool good = true;
  for (u64 word = 0; word < words; word++) {
    u64 found = 0;
    good = ::pread(fd, &found, sizeof found, static_cast<off_t>(offset_of(word))) == sizeof found && good;
    if (newest[word] == 0 || (found >> 16 >= newest[word] && (found & 0xffff) == word)) continue;
    fmt::print("word {} is {:#x}, and version {} was acknowledged\n", word, found, newest[word]);
    good = false;
  }
  ::close(fd);
  return good;
}

/// One child's life. False: something is lost, or it died by itself.
bool round(const std::string& path, u64 seed, std::chrono::microseconds life, versions& newest, u64* count) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return false;
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    ::close(pipe[0]);
    be_killed(path, seed, pipe[1]);
  }
  ::close(pipe[1]);
  // It is killed while somebody reads, or it would wait for room in the pipe. The time runs from the first
  // word on.
  acknowledgement first{};
  const bool began = ::read(pipe[0], &first, sizeof first) == sizeof first;
  std::jthread killer([child, life] {
    std::this_thread::sleep_for(life);
    ::kill(child, SIGKILL);
  });
  if (began) newest[first.word] = std::max(newest[first.word], first.version);
  *count += read_acknowledgements(pipe[0], newest);
  killer.join();
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(pipe[0]);
  if (!began || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    fmt::print("the child ended by itself, status {:#x}\n", status);
    return false;
  }
  return look(path, newest);
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto rounds = std::strtoul(argv[1], nullptr, 10);
  const auto seed = std::strtoull(argv[2], nullptr, 10);
  const temporary_directory directory;
  const std::string path = directory.path() + "/file";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
  bool good = ::ftruncate(fd, bytes) == 0;
  ::close(fd);
  versions newest{};
  u64 count = 0;
  std::mt19937_64 random(seed);
  for (unsigned long n = 0; n < rounds && good; n++) {
    const std::chrono::microseconds life(random() % 60'000);
    good = round(path, seed * 1'000'003 + n, life, newest, &count);
  }
  fmt::print("{} rounds, {} words acknowledged, {}\n", rounds, count, good ? "none lost" : "FAILED");
  return good ? 0 : 1;
}
