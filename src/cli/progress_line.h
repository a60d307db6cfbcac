// The one line on a terminal that says how far a long run is. Nothing is written where stderr is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace racewalk::cli {

/// What the line shows.
struct run_state {
  std::size_t done = 0;
  std::size_t total = 0;
  std::uint64_t executions = 0; ///< of all runs so far
  unsigned depth = 0;           ///< of the run that reported last
  std::string running;          ///< `munmap_table_free:no_rcu arm64`
};

class progress_line {
 public:
  progress_line();
  ~progress_line();
  progress_line(const progress_line&) = delete;
  progress_line& operator=(const progress_line&) = delete;

  void show(const run_state& state);
  /// Takes the line away, so that results can be printed.
  void clear();

 private:
  bool on_terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_;
};

} // namespace racewalk::cli
