// Backward revisits: a new write becomes the source of a read that was added before it.
//
// The new graph keeps what was added up to the read, and the write's past; the rest must have been added with
// the newest choices, or the same graph would be reached twice (TruSt, section 4).
#include "explore/explorer.h"

namespace racewalk::explore {

/// Does the read `r` of a counter see each addition, other than `w`, that was there or is kept?
template <class Kept> bool explorer::sees_all(eid r, eid w, const Kept& kept) const {
  const event& read = g()[r];
  for (eid a = g().first_at(read.loc); a != NONE; a = g()[a].next_at) {
    const event& addition = g()[a];
    if (!addition.adds || a == w || !(a <= r || kept(a))) continue;
    if (addition.po >= read.u.seen.upto[addition.thread]) return false;
  }
  return true;
}

/// Was `e` added with the newest choice, seen from the graph that keeps what is `kept`, where `w` comes
/// directly after what it needs?
template <class Kept> bool explorer::maximal(eid e, eid w, const Kept& kept) const {
  const graph& in = g();
  const event& x = in[e];
  if (!x.is_read() && !x.is_write()) return true;
  if (x.gives_up()) return x.never_leaves();
  if (x.is_write() && x.read_by_older) return false; // it owes its place to a revisit
  if (x.adds) return true;
  if (x.sums) return sees_all(e, w, kept);
  for (eid later = in.co_after(x.loc, x.is_write() ? e : x.rf); later != NONE; later = in[later].co_next)
    if (later != w && (later <= e || kept(later))) return false;
  return true;
}

/// May the revisit of `r` by `w` be made? Then *keep, which is empty, gets what stays: what was there before
/// `r`, what `w` needs, and what else `r` sees already.
bool explorer::removable(eid r, eid w, event_set* keep) const {
  const graph& in = g();
  if (in[r].sums && !keep_sources(r, w, keep)) return false;
  for (eid e = static_cast<eid>(r + 1); e < w; e++)
    if (in.needs(e, w)) keep->set(e);
  keep->set(w);
  auto kept = [&](eid e) { return e <= r || keep->test(e); };
  for (eid e = r; e < w; e++)
    if ((e == r || !keep->test(e)) && !maximal(e, w, kept)) return false;
  keep->set_first(r + 1u);
  return true;
}

/// Would the write half `w`, if it revisits `r`, come between another read-modify-write and its source?
bool explorer::takes_a_source(eid r, eid w) const {
  for (eid next = g()[w].co_next; next != NONE; next = g()[next].co_next)
    if (next <= r || g().needs(next, w)) return g()[next].rmw;
  return false;
}

/// The oldest write that the event `e` at position `po` of its thread could have as its source, or as the
/// write before it, as far as a glance tells: who has used a write, or knows of it, does not go back behind
/// it.
eid explorer::oldest_plausible(const graph& in, const action& e, unsigned po) const {
  if (e.kind == event_kind::translation || po == 0) return INIT;
  const bool weak = options_.model == memory_model::weak;
  const bool looks = e.is_read() && !e.counts_sections;
  eid w = in.co_last(e.loc);
  if (w == INIT) return INIT;
  const eid last = in.at(e.thread, po - 1);
  eid used = INIT;
  for (unsigned i = po; i-- > 0;) {
    const eid id = in.at(e.thread, i);
    const event& b = in[id];
    if (b.loc != e.loc || !(b.is_read() || b.is_write()) || !b.coherent) continue;
    used = b.is_write() ? id : b.rf;
    break;
  }
  for (; w != INIT && w != used; w = in[w].co_prev)
    if (looks && (w == last || (weak ? in.known(w, last) : in.precedes(w, last)))) break;
  return w;
}

/// Of two executions in which identical threads have swapped names one suffices: the one in which, where they
/// first do something different, the later thread has the later choice. (Symmetry reduction as in
/// Kokologiannakis et al., PLDI 2024.)
bool explorer::in_order_of_twins(const graph& in, const action& e, unsigned po, eid choice) const {
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
  const graph& in = g();
  const u16 loc = in[w].loc;
  if (in.needs_others(in.uses(loc), w)) return;
  for (eid r = in.first_at(loc); r < w; r = in[r].next_at) {
    if (!may_revisit(in, r, w) || (in[w].rmw && takes_a_source(r, w))) continue;
    event_set keep;
    if (!removable(r, w, &keep)) continue;
    const event& x = in[r];
    std::unique_ptr<graph> h = pool_.take();
    in.restrict_to(keep, h.get(), &renamed_);
    const eid new_w = renamed_[w];
    const eid new_r = renamed_[r];
    if (x.sums) {
      push_sum_revisits(std::move(h), new_r);
      continue;
    }
    settle((*h)[new_r], new_w, (*h)[new_w].value);
    h->set_source(new_r, new_w);
    const event& source = (*h)[new_w];
    std::optional<extension> past;
    auto push = [&](std::unique_ptr<graph> revisited, outlook o) {
      if (o == outlook::possible) revisited->set_sc(true);
      if (o == outlook::impossible || (o == outlook::open && !judged(*revisited, !past))) {
        pool_.put(std::move(revisited));
        return;
      }
      item it;
      it.kind = item::what::revisit;
      it.read = new_r;
      it.revisited = std::move(revisited);
      remember(std::move(it));
    };
    if (judged_by_extension(in, x) && judged_by_extension(in, source)) {
      const event& read = (*h)[new_r];
      past.emplace(options_.model, *h,
                   std::array{extension::probe{read.thread, read.po, false, read.rmw},
                              extension::probe{source.thread, source.po, true, source.rmw}});
    }
    auto outlook_at = [&](const graph& to, eid next) {
      if (next != NONE && to[next].rmw) return outlook::impossible; // it would lose its source
      if (to.co_before(new_w, oldest_plausible(to, to[new_r], to[new_r].po))) return outlook::impossible;
      return outlook_of(past, next);
    };
    if (source.rmw) {
      const outlook o = outlook_at(*h, source.co_next);
      push(std::move(h), o);
      continue;
    }
    h->displace(new_w);
    for (eid p = oldest_plausible(*h, source, source.po);;) {
      const eid next = h->co_after(loc, p);
      if (in_order_of_twins(*h, source, source.po, p)) {
        h->place(new_w, p);
        const outlook o = outlook_at(*h, next);
        if (next == NONE) {
          push(std::move(h), o);
          break;
        }
        if (o != outlook::impossible) push(pool_.copy(*h), o);
        h->displace(new_w);
      }
      p = next;
      if (p == NONE) break;
    }
    if (h) pool_.put(std::move(h));
  }
}

} // namespace racewalk::explore
