// Counters to which threads only add, and whose results nobody looks at while adding: the additions have no
// order. What a read of such a counter sees is a set of them, of each thread those up to some point; two
// executions that differ only in the order of additions are one.
//
// For the search this is a read with several sources. Its newest choice is to see all additions that are
// there; an addition that comes later may revisit it, together with any others that are kept.
//
// Sound in sc and tso, where a set of reads that is consistent with some order of everything else is
// consistent with some order of the additions. In the weak model the order itself may forbid something: there
// the reduction is given up as soon as an execution is not sequentially consistent.
#include "explore/explorer.h"

namespace racewalk::explore {

/// The value of a counter after these additions.
u64 explorer::sum(const graph& in, u16 loc, const clock& seen) const {
  u64 total = places_[loc].initial;
  for (eid w = in.first_at(loc); w != NONE; w = in[w].next_at)
    if (in[w].adds && in[w].po < seen.upto[in[w].thread]) total += in[w].value;
  const u8 size = places_[loc].size;
  return size >= 8 ? total : total & ((u64{1} << (8 * size)) - 1);
}

/// What the read `r` of a counter sees that was added after it stays when it sees `w` as well, with all that
/// it needs. False if those have to come in another order: a set of additions is reached in one only, that in
/// which of those that need no other the one of the first thread comes next.
bool explorer::keep_sources(eid r, eid w, event_set* keep) const {
  const event& read = g()[r];
  std::vector<eid> left = {w};
  for (eid a = static_cast<eid>(r + 1); a < w; a++) {
    const event& addition = g()[a];
    if (!addition.adds || addition.loc != read.loc || addition.po >= read.u.seen.upto[addition.thread])
      continue;
    left.push_back(a);
    keep->set(a);
    for (eid e = static_cast<eid>(r + 1); e < a; e++)
      if (g().needs(e, a)) keep->set(e);
  }
  while (left.size() > 1) {
    auto next = left.end();
    for (auto a = left.begin(); a != left.end(); ++a) {
      const bool free = std::none_of(left.begin(), left.end(), [&](eid b) { return g().needs(b, *a); });
      if (free && (next == left.end() || g()[*a].thread < g()[*next].thread)) next = a;
    }
    if (*next == w) return false;
    left.erase(next);
  }
  return true;
}

/// Calls f with each set of additions that the read `e` might see: of its own thread all before it, of each
/// other thread those up to any point but what its thread knows to be past, and at least `least`.
template <class F> void explorer::for_each_sum(const graph& in, const action& e, const clock& least, F f) {
  std::array<std::vector<u8>, MAX_THREADS> points;
  const eid last = e.po > 0 ? in.at(e.thread, e.po - 1u) : NONE;
  auto past = [&](eid a) {
    if (last == NONE) return false;
    return a == last || (options_.model == memory_model::weak ? in.known(a, last) : in.precedes(a, last));
  };
  for (unsigned t = 0; t < MAX_THREADS; t++) {
    points[t] = {0};
    for (eid a = in.next_addition(e.loc, t, 0); a != NONE; a = in.next_addition(e.loc, t, in[a].po + 1u)) {
      if (t == e.thread && in[a].po >= e.po) break;
      if (t == e.thread || past(a) || in[a].po < least.upto[t]) points[t].clear();
      points[t].push_back(static_cast<u8>(in[a].po + 1));
    }
  }
  std::array<unsigned, MAX_THREADS> at{};
  for (unsigned t = 0; t < MAX_THREADS;) {
    clock seen;
    for (unsigned i = 0; i < MAX_THREADS; i++)
      seen.upto[i] = points[i][at[i]];
    f(seen);
    for (t = 0; t < MAX_THREADS && ++at[t] == points[t].size(); t++)
      at[t] = 0;
  }
}

void explorer::add_sum(action e) {
  e.u.seen = g().additions(e.loc);
  e.po = static_cast<u16>(g().thread_size(e.thread));
  if (!replaying_) push_other_sums(e);
  e.value = sum(g(), e.loc, e.u.seen);
  check_access(g().append(e));
}

void explorer::push_other_sums(const action& e) {
  const unsigned length = g().size();
  for_each_sum(g(), e, {}, [&](const clock& seen) {
    if (seen.upto == e.u.seen.upto) return;
    item it;
    it.kind = item::what::source;
    it.length = length;
    it.e = e;
    it.e.u.seen = seen;
    it.e.value = sum(g(), e.loc, seen);
    it.judged = true;
    g().append(it.e);
    const bool possible = judged(g());
    it.e.sc = g().sc();
    g().cut(length);
    if (possible) remember(std::move(it));
  });
}

/// The read `r` of a counter, in `h`, sees all additions that came after it, the new one among them, and any
/// of those that came before it.
void explorer::push_sum_revisits(std::unique_ptr<graph> h, eid r) {
  const event read = (*h)[r];
  clock later;
  for (eid a = static_cast<eid>(r + 1); a < h->size(); a++)
    if ((*h)[a].adds && (*h)[a].loc == read.loc) later.include((*h)[a].thread, (*h)[a].po);
  for_each_sum(*h, read, later, [&](const clock& seen) {
    std::unique_ptr<graph> revisited = pool_.copy(*h);
    (*revisited)[r].value = sum(*h, read.loc, seen);
    revisited->set_seen(r, seen);
    if (!judged(*revisited)) {
      pool_.put(std::move(revisited));
      return;
    }
    item it;
    it.kind = item::what::revisit;
    it.read = r;
    it.revisited = std::move(revisited);
    remember(std::move(it));
  });
  pool_.put(std::move(h));
}

} // namespace racewalk::explore
