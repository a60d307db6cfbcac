// One way for all processes to run: a path of each, put together, and the writes that gave the locations
// their initial values. Which write each read reads from, and in which order the writes of a location took
// effect, is still open.
//
// Fences that are not RCU steps are left out: what they order is known from the paths alone (see
// static_order.h), and nothing else ever refers to them.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "litmus/unfold.h"

namespace racewalk::litmus {

struct candidate_event {
  event what;
  int process = -1;                       ///< -1: an initial write
  std::size_t position = 0;               ///< among the events of its path
  std::optional<std::size_t> rmw_read{};  ///< of a write: the candidate's event that is its read
  std::optional<std::size_t> rmw_write{}; ///< of a read: its write
};

class candidate {
 public:
  candidate(const litmus_test& test, std::vector<const process_path*> paths);

  [[nodiscard]] const litmus_test& test() const { return *test_; }
  [[nodiscard]] const std::vector<const process_path*>& paths() const { return paths_; }
  [[nodiscard]] const std::vector<candidate_event>& events() const { return events_; }
  [[nodiscard]] std::size_t size() const { return events_.size(); }

  /// The event at a position of a process's path; none for a fence that was left out.
  [[nodiscard]] std::optional<std::size_t> find(std::size_t process, std::size_t position) const {
    return index_[process][position];
  }

 private:
  void add_initial_writes();
  void add_path(std::size_t process);

  const litmus_test* test_;
  std::vector<const process_path*> paths_;
  std::vector<candidate_event> events_;
  std::vector<std::vector<std::optional<std::size_t>>> index_;
};

} // namespace racewalk::litmus
