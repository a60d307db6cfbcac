// Processes whose memory is laid out alike, in this rank and in all others.
//
// A search is told to another process by addresses: of variables, of places in the source, of what pointers
// point to. So each search has a process of its own, forked from one that has done nothing but read the
// command line; the set-up of a scenario then puts everything where it does in every other rank. That the
// ranks lay memory out alike is checked before they share a search (explore/crew.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace racewalk::cli {

/// What a child does: decides a run, or takes part in the search of another process.
struct errand {
  std::uint64_t id = 0; ///< names the child
  std::size_t job = 0;
  bool assists = false;
};

/// What a child and its rank see both.
struct desk {
  std::atomic<std::uint64_t> executions{0};
  std::atomic<std::uint64_t> blocked{0};
  std::atomic<unsigned> depth{0};
  std::atomic<bool> stop{false}; ///< the child should end soon
};

class nursery {
 public:
  /// Runs in the child, which ends when it returns. The socket is to the rank.
  using life = std::function<void(const errand&, int socket, desk&)>;

  /// Forks what the children are forked from. Throws std::system_error.
  explicit nursery(life main);
  ~nursery();
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;

  struct child {
    int socket = -1;
    desk* shared = nullptr; ///< to be given back by release()
  };
  /// Throws std::system_error.
  [[nodiscard]] child start(const errand& what);
  static void release(desk* shared);

  struct end {
    std::uint64_t id = 0; ///< of the errand
    std::string accident; ///< if it has not done its errand: `its process was killed by signal 9 (Killed)`
  };
  /// Readable when a child has ended.
  [[nodiscard]] int socket() const { return socket_; }
  /// The children that ended since this was asked last.
  std::vector<end> ended();

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

} // namespace racewalk::cli
