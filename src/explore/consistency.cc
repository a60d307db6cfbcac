#include "explore/consistency.h"

#include <algorithm>
#include <numeric>

namespace racewalk::explore {

const char* to_string(memory_model m) {
  switch (m) {
  case memory_model::sc:
    return "sc";
  case memory_model::tso:
    return "tso";
  case memory_model::weak:
    break;
  }
  return "weak";
}

namespace {

/// A relation on at most 64 * W events.
template <unsigned W> struct relation {
  u64 row[64 * W][W];
  unsigned n;

  explicit relation(unsigned size) : n(size) {
    for (unsigned i = 0; i < n; i++)
      for (unsigned k = 0; k < W; k++)
        row[i][k] = 0;
  }
  void add(unsigned a, unsigned b) { row[a][b / 64] |= u64{1} << (b % 64); }
  bool has(unsigned a, unsigned b) const { return row[a][b / 64] >> (b % 64) & 1; }
  void add_row(unsigned a, const u64* set) {
    for (unsigned k = 0; k < W; k++)
      row[a][k] |= set[k];
  }
  relation& operator|=(const relation& o) {
    for (unsigned i = 0; i < n; i++)
      add_row(i, o.row[i]);
    return *this;
  }
  template <class F> static void for_each(const u64* set, F f) {
    for (unsigned k = 0; k < W; k++)
      for (u64 m = set[k]; m; m &= m - 1)
        f(64 * k + static_cast<unsigned>(std::countr_zero(m)));
  }
  /// this ; o
  relation then(const relation& o) const {
    u64 related[W] = {}; // to something by o
    for (unsigned i = 0; i < n; i++)
      if (std::any_of(o.row[i], o.row[i] + W, [](u64 word) { return word != 0; }))
        related[i / 64] |= u64{1} << (i % 64);
    relation r(n);
    for (unsigned i = 0; i < n; i++)
      for (unsigned k = 0; k < W; k++)
        for (u64 m = row[i][k] & related[k]; m; m &= m - 1)
          r.add_row(i, o.row[64 * k + static_cast<unsigned>(std::countr_zero(m))]);
    return r;
  }
  /// The transitive closure; whatever is related is in this order.
  void close(const std::vector<eid>& order) {
    for (std::size_t i = order.size(); i-- > 0;) {
      u64 direct[W];
      std::copy_n(row[order[i]], W, direct);
      for_each(direct, [&](unsigned j) { add_row(order[i], row[j]); });
    }
  }
  /// Removes events without successors until none is left (acyclic) or nothing moves.
  bool acyclic() const {
    u64 left[W] = {};
    for (unsigned i = 0; i < n; i++)
      left[i / 64] |= u64{1} << (i % 64);
    for (bool moved = true; moved;) {
      moved = false;
      bool any = false;
      for (unsigned i = n; i-- > 0;) {
        if (!(left[i / 64] >> (i % 64) & 1)) continue;
        u64 hit = 0;
        for (unsigned k = 0; k < W; k++)
          hit |= row[i][k] & left[k];
        if (hit) {
          any = true;
        } else {
          left[i / 64] &= ~(u64{1} << (i % 64));
          moved = true;
        }
      }
      if (!any) return true;
    }
    return false;
  }
};

/// The events, each after what comes before it in program order and reads-from.
std::vector<eid> causal_order(const graph& g) {
  std::array<u16, MAX_EVENTS> before;
  std::array<u16, MAX_EVENTS + 1> place{}; // of the first event that has so many before it
  for (eid e = 0; e < g.size(); e++) {
    before[e] = std::accumulate(g[e].past.upto.begin(), g[e].past.upto.end(), u16{0});
    place[before[e] + 1u]++;
  }
  std::partial_sum(place.begin(), place.end(), place.begin());
  std::vector<eid> order(g.size());
  for (eid e = 0; e < g.size(); e++)
    order[place[before[e]]++] = e;
  return order;
}

/// Is the event outside program order? A cached translation may have been made at any earlier time.
bool floats(const event& e) { return e.kind == event_kind::translation && !e.coherent; }

bool covers(const tlb_range& r, const translation& t) {
  return r.ctx == t.ctx && (r.levels >> t.level & 1) && t.va >= r.start && t.va < r.end;
}

/// The write after `w` in coherence order that is not in `skip`, or NONE.
eid next_write(const graph& g, u16 loc, eid w, const event_set& skip) {
  eid next = g.co_after(loc, w);
  while (next != NONE && skip.test(next))
    next = g[next].co_next;
  return next;
}

/// Calls f(w) for each write after `w` (or after INIT) in coherence order that is not in `skip`.
template <class F> void for_each_newer(const graph& g, u16 loc, eid w, const event_set& skip, F f) {
  for (w = next_write(g, loc, w, skip); w != NONE; w = next_write(g, loc, w, skip))
    f(w);
}

/// Calls f(a, b) for each pair that invalidations and quiescence order by what was read: like from-reads, the
/// first has not seen what the second does. That holds for every write newer than what a translation returns
/// and for every section not waited for, not only for the next: in the weak model neither coherence order
/// between CPUs nor program order between sections puts the first before the others. Leaves out the events of
/// `skip`.
template <class F> void for_each_unseen(const graph& g, const event_set& skip, bool may_end, F f) {
  // What is in an open section is ordered by the wait only if the section does not end.
  auto open = [&](unsigned thread, unsigned po, domain dom) {
    for (; may_end && po < g.thread_size(thread); po++)
      if (const event& e = g[g.at(thread, po)]; e.section_end && e.dom == dom) return false;
    return may_end;
  };
  for (eid r = 0; r < g.size(); r++) {
    const event& e = g[r];
    if (floats(e)) {
      if (next_write(g, e.loc, e.rf, skip) == NONE) continue;
      for (unsigned po = 0; po < e.po; po++) {
        const eid i = g.at(e.thread, po);
        if (g[i].kind == event_kind::invalidate && covers(g[i].u.range, e.u.tr))
          for_each_newer(g, e.loc, e.rf, skip, [&](eid newer) { f(i, newer); });
      }
      continue;
    }
    if (!e.counts_sections || e.gives_up() || skip.test(r)) continue;
    const eid start = g.at(e.thread, e.quiesce_po);
    for (unsigned po = e.rf == INIT ? 0u : g[e.rf].po + 1u; po < g.thread_size(e.counted); po++) {
      const eid id = g.at(e.counted, po);
      const event& t = g[id];
      const bool begins = t.kind == event_kind::section_begin && t.dom == e.dom && !skip.test(id);
      const bool served = e.has_range && floats(t) && covers(e.u.range, t.u.tr);
      if ((!begins && !served) || open(e.counted, po, e.dom)) continue;
      if (begins)
        f(start, id);
      else
        for_each_newer(g, t.loc, t.rf, skip, [&](eid newer) { f(start, newer); });
    }
  }
}

/// A read-modify-write leaves no gap between what it read and what it wrote.
bool atomic(const graph& g) {
  for (eid w = 0; w < g.size(); w++)
    if (g[w].is_write() && g[w].rmw && g[g.at(g[w].thread, g[w].po - 1u)].rf != g[w].co_prev) return false;
  return true;
}

/// The place of each write in the coherence order of its location, from 1.
using positions = std::array<u16, MAX_EVENTS>;
void number_writes(const graph& g, positions& position) {
  for (u16 loc = 0; loc < g.locations(); loc++) {
    u16 p = 1;
    for (eid w = g.co_first(loc); w != NONE; w = g[w].co_next)
      position[w] = p++;
  }
}

/// Per location, a thread goes forward in coherence order.
bool coherent(const graph& g) {
  positions position;
  number_writes(g, position);
  for (u16 loc = 0; loc < g.locations(); loc++) {
    std::array<u16, MAX_THREADS> reached{};
    for (eid id = g.first_at(loc); id != NONE; id = g[id].next_at) {
      const event& e = g[id];
      if (!(e.is_read() || e.is_write()) || e.counts_sections || floats(e) || e.adds || e.sums) continue;
      const u16 at = e.is_write() ? position[id] : e.rf == INIT ? u16{0} : position[e.rf];
      if (at < reached[e.thread] || (e.is_write() && at == reached[e.thread])) return false;
      reached[e.thread] = at;
    }
  }
  return true;
}

/// Does each CPU go forward in the entries that it caches? (An invalidation rules out older ones by itself.)
bool monotone(const graph& g) {
  positions position;
  number_writes(g, position);
  auto pos = [&](const event& e) -> unsigned { return e.rf == INIT ? 0 : position[e.rf]; };
  for (eid later = 0; later < g.size(); later++) {
    if (!floats(g[later])) continue;
    for (unsigned i = 0; i < g[later].po; i++) {
      const event& earlier = g[g.at(g[later].thread, i)];
      if (floats(earlier) && earlier.loc == g[later].loc && pos(g[later]) < pos(earlier)) return false;
    }
  }
  return true;
}

/// Fences of the machine in tso: nothing passes them.
bool full_fence(const event& e) {
  return e.kind == event_kind::fence || e.kind == event_kind::quiesce || e.kind == event_kind::invalidate ||
         e.counts_sections || e.rmw || e.adds;
}

/// What a later event of the thread comes after directly, for sc and tso.
struct program_order_front {
  eid strong = NONE; ///< whatever is later comes after it
  eid write = NONE;  ///< writes and fences come after it
  eid floating =
      NONE; ///< the last translation: whatever is later comes after it, until something strong does

