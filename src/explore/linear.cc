#include "explore/linear.h"

#include <algorithm>
#include <cstring>

namespace racewalk::explore {

std::string function_name(const site& where) {
  const std::string name = where.function;
  return name == "operator()" ? "scenario" : name.substr(0, name.find('<'));
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

namespace {

const char* fence_name(fence_kind f) {
  switch (f) {
  case fence_kind::mb:
    return "smp_mb()";
  case fence_kind::wmb:
    return "smp_wmb()";
  case fence_kind::rmb:
    return "smp_rmb()";
  case fence_kind::atomic:
    break;
  }
  return "smp_mb__after_atomic()";
}

const char* domain_name(domain d) {
  switch (d) {
  case domain::irq:
    return "interrupts off";
  case domain::rcu:
    return "RCU read-side section";
  case domain::tlb:
    break;
  }
  return "access through a translation";
}

std::string cpu_list(const graph& g, const event& quiesce, unsigned po) {
  std::string s;
  for (unsigned i = po + 1; i < g.thread_size(quiesce.thread); i++) {
    const event& e = g[g.at(quiesce.thread, i)];
    if (!e.counts_sections) break;
    s += (s.empty() ? "CPU" : ", CPU") + std::to_string(e.counted);
  }
  return s;
}

/// The step in words; empty if it is not worth a row.
std::string words(const graph& g, const event& e, const locations& places, const naming& names) {
  const void* addr = e.loc != NO_LOCATION ? places[e.loc].addr : nullptr;
  switch (e.kind) {
  case event_kind::read:
    if (e.counts_sections) return "  CPU" + std::to_string(e.counted) + " is out of it";
    if (e.lock && e.rmw && e.succeeds) return "lock " + names.name(addr);
    if (e.rmw && e.succeeds) {
      const event& w = g[g.at(e.thread, e.po + 1u < g.thread_size(e.thread) ? e.po + 1u : e.po)];
      return "RMW " + names.name(addr) + ": " + names.value(addr, e.value) + " -> " +
             (w.is_write() ? names.value(addr, w.value) : "?");
    }
    if (e.rmw) return "RMW " + names.name(addr) + " fails: " + names.value(addr, e.value);
    return (e.await ? "wait for " : "R ") + names.name(addr) + " -> " + names.value(addr, e.value);
  case event_kind::translation:
    return "MMU reads " + names.name(addr) + " for " + names.address(e.u.tr.va) + " -> " +
           names.value(addr, e.value);
  case event_kind::write:
    if (e.section_end) return e.dom == domain::tlb ? "" : std::string("end: ") + domain_name(e.dom);
    if (e.lock && e.ord == order::release) return "unlock " + names.name(addr);
    return "W " + names.name(addr) + " = " + names.value(addr, e.value);
  case event_kind::fence:
    return fence_name(e.fence);
  case event_kind::invalidate:
    return "drop TLB entries";
  case event_kind::section_begin:
    return e.dom == domain::tlb ? "" : std::string("begin: ") + domain_name(e.dom);
  case event_kind::quiesce:
    return std::string(e.has_range            ? "TLBI broadcast to "
                       : e.dom == domain::rcu ? "grace period, waits for "
                                              : "IPI to ") +
           cpu_list(g, e, e.po);
  case event_kind::free_object:
    return "FREE " + names.object(e.u.freed.object);
  }
  return "";
}

std::string short_file(const char* path) {
  std::string s = path;
  for (const char* root : {"/src/", "/scenarios/", "/include/", "/examples/", "/tests/"})
    if (const auto at = s.rfind(root); at != std::string::npos) return s.substr(at + 1);
  return s;
}

} // namespace

std::vector<step> steps_of(const failure& f, const locations& places, memory_model m, const naming& names) {
  const graph& g = f.execution;
  std::vector<step> steps;
  std::vector<std::size_t> row(g.size(), 0);
  std::vector<eid> newest(places.size(), INIT);
  for (const eid id : linearise(g, f.after, f.loss)) {
    const event& e = g[id];
    const bool half_shown = e.is_write() && e.rmw; // the read half showed both
    if (e.is_write()) newest[e.loc] = id;
    std::string text = half_shown ? "" : words(g, e, places, names);
    if (half_shown) row[id] = steps.size();
    if (text.empty()) continue;
    step s;
    s.event = id;
    s.thread = e.thread;
    s.function = function_name(e.where);
    s.file = short_file(e.where.file);
    s.line = e.where.line;
    s.text = std::move(text);
    s.loses = id == f.loss;
    if (s.loses && f.after < NONE)
      s.note = (g[f.after].kind == event_kind::free_object ? "freed at step " : "not ordered with step ") +
               std::to_string(row[f.after]);
    if (e.is_read() && !e.counts_sections && e.rf != newest[e.loc]) {
      s.stale = true;
      const eid w = newest[e.loc];
      s.note = "stale: CPU" + std::to_string(g[w].thread) + " wrote " +
               names.value(places[e.loc].addr, g[w].value);
      if (row[w]) s.note += " at step " + std::to_string(row[w]);
      s.note += e.kind == event_kind::translation ? "; no flush has reached this CPU since"
                : m == memory_model::tso          ? "; still in its store buffer"
                                                  : "; not ordered before this read";
    }
    steps.push_back(std::move(s));
    row[id] = steps.size();
  }
  if (f.loss == NONE && f.thread < MAX_THREADS) { // noticed between two events
    step s;
    s.thread = f.thread;
    s.function = function_name(f.where);
    s.file = short_file(f.where.file);
    s.line = f.where.line;
    s.text = f.text;
    s.loses = true;
    steps.push_back(std::move(s));
  }
  return steps;
}

std::vector<choice> schedule_of(const failure& f) {
  const graph& g = f.execution;
  std::vector<choice> schedule;
  for (const eid id : linearise(g, f.after, f.loss)) {
    const event& e = g[id];
    if (e.is_write() && e.rmw) continue; // follows its read
    choice c;
    c.thread = e.thread;
    c.what = function_name(e.where);
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
