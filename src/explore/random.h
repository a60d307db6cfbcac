// Sampling: what to do with a program that has too many executions to visit.
//
// A sample's schedule is drawn by probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): each
// thread gets a random priority, the first that can go on in the order of priority does, and at d - 1 random
// steps the running thread's priority drops below all others. With n threads and at most k steps, a fault
// that hangs on the order of d steps is hit by one sample with probability at least 1/(n * k^(d-1)).
//
// Half of the samples give every read and write its newest choice, so they are interleavings, and the bound
// holds for them. The other half now and then take an older source or an earlier place that the memory model
// allows: a stale TLB entry, a store that is still on its way.
#pragma once

#include <array>
#include <string>

#include "explore/graph.h"

namespace racewalk::explore {

/// How many executions to draw, and from where. The same seed draws the same ones.
struct sampling {
  u64 executions = 0;
  u64 seed = 1;
};

/// splitmix64 (Steele et al., OOPSLA 2014): the same on every machine.
class random_numbers {
 public:
  explicit random_numbers(u64 seed) : state_(seed) {}
  u64 next() {
    u64 z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// Less than `n`, which is small.
  unsigned below(unsigned n) { return static_cast<unsigned>((next() >> 32) * n >> 32); }

 private:
  u64 state_;
};

/// Who goes on in one sample, and with how new a choice.
class random_schedule {
 public:
  static constexpr unsigned MAX_DEPTH = 4;

  /// Of sample `number`, for a program of so many threads that was seen to make up to `steps` steps.
  random_schedule(const sampling& of, u64 number, unsigned threads, unsigned steps);

  /// The thread of this set that goes on; notes that it makes a step.
  unsigned pick(u32 runnable);
  /// Does the next step look for another choice than the newest?
  bool wants_older() { return older_in_ && below(older_in_) == 0; }
  unsigned below(unsigned n) { return random_.below(n); }

 private:
  random_numbers random_;
  unsigned depth_;
  unsigned older_in_; ///< one step in so many; 0: none
  unsigned step_ = 0;
  std::array<unsigned, MAX_THREADS> priority_{};
  std::array<unsigned, MAX_DEPTH> change_at_{}; ///< steps, of which the first depth_ - 1 count
};

/// What a sample is worth: the bounds above, of depth 1 to MAX_DEPTH, in words.
std::string pct_bounds(unsigned threads, unsigned steps);

} // namespace racewalk::explore
