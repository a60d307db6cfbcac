#include "explore/switches.h"

#include <algorithm>

namespace racewalk::explore {

namespace {

bool has(const clock& part, const event& e) { return e.po < part.upto[e.thread]; }

/// Was the event added when a newer choice was there already? Then no revisit removes it.
bool stays(const graph& g, eid e) {
  const event& x = g[e];
  if (!(x.is_read() || x.is_write()) || x.adds || x.sums) return false;
  if (x.is_write() && x.read_by_older) return true;
  for (eid later = g.co_after(x.loc, x.is_write() ? e : x.rf); later != NONE; later = g[later].co_next)
    if (later < e) return true;
  return false;
}

/// What has to come before each event, beside the earlier ones of its thread.
class constraints {
 public:
  constraints(const graph& g, const clock& part, bool one_memory) : g_(g), before_(g.size()) {
    for (eid e = 0; e < g.size(); e++) {
      const event& x = g[e];
      if (!has(part, x)) continue;
      if (x.rf < NONE) add(x.rf, e);
      if (!one_memory) continue;
      const bool write = x.is_write() && !x.adds;
      if (!write && !(x.is_read() && x.coherent && !x.counts_sections && !x.sums)) continue;
      eid next = g.co_after(x.loc, write ? e : x.rf);
      while (next != NONE && !has(part, g[next]))
        next = g[next].co_next;
      if (next != NONE) add(e, next);
    }
  }
  template <class F> bool all_before(eid e, F f) const {
    for (const eid b : before_[e])
      if (!f(b)) return false;
    return true;
  }

 private:
  /// A read-modify-write is one step.
  void add(eid first, eid second) {
    const event& s = g_[second];
    if (s.is_write() && s.rmw) second = g_.at(s.thread, s.po - 1u);
    if (first != second) before_[second].push_back(first);
  }

  const graph& g_;
  std::vector<std::vector<eid>> before_;
};

/// Keeps the states that no other one is ahead of: who is further has less to do.
void keep_the_furthest(std::vector<clock>* states) {
  const auto ahead = [](const clock& a, const clock& b) {
    for (unsigned t = 0; t < MAX_THREADS; t++)
      if (a.upto[t] < b.upto[t]) return false;
    return true;
  };
  std::vector<clock> furthest;
  for (const clock& s : *states) {
    if (std::any_of(furthest.begin(), furthest.end(), [&](const clock& f) { return ahead(f, s); })) continue;
    std::erase_if(furthest, [&](const clock& f) { return ahead(s, f); });
    furthest.push_back(s);
  }
  *states = std::move(furthest);
}

} // namespace

clock settled_part(const graph& g) {
  clock part;
  for (eid e = 0; e < g.size(); e++) {
    if (!stays(g, e)) continue;
    part.join(g[e].past);
    part.include(g[e].thread, g[e].po);
  }
  return part;
}

clock whole(const graph& g) {
  clock all;
  for (unsigned t = 0; t < MAX_THREADS; t++)
    all.upto[t] = static_cast<u8>(g.thread_size(t));
  return all;
}

unsigned fewest_switches(const graph& g, const clock& part, bool one_memory, unsigned limit) {
  if (part.upto == clock().upto) return 0;
  const constraints order(g, part, one_memory);
  // Lets a thread run as far as it can: to stop before that never saves a switch.
  auto run = [&](clock at, unsigned t) {
    auto done = [&](eid b) { return has(at, g[b]); };
    while (at.upto[t] < part.upto[t] && order.all_before(g.at(t, at.upto[t]), done))
      at.upto[t]++;
    return at;
  };
  std::vector<clock> states{clock()};
  for (unsigned switches = 0; switches <= limit; switches++) {
    std::vector<clock> next;
    for (const clock& s : states)
      for (unsigned t = 0; t < MAX_THREADS; t++) {
        if (s.upto[t] == part.upto[t]) continue;
        const clock after = run(s, t);
        if (after.upto == part.upto) return switches;
        if (after.upto[t] > s.upto[t]) next.push_back(after);
      }
    keep_the_furthest(&next);
    states = std::move(next);
  }
  return limit + 1;
}

} // namespace racewalk::explore
