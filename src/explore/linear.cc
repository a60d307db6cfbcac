#include "explore/linear.h"

#include <algorithm>

namespace racewalk::explore {

std::string function_name(const site& where) {
  const std::string name = where.function;
  return name == "operator()" ? "scenario" : name.substr(0, name.find('<'));
}

std::string place_name(const site& where) {
  const std::string file = where.file;
  return function_name(where) + "() " + file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line);
}

std::string thread_name(unsigned thread, unsigned cpus) {
  return thread < cpus ? "CPU" + std::to_string(thread)
                       : "RCU callbacks of CPU" + std::to_string(thread - cpus);
}

const char* kind_name(const action& e) {
  switch (e.kind) {
  case event_kind::read:
    return e.counts_sections ? "count" : e.rmw ? "update" : e.await ? "wait" : "read";
  case event_kind::write:
    return e.section_end ? "end" : e.adds ? "update" : "write";
  case event_kind::fence:
    return "barrier";
  case event_kind::translation:
    return "translation";
  case event_kind::invalidate:
    return "flush";
  case event_kind::section_begin:
    return "begin";
  case event_kind::quiesce:
    return "broadcast";
  case event_kind::free_object:
    break;
  }
  return "free";
}

std::string counted(u64 n, const std::string& thing) {
  const char* const ending = n == 1 ? "" : thing.ends_with("ch") ? "es" : "s";
  return std::to_string(n) + ' ' + thing + ending;
}

namespace {

using successors = std::vector<std::vector<eid>>;

void add_causality(const graph& g, successors& next) {
  for (unsigned t = 0; t < MAX_THREADS; t++)
    for (unsigned i = 1; i < g.thread_size(t); i++)
      next[g.at(t, i - 1)].push_back(g.at(t, i));
  for (eid e = 0; e < g.size(); e++)
    if (g[e].rf < NONE) next[g[e].rf].push_back(e);
}

/// Where an edge into `e` goes: a read-modify-write is one step, told at its read half.
eid step_of(const graph& g, eid e) {
  return g[e].is_write() && g[e].rmw ? g.at(g[e].thread, g[e].po - 1u) : e;
}

/// What a single order of all accesses would have to keep besides: each read before what overwrites its
/// value.
void add_one_memory(const graph& g, successors& next, bool reads_too) {
  for (eid e = 0; e < g.size(); e++) {
    const event& x = g[e];
    if (x.is_write() && x.co_next != NONE) next[e].push_back(step_of(g, x.co_next));
    if (!reads_too || !x.is_read() || x.counts_sections || (x.kind == event_kind::translation && !x.coherent))
      continue;
    if (const eid w = g.co_after(x.loc, x.rf); w != NONE && step_of(g, w) != e)
      next[e].push_back(step_of(g, w));
  }
}

/// One topological order that stays on a thread as long as it can, starting with `first`; empty if there is a
/// cycle.
std::vector<eid> order_from(const graph& g, const successors& next, unsigned first) {
  std::vector<unsigned> waits(g.size(), 0);
  for (const auto& list : next)
    for (eid e : list)
      waits[e]++;
  std::vector<unsigned> pos(MAX_THREADS, 0);
  std::vector<eid> order;
  auto runnable = [&](unsigned t) { return pos[t] < g.thread_size(t) && waits[g.at(t, pos[t])] == 0; };
  // How far a thread could run now.
  auto reach = [&](unsigned t) {
    auto w = waits;
    unsigned n = 0;
    for (unsigned p = pos[t]; p < g.thread_size(t) && w[g.at(t, p)] == 0; p++, n++)
      for (eid e : next[g.at(t, p)])
        w[e]--;
    return n;
  };
  unsigned t = first;
  while (order.size() < g.size()) {
    if (!runnable(t)) {
      unsigned best = 0;
      for (unsigned u = 0; u < MAX_THREADS; u++)
        if (const unsigned n = runnable(u) ? reach(u) : 0; n > best) {
          best = n;
          t = u;
        }
      if (best == 0) return {};
    }
    const eid e = g.at(t, pos[t]++);
    order.push_back(e);
    for (eid s : next[e])
      waits[s]--;
  }
  return order;
}

unsigned switches(const graph& g, const std::vector<eid>& order) {
  unsigned n = 0;
  for (std::size_t i = 1; i < order.size(); i++)
    n += g[order[i]].thread != g[order[i - 1]].thread;
  return n;
}

std::vector<eid> shortest_order(const graph& g, const successors& next) {
  std::vector<eid> best;
  for (unsigned t = 0; t < MAX_THREADS; t++) {
    if (g.thread_size(t) == 0) continue;
    std::vector<eid> order = order_from(g, next, t);
    if (!order.empty() && (best.empty() || switches(g, order) < switches(g, best))) best = std::move(order);
  }
  return best;
}

} // namespace

std::vector<eid> linearise(const graph& g, eid first, eid second) {
  for (const int keep : {2, 1, 0}) { // everything in one order; or at least the writes; or causality alone
    successors next(g.size());
    add_causality(g, next);
    if (keep) add_one_memory(g, next, keep == 2);
    if (first < NONE && second < NONE) next[first].push_back(second);
    if (std::vector<eid> order = shortest_order(g, next); !order.empty()) return order;
  }
  return first < NONE ? linearise(g) : std::vector<eid>{};
}

unsigned length_of(const graph& g) { return switches(g, linearise(g)) * MAX_EVENTS + g.size(); }

std::vector<choice> schedule_of(const failure& f) {
  const graph& g = f.execution;
  std::vector<choice> schedule;
  for (const eid id : linearise(g, f.after, f.loss)) {
    const event& e = g[id];
    if (e.is_write() && e.rmw) continue; // follows its read
    choice c;
    c.thread = e.thread;
    c.what = function_name(e.where);
    c.kind = kind_name(e);
    if (e.is_read() && e.rf < NONE) {
      c.source_thread = g[e.rf].thread;
      c.source_po = g[e.rf].po;
    }
    if (e.is_write() && e.co_prev < NONE) {
      c.after_thread = g[e.co_prev].thread;
      c.after_po = g[e.co_prev].po;
    }
    schedule.push_back(std::move(c));
  }
  return schedule;
}

} // namespace racewalk::explore
