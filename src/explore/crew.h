// A search that is split over processes.
//
// The process that began the search becomes the broker: it forks workers, hands the subtrees that they give
// away to those that have nothing to do, and adds up what they found. A worker is the whole search as it was
// at the fork, so addresses mean the same everywhere and what the code under test keeps in memory is its
// own. Workers visit each execution exactly once between them: a subtree has one owner at any time.
//
// Broker and worker exchange messages over a socket; what is asked after each execution is in shared memory.
//
// A helper is a worker that was not forked from the broker: it may be on another machine, and only the socket
// leads to it. It began the same search by itself, so that it has everything at the same addresses, which it
// proves by its layout before it is told what the search has learned; what others see on the blackboard is
// exchanged now and then.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "explore/packet.h"
#include "sync/types.h"

namespace racewalk::explore {

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

/// The way to a worker that was not forked.
struct helper {
  int socket = -1;
  std::string name; ///< where it is: `rank 1`
};

/// A worker's side.
class worker_link {
 public:
  worker_link(blackboard& board, unsigned id, int socket) : board_(board), id_(id), socket_(socket) {}
  /// A helper's; the blackboard is a copy.
  worker_link(blackboard& copy, int socket) : board_(copy), id_(HELPER), socket_(socket), remote_(true) {}

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
  /// A helper says how memory is laid out here, and gets what the search has learned; nullopt: it is not
  /// wanted (any more).
  std::optional<packet> introduce(u64 layout);

 private:
  static constexpr unsigned OTHERS = 0; ///< in a helper's copy of the blackboard: the sum of all others
  static constexpr unsigned HELPER = 1;
  void exchange_news();

  blackboard& board_;
  unsigned id_;
  int socket_;
  bool remote_ = false;
  std::chrono::steady_clock::time_point last_exchange_{};
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
  /// Takes a helper in, who gets `state` if its layout is this one.
  void admit(helper who, u64 layout, const packet& state);
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
    pid_t pid = -1; ///< -1: a helper, or it has ended
    int socket = -1;
    bool idle = false;
    bool left = false;
    bool remote = false;
    bool introduced = true; ///< it may be given work
    std::string name;       ///< of a helper
    u64 layout = 0;         ///< that a helper has to have
    packet state;           ///< that it gets then
  };
  void receive(unsigned w);
  void introduce(unsigned w, u64 layout);
  void dispatch();
  void send_off();
  void tell_news();
  void lost(unsigned w);
  void dismiss(worker& w);

  worker_main main_;
  blackboard* board_; ///< shared with the workers
  std::vector<worker> workers_;
  std::vector<packet> reports_;
  std::deque<packet> queue_;
  std::string accident_;
};

} // namespace racewalk::explore
