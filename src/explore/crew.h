// A search that is split over processes.
//
// The process that began the search becomes the broker: it forks workers, hands the subtrees that they give
// away to those that have nothing to do, and adds up what they found. A worker is the whole search as it was
// at the fork, so addresses mean the same everywhere and what the code under test keeps in memory is its
// own. Workers visit each execution exactly once between them: a subtree has one owner at any time.
//
// Broker and worker exchange messages over a socket; what is asked after each execution is in shared memory.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "sync/types.h"

namespace racewalk::explore {

/// Bytes of a message, written and read in the same order.
class packet {
 public:
  packet() = default;
  explicit packet(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  template <class T> void put(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto* b = reinterpret_cast<const std::byte*>(&v);
    bytes_.insert(bytes_.end(), b, b + sizeof v);
  }
  template <class T> void put_all(std::span<const T> values) {
    put(values.size());
    for (const T& v : values)
      put(v);
  }
  void put_text(const std::string& s) { put_all(std::span<const char>(s.data(), s.size())); }

  template <class T> T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T v;
    std::memcpy(&v, bytes_.data() + at_, sizeof v);
    at_ += sizeof v;
    return v;
  }
  template <class T> std::vector<T> get_all() {
    std::vector<T> values(get<std::size_t>());
    for (T& v : values)
      v = get<T>();
    return values;
  }
  std::string get_text() {
    const std::vector<char> s = get_all<char>();
    return {s.begin(), s.end()};
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
  std::size_t at_ = 0;
};

/// What all processes see.
struct blackboard {
  static constexpr unsigned MAX_WORKERS = 64;
  struct count {
    std::atomic<u64> executions{0};
    std::atomic<u64> blocked{0};
    std::atomic<unsigned> depth{0};
  };
  std::atomic<int> wanted{0};      ///< subtrees that somebody should give away
  std::atomic<bool> stop{false};   ///< whoever sees it ends
  std::atomic<bool> failed{false}; ///< a violation has been found
  count counts[MAX_WORKERS];
};

/// A worker's side.
class worker_link {
 public:
  worker_link(blackboard& board, unsigned id, int socket) : board_(board), id_(id), socket_(socket) {}

  blackboard& board() { return board_; }
  bool is_first() const { return id_ == 0; }
  void note(u64 executions, u64 blocked, unsigned depth);
  u64 total() const; ///< executions and blocked ones, of all workers
  /// Is a subtree wanted? Who is told so must give one away.
  bool asked_to_give();
  void give(const packet& subtree);
  /// Waits for a subtree; nullopt: there are none left.
  std::optional<packet> ask();
  [[noreturn]] void leave(const packet& report);

 private:
  blackboard& board_;
  unsigned id_;
  int socket_;
};

/// The broker's side.
class crew {
 public:
  /// Runs in a worker that was just forked; never returns.
  using worker_main = std::function<void(worker_link&)>;

  explicit crew(worker_main main);
  ~crew();
  crew(const crew&) = delete;
  crew& operator=(const crew&) = delete;

  /// Forks another worker; false if that cannot be.
  bool hire();
  unsigned size() const { return static_cast<unsigned>(workers_.size()); }
  blackboard& board() { return *board_; }

  /// Passes messages on until each worker has left; calls `tick` about every 50 ms. The reports of the
  /// workers are in reports(), in the order in which they were hired; a worker that died has none.
  void run(const std::function<void()>& tick);
  std::vector<packet>& reports() { return reports_; }
  /// How a worker died, or empty.
  const std::string& accident() const { return accident_; }

 private:
  struct worker {
    pid_t pid = -1;
    int socket = -1;
    bool idle = false;
    bool left = false;
  };
  void receive(unsigned w);
  void dispatch();
  void lost(unsigned w);

  worker_main main_;
  blackboard* board_; ///< shared with the workers
  std::vector<worker> workers_;
  std::vector<packet> reports_;
  std::deque<packet> queue_;
  std::string accident_;
};

} // namespace racewalk::explore
