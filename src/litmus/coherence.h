// The order of the writes of each location, as far as it is decided: a transitive relation, to which each
// decision adds all that follows from it.
//
// Two writes can be tied: nothing comes between them. So are a write and that of a read-modify-write that
// read from it, and a lock and the unlock that ends its critical section.
#pragma once

#include <utility>
#include <vector>

#include "litmus/relation.h"

namespace racewalk::litmus {

template <std::size_t Words> class coherence {
 public:
  explicit coherence(std::size_t events) : order_(events) {}

  [[nodiscard]] const relation<Words>& order() const { return order_; }
  [[nodiscard]] bool before(std::size_t a, std::size_t b) const { return order_.contains(a, b); }

  /// Orders `a` before `b`, of one location with the writes `writes`. False if that makes a cycle.
  bool add(std::size_t a, std::size_t b, const event_set<Words>& writes) {
    if (before(a, b)) return true;
    if (a == b || before(b, a)) return false;
    event_set<Words> later = order_[b];
    later.insert(b);
    writes.for_each([&](std::size_t w) {
      if (w == a || before(w, a)) order_[w] |= later;
    });
    return true;
  }

  /// Lets nothing come between the writes of each pair. False if that cannot be.
  bool tie(const std::vector<std::pair<std::size_t, std::size_t>>& pairs, const event_set<Words>& writes) {
    bool possible = true;
    for (bool changed = true; changed && possible;) {
      changed = false;
      for (const auto& [first, second] : pairs) {
        event_set<Words> others = writes;
        others.erase(first);
        others.erase(second);
        possible = possible && add(first, second, writes);
        others.for_each([&, f = first, s = second](std::size_t w) {
          const bool after = before(f, w) && !before(s, w);
          const bool ahead = before(w, s) && !before(w, f);
          if (after) possible = possible && add(s, w, writes);
          if (ahead) possible = possible && add(w, f, writes);
          changed = changed || after || ahead;
        });
      }
    }
    return possible;
  }

 private:
  relation<Words> order_;
};

} // namespace racewalk::litmus
