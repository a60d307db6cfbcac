// One side of one figure: a thing to repeat, and how to time it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace racewalk::bench {

using nanoseconds = std::chrono::duration<double, std::nano>;
using bench_clock = std::chrono::steady_clock;

class workload {
 public:
  virtual ~workload() = default;
  /// Repeats the thing so often on each thread and returns the time that counts.
  virtual nanoseconds run(std::uint64_t iterations) = 0;
};

using make_workload = std::function<std::unique_ptr<workload>()>;

/// What a figure is meant to reach.
struct goal {
  enum class kind {
    none,
    at_most,       ///< nanoseconds
    at_most_added, ///< nanoseconds over the kernel's figure
    at_most_ratio, ///< to the kernel's figure
    scales         ///< in total, over the same figure on one thread
  };
  kind what = kind::none;
  double value = 0;
};

/// A row of the table, or two.
struct figure {
  std::string name;
  unsigned threads = 1;
  std::uint64_t operations = 1; ///< in one iteration of one thread
  make_workload ours;
  make_workload kernel; ///< may make none: it cannot be had here
  std::vector<goal> goals;
  /// Of one thread in a round; 0: as many as fill one.
  std::uint64_t iterations = 0;
  /// What the disk does without any cache, in the same rounds, if that is to be looked at; the goals beside
  /// it.
  make_workload direct{};
  std::vector<goal> direct_goals{};
};

/// Rows under one heading.
struct figure_group {
  std::string heading;
  std::vector<figure> figures;
};

/// Everything that is measured, in the table's order.
std::vector<figure_group> figures();

/// What a round of a figure took, per operation of one thread.
struct comparison {
  nanoseconds ours;
  std::optional<nanoseconds> kernel; ///< none: it cannot be had here
  std::optional<nanoseconds> direct{};
};

/// Rounds of both sides, taking turns; the medians.
comparison compare(const figure& f);

} // namespace racewalk::bench