  /// Calls f for what an event comes after.
  template <class F> void for_each_before(bool stores_or_fences, F f) const {
    if (floating != NONE) f(floating);
    if (strong != NONE) f(strong);
    if (write != NONE && stores_or_fences) f(write);
  }
  void pass(memory_model m, const event& e, eid id) {
    if (floats(e)) {
      floating = id;
      return;
    }
    const bool stores = e.is_write() || e.kind == event_kind::free_object;
    if (m == memory_model::sc || !stores || full_fence(e)) {
      strong = id;
      floating = NONE;
    }
    if (stores) write = id;
  }
};

/// What a read of a counter is ordered with: calls f(a, b) for the last additions that it sees and the first
/// that it does not.
template <class F> void for_each_counted(const graph& g, eid r, const event_set& skip, F f) {
  const event& e = g[r];
  for (unsigned t = 0; t < MAX_THREADS; t++) {
    const unsigned seen = e.u.seen.upto[t];
    if (seen > 0 && !skip.test(g.at(t, seen - 1))) f(g.at(t, seen - 1), r);
    if (const eid unseen = g.next_addition(e.loc, t, seen); unseen != NONE && !skip.test(unseen))
      f(r, unseen);
  }
}

/// The order of sc or tso, as few edges: calls f(a, b) for each. Leaves out the events of `skip`.
template <class F>
void for_each_edge(memory_model m, const graph& g, const event_set& skip, bool may_end, F f) {
  for (unsigned t = 0; t < MAX_THREADS; t++) {
    program_order_front front;
    for (unsigned i = 0; i < g.thread_size(t); i++) {
      const eid id = g.at(t, i);
      if (skip.test(id)) break; // the last one
      const event& e = g[id];
      const bool stores = e.is_write() || e.kind == event_kind::free_object;
      if (!floats(e))
        front.for_each_before(stores || full_fence(e), [&](eid a) { f(a, id); });
      else if (front.floating != NONE)
        f(front.floating, id);
      front.pass(m, e, id);
    }
  }
  for (eid id = 0; id < g.size(); id++) {
    if (skip.test(id)) continue;
    const event& e = g[id];
    if (e.rf < NONE && !skip.test(e.rf) && (m == memory_model::sc || g[e.rf].thread != e.thread)) f(e.rf, id);
    if (e.sums) {
      for_each_counted(g, id, skip, f);
      continue;
    }
    if (e.is_write() && !e.adds)
      if (eid w = next_write(g, e.loc, id, skip); w != NONE) f(id, w);
    if (e.is_read() && !e.counts_sections && !floats(e))
      if (eid w = next_write(g, e.loc, e.rf, skip); w != NONE) f(id, w);
  }
  for_each_unseen(g, skip, may_end, f);
}

template <unsigned W> relation<W> simple_order(memory_model m, const graph& g, bool may_end) {
  relation<W> order(g.size());
  for_each_edge(m, g, {}, may_end, [&](eid a, eid b) { order.add(a, b); });
  return order;
}

/// The relations of the Linux kernel memory model, under their names there.
template <unsigned W> struct lkmm {
  using rel = relation<W>;
  const graph& g;
  const bool sections_may_end;
  rel strong_fence, weak_fence, rfe, overwrite_ext, ppo, cumul_fence, prop, hb;

  lkmm(const graph& graph_, bool may_end)
      : g(graph_), sections_may_end(may_end), strong_fence(g.size()), weak_fence(g.size()), rfe(g.size()),
        overwrite_ext(g.size()), ppo(g.size()), cumul_fence(g.size()), prop(g.size()), hb(g.size()) {
    for (unsigned t = 0; t < MAX_THREADS; t++)
      thread_relations(t);
    communication();
    ppo |= strong_fence;
    ppo |= weak_fence;
  }

  /// The part of (hb | pb) that takes no closure to find.
  rel direct() const {
    rel r = overwrite_ext.then(strong_fence);
    r |= ppo;
    r |= rfe;
    return r;
  }

  struct sets {
    u64 all[W] = {}, reads[W] = {}, writes[W] = {};
  };
  static void put(u64* set, unsigned e) { set[e / 64] |= u64{1} << (e % 64); }

  /// What the fences, acquires, releases, locks and sections of one thread order, found by walking it
  /// backwards with the sets of later events.
  void thread_relations(unsigned t) {
    const unsigned n = g.thread_size(t);
    sets later;                                                 // everything after
    u64 after_mb[W] = {}, after_rmb[W] = {}, after_wmb[W] = {}; // after the next such fence
    u64 frees[W] = {};                                          // the later frees
    u64 after_release[W] = {};                                  // the later releases
    u64 after_lock[W] = {};                                     // after the next lock
    u64 after_unlock_lock[W] = {};                              // after the next unlock that a lock follows
    // A section is inside its two ends, in order. Interrupts are delivered outside it with a full barrier, so
    // for them the rest of the thread is ordered as well.
    u64 irq_ends[W] = {};            // the later ends of sections with interrupts off
    u64 open_end[N_DOMAINS][W] = {}; // the end of the section that this event is in
    u64 inside[N_DOMAINS][W] = {};   // that section's later events
    auto copy = [](u64* to, const u64* from) {
      for (unsigned k = 0; k < W; k++)
        to[k] = from[k];
    };
    auto merge = [](u64* to, const u64* from) {
      for (unsigned k = 0; k < W; k++)
        to[k] |= from[k];
    };
    for (unsigned i = n; i-- > 0;) {
      const eid id = g.at(t, i);
      const event& e = g[id];
      if (e.dep != NONE) ppo.add(e.dep, id);
      if (floats(e)) {
        if (i + 1 < n) ppo.add(id, g.at(t, i + 1));
        continue;
      }
      if (e.kind == event_kind::fence) {
        if (e.fence == fence_kind::mb || e.fence == fence_kind::atomic) copy(after_mb, later.all);
        if (e.fence != fence_kind::wmb) copy(after_rmb, later.reads);
        if (e.fence != fence_kind::rmb) copy(after_wmb, later.writes);
        continue;
      }
      const bool barrier = e.kind == event_kind::quiesce || e.counts_sections;
      const bool ordered_rmw = e.rmw && e.ord == order::full && (e.is_write() || e.succeeds);
      if (barrier || (ordered_rmw && e.is_write())) copy(after_mb, later.all); // a fence after it
      strong_fence.add_row(id, after_mb);
      weak_fence.add_row(id, after_release);
      const bool is_read = e.is_read() || e.kind == event_kind::section_begin;
      const bool is_write = e.is_write() || e.kind == event_kind::free_object;
      if (is_read) weak_fence.add_row(id, after_rmb);
      if (is_read)
        ppo.add_row(id, frees); // whether to free hung on what was read before: a control dependency
      if (is_write) weak_fence.add_row(id, after_wmb);
      if (e.is_read() && (e.ord == order::acquire)) ppo.add_row(id, later.all);
      cumul_row(id, after_unlock_lock);
      strong_fence.add_row(id, irq_ends);
      for (unsigned d = 0; d < N_DOMAINS; d++)
        strong_fence.add_row(id, open_end[d]);
      const auto dom = static_cast<unsigned>(e.dom);
      if (e.kind == event_kind::section_begin) {
        strong_fence.add_row(id, e.dom == domain::irq ? later.all : inside[dom]);
        copy(open_end[dom], sets().all);
      } else if (e.section_end) {
        if (e.dom == domain::irq) put(irq_ends, id);
        copy(open_end[dom], sets().all);
        put(open_end[dom], id);
        copy(inside[dom], sets().all);
      }
      // what the events before this one will see
      for (auto& section : inside)
        put(section, id);
      if (e.is_write() && e.ord == order::release) put(after_release, id);
      if (e.kind == event_kind::free_object) put(frees, id);
      if (e.lock && e.is_write() && e.ord == order::release) merge(after_unlock_lock, after_lock);
      if (e.lock && e.is_read()) copy(after_lock, later.all);
      put(later.all, id);
      if (is_read) put(later.reads, id);
      if (is_write) put(later.writes, id);
      if (barrier || (ordered_rmw && e.is_read())) copy(after_mb, later.all); // a fence before it
    }
  }
  void cumul_row(eid id, const u64* set) {
    ppo.add_row(id, set);
    cumul_fence.add_row(id, set);
  }
  void communication() {
    for (eid id = 0; id < g.size(); id++) {
      const event& e = g[id];
      if (e.rf < NONE && g[e.rf].thread != e.thread) rfe.add(e.rf, id);
      if (e.sums) counted(id);
      if (e.adds || e.sums) continue;
      if (!e.is_write() && !(e.is_read() && !e.counts_sections && !floats(e))) continue;
      for (eid w = e.is_write() ? e.co_next : g.co_after(e.loc, e.rf); w != NONE; w = g[w].co_next) {
        if (w == id) continue;
        (g[w].thread == e.thread ? ppo : overwrite_ext).add(id, w);
      }
    }
    for_each_unseen(g, {}, sections_may_end,
                    [&](eid a, eid b) { (g[a].thread == g[b].thread ? ppo : overwrite_ext).add(a, b); });
  }

  /// A read of a counter: after each addition that it sees, before each other one; so those are before these.
  void counted(eid r) {
    const event& e = g[r];
    auto overwritten = [&](eid a, eid b) { (g[a].thread == g[b].thread ? ppo : overwrite_ext).add(a, b); };
    for (eid w = 0; w < g.size(); w++) {
      if (!g[w].adds || g[w].loc != e.loc) continue;
      if (g[w].po >= e.u.seen.upto[g[w].thread]) {
        overwritten(r, w);
        continue;
      }
      if (g[w].thread != e.thread) rfe.add(w, r);
      for (eid later = 0; later < g.size(); later++)
        if (g[later].adds && g[later].loc == e.loc && g[later].po >= e.u.seen.upto[g[later].thread])
          overwritten(w, later);
    }
  }

  /// prop and hb.
  void propagation() {
    // cumul-fence: (rfe? ; (strong-fence | po-rel)) | wmb | po-unlock-lock-po, then through
    // read-modify-writes
    rel cumulative = strong_fence;
    for (eid id = 0; id < g.size(); id++)
      rel::for_each(weak_fence.row[id], [&](unsigned b) {
        if (g[static_cast<eid>(b)].is_write() && g[static_cast<eid>(b)].ord == order::release)
          cumulative.add(id, b);
        else if (is_store(id) && is_store(static_cast<eid>(b)))
          cumul_fence.add(id, b); // wmb
      });
    cumul_fence |= cumulative;
    cumul_fence |= rfe.then(cumulative);
    rel through_rmw(g.size());
    for (eid id = 0; id < g.size(); id++)
      if (g[id].rmw && g[id].is_write() && g[id].po > 0)
        if (eid source = g[g.at(g[id].thread, g[id].po - 1u)].rf; source < NONE) through_rmw.add(source, id);
    const std::vector<eid> order = causal_order(g);
    through_rmw.close(order);
    cumul_fence |= cumul_fence.then(through_rmw);
    cumul_fence.close(order);
    // prop: (overwrite & ext)? ; cumul-fence* ; rfe?
    prop = cumul_fence;
    prop |= overwrite_ext;
    prop |= overwrite_ext.then(cumul_fence);
    rel last = prop.then(rfe);
    last |= rfe;
    prop |= last;
    hb = ppo;
    hb |= rfe;
    for (eid id = 0; id < g.size(); id++)
      rel::for_each(prop.row[id], [&](unsigned b) {
        if (b != id && g[static_cast<eid>(b)].thread == g[id].thread) hb.add(id, b);
      });
  }
  /// Of pb, which is prop ; strong-fence ; hb*, what is not made of its parts and hb. (Where prop is the
  /// identity it is in hb.)
  rel pb() const { return prop.then(strong_fence); }
  bool is_store(eid id) const { return g[id].is_write() || g[id].kind == event_kind::free_object; }

  /// Are hb and pb acyclic? A cycle of both together is one of hb, or can be cut into steps of pb. As
  /// relation::acyclic(), with a second node for each event, which prop leads to and strong-fence from: that
  /// spares their product.
  bool consistent() const {
    u64 left[W] = {};
    for (unsigned i = 0; i < g.size(); i++)
      put(left, i);
    u64 left_half_way[W];
    std::copy_n(left, W, left_half_way);
    const auto meets = [](const u64* row, const u64* set) {
      u64 hit = 0;
      for (unsigned k = 0; k < W; k++)
        hit |= row[k] & set[k];
      return hit != 0;
    };
    for (bool moved = true; moved;) {
      moved = false;
      bool any = false;
      for (unsigned i = g.size(); i-- > 0;) {
        const u64 bit = u64{1} << (i % 64);
        if (left_half_way[i / 64] & bit && !meets(strong_fence.row[i], left)) {
          left_half_way[i / 64] &= ~bit;
          moved = true;
        }
        if (!(left[i / 64] & bit)) continue;
        if (meets(hb.row[i], left) || meets(prop.row[i], left_half_way)) {
          any = true;
        } else {
          left[i / 64] &= ~bit;
          moved = true;
        }
      }
      if (!any) return true;
    }
    return false;
  }
};

template <unsigned W> judgement judge_in(memory_model m, const graph& g, const model_options& options) {
  // in all of the models, and quickly asked
  if (!atomic(g) || (options.monotone_translations && !monotone(g)) || !coherent(g))
    return judgement::inconsistent;
  const auto in_order_of = [&](memory_model simple) {
    return simple_order<W>(simple, g, options.sections_may_end).acyclic();
  };
  // Each model allows what sc allows. Most graphs are not consistent in tso, when that is asked here.
  if (m == memory_model::tso && !in_order_of(memory_model::tso)) return judgement::inconsistent;
  if (options.may_be_sc && in_order_of(memory_model::sc)) return judgement::consistent_in_sc;
  if (m == memory_model::sc) return judgement::inconsistent;
  if (m == memory_model::tso) return judgement::consistent;
  lkmm<W> model(g, options.sections_may_end);
  if (!model.direct().acyclic()) return judgement::inconsistent;
  model.propagation();
  return model.consistent() ? judgement::consistent : judgement::inconsistent;
}

using probes = std::array<extension::probe, 2>;

/// The probes that are in the graph already.
event_set added_already(const graph& g, const probes& of) {
  event_set added;
  for (const extension::probe& p : of)
    if (p.po < g.thread_size(p.thread)) added.set(g.at(p.thread, p.po));
  return added;
}

/// Do program order, reads-from and coherence say everything in sc and tso? (No cached translations, no
/// sections that are counted, no sums.)
bool is_simple(const graph& g) {
  for (eid e = 0; e < g.size(); e++)
    if (g[e].sums || g[e].counts_sections || floats(g[e])) return false;
  return true;
}

/// What comes before one of the probes in a simple graph: follows for_each_edge() backwards, from where it
/// leads to the probes.
event_set past_in_simple(memory_model m, const graph& g, const probes& of) {
  const event_set added = added_already(g, of);
  event_set past;
  std::array<eid, MAX_EVENTS> fresh;
  unsigned n = 0;
  auto reach = [&](eid e) {
    if (past.test(e) || added.test(e)) return;
    past.set(e);
    fresh[n++] = e;
  };
  auto stores = [](const event& e) { return e.is_write() || e.kind == event_kind::free_object; };
  auto reach_front = [&](unsigned thread, unsigned po, bool stores_or_fences) {
    bool strong = false;
    bool store = m == memory_model::sc || !stores_or_fences; // found, or of no interest
    for (unsigned i = po; i-- > 0 && !(strong && store);) {
      const eid b = g.at(thread, i);
      const bool is_store = stores(g[b]);
      const bool is_strong = m == memory_model::sc || !is_store || full_fence(g[b]);
      if ((is_strong && !strong) || (is_store && !store)) reach(b);
      strong |= is_strong;
      store |= is_store;
    }
  };
  event_set through; // writes reached, with those before them in coherence order
  auto reach_overwritten = [&](eid newest) {
    if (through.test(newest)) return;
    for (eid w = newest; w != INIT && !through.test(w); w = g[w].co_prev) {
      through.set(w);
      reach(w);
    }
    for (eid r = g.first_at(g[newest].loc); r != NONE; r = g[r].next_at) {
      const eid seen = g[r].rf;
      if (g[r].is_read() && seen != newest && (seen == INIT || (seen < NONE && through.test(seen)))) reach(r);
    }
  };
  for (const extension::probe& p : of)
    reach_front(p.thread, p.po, p.store || p.fence);
  while (n > 0) {
    const eid e = fresh[--n];
    const event& x = g[e];
    reach_front(x.thread, x.po, stores(x) || full_fence(x));
    if (x.rf < NONE && (m == memory_model::sc || g[x.rf].thread != x.thread)) reach(x.rf);
    if (x.is_write() && !x.adds) reach_overwritten(e);
  }
  return past;
}

/// What comes before one of the probes.
template <unsigned W> event_set past_of(memory_model m, const graph& g, const probes& of) {
  const event_set added = added_already(g, of);
  relation<W> predecessors(g.size());
  for_each_edge(m, g, added, true, [&](eid a, eid b) { predecessors.add(b, a); });
  u64 found[W] = {};
  u64 fresh[W] = {};
  for (const extension::probe& p : of) {
    program_order_front front;
    for (unsigned i = 0; i < p.po; i++)
      front.pass(m, g[g.at(p.thread, i)], g.at(p.thread, i));
    front.for_each_before(p.store || p.fence, [&](eid a) { fresh[a / 64] |= u64{1} << (a % 64); });
  }
  for (bool more = true; more;) {
    more = false;
    for (unsigned k = 0; k < W; k++)
      while (fresh[k]) {
        const unsigned e = 64 * k + static_cast<unsigned>(std::countr_zero(fresh[k]));
        found[k] |= u64{1} << (e % 64);
        for (unsigned j = 0; j < W; j++)
          fresh[j] = (fresh[j] | predecessors.row[e][j]) & ~found[j];
        more = true;
      }
  }
  event_set past;
  relation<W>::for_each(found, [&](unsigned e) { past.set(static_cast<eid>(e)); });
  return past;
}

/// What reaches `last` in `order`.
template <unsigned W> event_set reaching(const relation<W>& order, eid last) {
  u64 found[W] = {};
  found[last / 64] |= u64{1} << (last % 64);
  for (bool more = true; more;) {
    more = false;
    for (unsigned i = order.n; i-- > 0;) {
      if (found[i / 64] >> (i % 64) & 1) continue;
      u64 hit = 0;
      for (unsigned k = 0; k < W; k++)
        hit |= order.row[i][k] & found[k];
      if (!hit) continue;
      found[i / 64] |= u64{1} << (i % 64);
      more = true;
    }
  }
  event_set s;
  relation<W>::for_each(found, [&](unsigned e) {
    if (e != last) s.set(static_cast<eid>(e));
  });
  return s;
}

template <unsigned W> event_set directly_before(memory_model m, const graph& g, eid last) {
  if (m == memory_model::weak) return reaching(lkmm<W>(g, false).direct(), last);
  return reaching(simple_order<W>(m, g, false), last);
}

template <unsigned W> event_set all_before(const graph& g, eid last) {
  lkmm<W> model(g, false);
  model.propagation();
  relation<W> order = model.hb;
  order |= model.pb();
  return reaching(order, last);
}

/// Calls f with the number of words that a set of the graph's events takes.
template <class F> auto with_width(const graph& g, F f) {
  if (g.size() <= 64) return f(std::integral_constant<unsigned, 1>());
  if (g.size() <= 128) return f(std::integral_constant<unsigned, 2>());
  if (g.size() <= 192) return f(std::integral_constant<unsigned, 3>());
  if (g.size() <= 256) return f(std::integral_constant<unsigned, 4>());
  return f(std::integral_constant<unsigned, MAX_EVENTS / 64>());
}

} // namespace

judgement judge(memory_model m, const graph& g, const model_options& options) {
  return with_width(g, [&](auto w) { return judge_in<w>(m, g, options); });
}

extension::extension(memory_model m, const graph& g, const std::array<probe, 2>& probes) {
  const memory_model asked = m == memory_model::weak ? memory_model::sc : m;
  past_ = is_simple(g) ? past_in_simple(asked, g, probes)
                       : with_width(g, [&](auto w) { return past_of<w>(asked, g, probes); });
}

performed_before::performed_before(memory_model m, const graph& g, eid last)
    : g_(g), last_(last), all_(m != memory_model::weak) {
  found_ = with_width(g, [&](auto w) { return directly_before<w>(m, g, last); });
}

bool performed_before::has(eid e) {
  if (!found_.test(e) && !all_) {
    found_ = with_width(g_, [&](auto w) { return all_before<w>(g_, last_); });
    all_ = true;
  }
  return found_.test(e);
}

} // namespace racewalk::explore
