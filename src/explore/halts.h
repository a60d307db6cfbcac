// Where threads halt: what is known of the bodies' behaviour, so that they need not be run to find it out
// again.
//
// A body is a function of what its steps return. A thread that has been told the same as once before halts
// where it halted then, before the same next step; and so does one that goes that way in another execution.
// For each thread the halts are a tree: from one to the next leads what the step between them returns.
//
// Invariants:
//  - all halts were reached under the same knowledge of the variables, which decides what is a step: the tree
//    is dropped when something is learned.
//  - event::then points into it; whoever drops it sees to the graphs that are left.
#pragma once

#include <array>
#include <deque>

#include "explore/graph.h"

namespace racewalk::explore {

enum class status : u8 {
  fresh,  ///< to be started from the beginning
  ready,  ///< can go on
  parked, ///< wants to make the step `next`
  stuck,  ///< blocked by an event that is in the graph, or going round in a loop
  failed, ///< found an invariant broken
};

/// Where a thread is between two steps.
struct halt {
  // the tree
  u64 returned = 0; ///< by the step that led here
  halt* sibling = nullptr;
  halt* first = nullptr; ///< of those that the next step leads to

  status st = status::fresh;
  bool ended = false;            ///< its body has
  bool idle = false;             ///< ... and it waits for requests
  bool for_ever = false;         ///< parked: it waits for what nobody else can change, as far as is known
  bool spins = false;            ///< stuck because its round only read
  u16 round_begin = 0;           ///< po of the first step of that round
  u8 round_ended = 0;            ///< sections of the loop that it ended, and the next would: a bit per domain
  u16 dep = 0;                   ///< 1 + po of the read that the address of `next` depends on
  const void* request = nullptr; ///< where the next one arrives that it would take now, if it would
  action next;                   ///< parked: the step it wants to make
  site spins_at;
};

class halts {
 public:
  /// Where the thread halts before its first step; null if it is not known.
  halt* start(unsigned thread) const { return start_[thread]; }
  /// Where it halts if the step that it wants to make at `h` returns this; null if it is not known.
  static halt* after(const halt* h, u64 returned) {
    halt* next = h->first;
    while (next && next->returned != returned)
      next = next->sibling;
    return next;
  }
  /// Adds one that is not known; `before`: null if it is the thread's first.
  halt* add(unsigned thread, halt* before, u64 returned, const halt& h) {
    halt& known = all_.emplace_back(h);
    halt*& first = before ? before->first : start_[thread];
    known.returned = returned;
    known.sibling = first;
    known.first = nullptr;
    return first = &known;
  }
  bool full() const { return all_.size() >= MAX_HALTS; }
  void clear() {
    start_ = {};
    all_.clear();
  }

 private:
  static constexpr std::size_t MAX_HALTS = 1U << 14; ///< some 4 MB

  std::array<halt*, MAX_THREADS> start_{};
  std::deque<halt> all_;
};

} // namespace racewalk::explore
