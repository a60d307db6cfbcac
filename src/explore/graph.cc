#include "explore/graph.h"

#include <algorithm>
#include <utility>

namespace racewalk::explore {

bool graph::co_before(eid a, eid b) const {
  if (a == b || b == INIT) return false;
  if (a == INIT) return true;
  for (eid w = ev_[a].co_next; w != NONE; w = ev_[w].co_next)
    if (w == b) return true;
  return false;
}

eid graph::counterpart(unsigned thread, unsigned po) const {
  if (twin_[thread] < 0 || (po > 0 && !ev_[at(thread, po - 1)].mirrors)) return NONE;
  const auto twin = static_cast<unsigned char>(twin_[thread]);
  return po < thread_size(twin) ? at(twin, po) : NONE;
}

namespace {
/// Have two threads that did the same before still done the same after these events? A write ends that: one
/// of the two comes first.
bool same_step(const event& a, const event& b) {
  if (a.adds) return b.adds && a.loc == b.loc && a.value == b.value; // no order between the two
  if (a.kind != b.kind || a.is_write() || (a.rmw && a.succeeds)) return false;
  if (a.kind == event_kind::section_begin) return a.dom == b.dom; // each CPU counts its own
  if (a.sums && a.u.seen.upto != b.u.seen.upto) return false;
  return a.loc == b.loc && a.rf == b.rf && (a.kind == event_kind::fence || a.is_read());
}
} // namespace

void graph::compute_past(eid e) {
  event& x = ev_[e];
  clock past;
  clock prefix;
  x.mirrors = false;
  auto after = [&](eid before) {
    const event& b = ev_[before];
    past.join(b.past.with_next_of(b.thread));
    if (symmetric_) prefix.join(b.prefix);
  };
  if (x.po > 0) after(po_[x.thread][x.po - 1u]);
  if (x.rf < NONE) after(x.rf);
  if (x.sums) for_each_source(x, after);
  x.past = past;
  prefix.join(past);
  if (const eid twin = symmetric_ ? counterpart(x.thread, x.po) : NONE; twin != NONE) {
    const event& c = ev_[twin];
    prefix.join(c.prefix);
    prefix.include(c.thread, c.rmw && c.succeeds ? c.po + 1u : c.po); // both halves or none
    x.mirrors = same_step(x, c);
  }
  x.prefix = prefix;
  if (weak_) compute_known(e);
}

void graph::compute_known(eid e) {
  event& x = ev_[e];
  x.known = x.unfenced = x.fenced = x.released = {};
  if (x.po > 0) {
    const event& before = ev_[po_[x.thread][x.po - 1u]];
    x.known = before.known;
    x.unfenced = before.unfenced;
    x.fenced = before.fenced;
  }
  const bool full_fence = x.is_full_fence();
  auto got = [&](eid source) {
    (x.ord == order::acquire || full_fence ? x.known : x.unfenced).join(ev_[source].released);
  };
  if (x.is_read() && x.rf < NONE) got(x.rf);
  if (x.sums) for_each_source(x, got);
  auto fence_writes = [&] { // what this thread did, and knows, is passed on by its later writes
    x.fenced.join(x.known);
    if (x.po > 0) x.fenced.include(x.thread, x.po - 1u);
  };
  if (full_fence) {
    x.known.join(x.unfenced);
    fence_writes();
  } else if (x.kind == event_kind::fence && x.fence == fence_kind::rmb) {
    x.known.join(x.unfenced);
  } else if (x.kind == event_kind::fence && x.po > 0) {
    x.fenced.include(x.thread, x.po - 1u);
  }
  if (!x.is_write()) return;
  x.released = x.fenced;
  if (x.ord == order::release || (x.section_end && x.dom == domain::irq)) {
    x.released.join(x.known);
    x.released.join(x.unfenced);
    x.released.include(x.thread, x.po);
  }
  if (x.rmw)
    if (const eid source = ev_[po_[x.thread][x.po - 1u]].rf; source < NONE)
      x.released.join(ev_[source].released);
}

eid graph::append(const action& s) {
  const eid id = static_cast<eid>(ev_.size());
  const bool sc_so_far = sc();
  event& x = ev_.emplace_back(s);
  x.po = static_cast<u16>(po_[x.thread].size());
  x.sc = x.sc && sc_so_far;
  po_[x.thread].push_back(id);
  link(id);
  compute_past(id);
  return id;
}

graph::at_location& graph::at_location_of(u16 loc) {
  if (at_.size() <= loc) at_.resize(loc + 1u);
  return at_[loc];
}

/// Puts the newest event at the end of those of its location.
void graph::link(eid e) {
  event& x = ev_[e];
  if (x.loc == NO_LOCATION) return;
  at_location& here = at_location_of(x.loc);
  x.before_at = here.last;
  x.next_at = NONE;
  (here.last == NONE ? here.first : ev_[here.last].next_at) = e;
  here.last = e;
  x.used_upto = std::exchange(here.uses.upto[x.thread], static_cast<u8>(x.po + 1));
}

void graph::place(eid w, eid prev) {
  at_location& here = at_[ev_[w].loc];
  const eid next = prev == INIT ? here.co_first : ev_[prev].co_next;
  ev_[w].co_prev = prev;
  ev_[w].co_next = next;
  (prev == INIT ? here.co_first : ev_[prev].co_next) = w;
  (next == NONE ? here.co_last : ev_[next].co_prev) = w;
}

void graph::displace(eid w) {
  const event& x = ev_[w];
  if (x.co_prev == NONE) return; // not placed yet
  at_location& here = at_[x.loc];
  (x.co_prev == INIT ? here.co_first : ev_[x.co_prev].co_next) = x.co_next;
  if (x.co_next != NONE)
    ev_[x.co_next].co_prev = x.co_prev;
  else
    here.co_last = x.co_prev == INIT ? NONE : x.co_prev;
}

void graph::set_source(eid r, eid w) {
  const eid before = std::exchange(ev_[r].rf, w);
  ev_[r].then = nullptr;
  if (before < NONE && before > r)
    note_older_readers(); // r is none of that one's any more
  else
    mark_sources(r);
  compute_past(r);
}

void graph::set_seen(eid r, const clock& seen) {
  ev_[r].u.seen = seen;
  ev_[r].then = nullptr;
  note_older_readers();
  compute_past(r);
}

void graph::note_older_readers() {
  for (event& e : ev_)
    e.read_by_older = false;
  for (eid e = 0; e < ev_.size(); e++)
    mark_sources(e);
}

/// Notes the sources of `r` that were added after it.
void graph::mark_sources(eid r) {
  const event& x = ev_[r];
  if (x.rf < NONE && x.rf > r) ev_[x.rf].read_by_older = true;
  if (!x.sums) return;
  for (eid w = static_cast<eid>(r + 1); w < ev_.size(); w++)
    if (ev_[w].adds && ev_[w].loc == x.loc && ev_[w].po < x.u.seen.upto[ev_[w].thread])
      ev_[w].read_by_older = true;
}

eid graph::next_addition(u16 loc, unsigned thread, unsigned po) const {
  for (; po < thread_size(thread); po++)
    if (const event& e = ev_[at(thread, po)]; e.adds && e.loc == loc) return at(thread, po);
  return NONE;
}

clock graph::additions(u16 loc) const {
  clock all;
  for (eid e = first_at(loc); e != NONE; e = ev_[e].next_at)
    if (ev_[e].adds) all.include(ev_[e].thread, ev_[e].po);
  return all;
}

void graph::forget_halts() {
  for (event& e : ev_)
    e.then = nullptr;
}

void graph::cut(unsigned n) {
  while (ev_.size() > n) {
    const event& x = ev_.back();
    if (x.is_write()) displace(static_cast<eid>(ev_.size() - 1));
    if (x.loc != NO_LOCATION) {
      at_location& here = at_[x.loc];
      here.last = x.before_at;
      (here.last == NONE ? here.first : ev_[here.last].next_at) = NONE;
      here.uses.upto[x.thread] = x.used_upto;
    }
    po_[x.thread].pop_back();
    ev_.pop_back();
  }
}

void graph::restore(std::vector<event> events) {
  for (std::vector<eid>& thread : po_)
    thread.clear();
  at_.clear();
  ev_ = std::move(events);
  forget_halts();
  for (eid e = 0; e < ev_.size(); e++) {
    const event& x = ev_[e];
    po_[x.thread].push_back(e);
    link(e);
    if (!x.is_write()) continue;
    if (x.co_prev == INIT) at_[x.loc].co_first = e;
    if (x.co_prev != NONE && x.co_next == NONE) at_[x.loc].co_last = e;
  }
}

void graph::restrict_to(const event_set& keep, graph* to, std::vector<eid>* renamed) const {
  graph& g = *to;
  g.twin_ = twin_;
  g.symmetric_ = symmetric_;
  g.weak_ = weak_;
  g.ev_.clear();
  for (std::vector<eid>& thread : g.po_)
    thread.clear();
  renamed->assign(ev_.size(), NONE);
  eid n = 0;
  for (eid e = 0; e < ev_.size(); e++)
    if (keep.test(e)) (*renamed)[e] = n++;
  auto name = [&](eid e) { return e == INIT || e == NONE ? e : (*renamed)[e]; };
  g.at_.assign(at_.size(), {});
  event_set read_by_older;
  bool sums = false;
  for (eid e = 0; e < ev_.size(); e++) {
    const eid id = (*renamed)[e];
    if (id == NONE) continue;
    event& x = g.ev_.emplace_back(ev_[e]);
    sums |= x.sums;
    x.read_by_older = read_by_older.test(e);
    if (x.rf < NONE && x.rf > e) read_by_older.set(x.rf);
    x.rf = name(x.rf);
    x.dep = name(x.dep);
    g.po_[x.thread].push_back(id);
    g.link(id);
    if (x.is_write() && !x.adds) { // skip what is gone in the coherence list
      while (x.co_prev < INIT && x.co_prev != NONE && name(x.co_prev) == NONE)
        x.co_prev = ev_[x.co_prev].co_prev;
      while (x.co_next != NONE && name(x.co_next) == NONE)
        x.co_next = ev_[x.co_next].co_next;
      x.co_prev = name(x.co_prev);
      x.co_next = name(x.co_next);
      if (x.co_prev == INIT) g.at_[x.loc].co_first = id;
      if (x.co_next == NONE) g.at_[x.loc].co_last = id;
    }
  }
  if (sums) g.note_older_readers();
}

u64 fingerprint_of(const graph& g) {
  u64 sum = 0;
  for (eid e = 0; e < g.size(); e++) {
    auto named = [&](eid x) -> u64 { return x >= NONE ? x : u64{g[x].thread} << 16 | g[x].po; };
    u64 h = (g[e].sums ? g[e].value << 8 : 0) ^ (named(e) << 40) ^ (named(g[e].rf) << 20) ^
            (g[e].is_write() ? named(g[e].co_prev) : 0);
    h = (h ^ (h >> 31)) * 0x9e3779b97f4a7c15;
    sum += h ^ (h >> 29);
  }
  return (sum ^ (sum >> 32)) * 0xbf58476d1ce4e5b9;
}

} // namespace racewalk::explore
