// Backward revisits: a new write becomes the source of a read that was added before it.
//
// The new graph keeps what was added up to the read, and the write's past; the rest must have been added with
// the newest choices, or the same graph would be reached twice (TruSt, section 4).
#include "explore/explorer.h"

namespace racewalk::explore {

/// Was `e` added with the newest choice, seen from the graph that keeps `keep`, where `w` comes directly
/// after what it needs?
bool explorer::maximal(eid e, eid w, const event_set& keep) const {
  const event& x = g()[e];
  if (!x.is_read() && !x.is_write()) return true;
  if (x.is_write() && x.read_by_older) return false; // it owes its place to a revisit
  if (x.adds) return true;
  if (x.sums) return sees_all(e, w, keep);
  for (eid later = g().co_after(x.loc, x.is_write() ? e : x.rf); later != NONE; later = g()[later].co_next)
    if (later != w && (later <= e || keep.test(later))) return false;
  return true;
}

/// May the revisit of `r` by `w` be made? Then *keep is what stays: what was there before `r`, what `w`
/// needs, and what else `r` sees already.
bool explorer::removable(eid r, eid w, event_set* keep) const {
  for (eid e = 0; e <= r; e++)
    keep->set(e);
  for (eid e = static_cast<eid>(r + 1); e < w; e++)
    if (g().needs(e, w)) keep->set(e);
  if (g()[r].sums && !keep_sources(r, w, keep)) return false;
  keep->set(w);
  for (eid e = r; e < w; e++)
    if ((e == r || !keep->test(e)) && !maximal(e, w, *keep)) return false;
  return true;
}

/// Could the event `e` at position `po` of its thread have `source` as its source, or as the write before it,
/// as far as a glance tells?
bool explorer::plausible(const graph& in, const event& e, unsigned po, eid source) const {
  if (e.kind == event_kind::translation) return true;
  // who knows of a newer write cannot read an older one
  if (e.is_read() && !e.counts_sections && po > 0) {
    const bool weak = options_.model == memory_model::weak;
    const eid last = in.at(e.thread, po - 1);
    for (eid newer = in.co_after(e.loc, source); newer != NONE; newer = in[newer].co_next)
      if (newer == last || (weak ? in.known(newer, last) : in.precedes(newer, last))) return false;
  }
  for (unsigned i = po; i-- > 0;) {
    const event& b = in[in.at(e.thread, i)];
    if (b.loc != e.loc || !(b.is_read() || b.is_write()) || !b.coherent) continue;
    return !in.co_before(source, b.is_write() ? in.at(e.thread, i) : b.rf);
  }
  return true;
}

/// Of two executions in which identical threads have swapped names one suffices: the one in which, where they
/// first do something different, the later thread has the later choice. (Symmetry reduction as in
/// Kokologiannakis et al., PLDI 2024.)
bool explorer::in_order_of_twins(const graph& in, const event& e, unsigned po, eid choice) const {
  const eid c = in.counterpart(e.thread, po);
  if (c == NONE) return true;
  const event& twins = in[c];
  if (twins.kind != e.kind || twins.loc != e.loc || twins.rmw != e.rmw) return true;
  if (e.kind == event_kind::read) return !in.co_before(choice, twins.rf);
  if (e.kind == event_kind::write) return !in.co_before(choice, c); // it goes directly after its choice
  return true;
}

void explorer::push_revisits(eid w) {
  if (replaying_) return;
  const u16 loc = g()[w].loc;
  for (eid r = g().next_at(loc, 0); r < w; r = g().next_at(loc, r + 1)) {
    event_set keep;
    if (!may_revisit(r, w) || !removable(r, w, &keep)) continue;
    const event& x = g()[r];
    std::unique_ptr<graph> h = pool_.take();
    g().restrict_to(keep, h.get(), &renamed_);
    const eid new_w = renamed_[w];
    const eid new_r = renamed_[r];
    if (x.sums) {
      push_sum_revisits(std::move(h), new_r);
      continue;
    }
    settle((*h)[new_r], new_w, (*h)[new_w].value);
    h->set_source(new_r, new_w);
    const event& source = (*h)[new_w];
    auto push = [&](std::unique_ptr<graph> revisited, outlook o) {
      if (o == outlook::possible) revisited->set_sc(true);
      if (o == outlook::impossible || (o == outlook::open && !judged(*revisited))) {
        pool_.put(std::move(revisited));
        return;
      }
      item it;
      it.kind = item::what::revisit;
      it.read = new_r;
      it.revisited = std::move(revisited);
      remember(std::move(it));
    };
    std::optional<extension> past;
    if (judged_by_extension(g(), x) && judged_by_extension(g(), source)) {
      const event& read = (*h)[new_r];
      past.emplace(options_.model, *h,
                   std::array{extension::probe{read.thread, read.po, false, read.rmw},
                              extension::probe{source.thread, source.po, true, source.rmw}});
    }
    auto outlook_at = [&](const graph& in, eid next) {
      if (next != NONE && in[next].rmw) return outlook::impossible; // it would lose its source
      if (!plausible(in, in[new_r], in[new_r].po, new_w)) return outlook::impossible;
      return outlook_of(past, next);
    };
    if (source.rmw) {
      const outlook o = outlook_at(*h, source.co_next);
      push(std::move(h), o);
      continue;
    }
    h->displace(new_w);
    for (eid p = INIT;;) {
      const eid next = h->co_after(loc, p);
      if (plausible(*h, source, source.po, p) && in_order_of_twins(*h, source, source.po, p)) {
        std::unique_ptr<graph> placed = pool_.copy(*h);
        placed->place(new_w, p);
        const outlook o = outlook_at(*placed, next);
        push(std::move(placed), o);
      }
      p = next;
      if (p == NONE) break;
    }
    pool_.put(std::move(h));
  }
}

} // namespace racewalk::explore
