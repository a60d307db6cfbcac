#include "explore/halts.h"

#include "explore/explorer.h"

namespace racewalk::explore {

/// Where the thread halts after its first `n` events in the graph; null if that has not been looked up.
halt* explorer::halt_after(const thread& t, unsigned n) const {
  return n > 0 ? g()[g().at(t.id, n - 1)].then : halts_.start(t.id);
}

/// Where the thread halts after its events in the graph.
const halt* explorer::where_it_halts(thread& t) {
  // In a sample or a replay a loop goes on when something has been overwritten, which is nothing that it
  // reads. Once locks are known to be taken in a circle, each execution may be the shortest to tell about it.
  const unsigned size = g().thread_size(t.id);
  if (replaying_ || lock_failure_) {
    if (!replaying_ && !keeps_up(t)) start_over(t);
    run(t, size);
    return &t.own;
  }
  graph& in = g();
  unsigned n = size; // events after which it is known
  halt* known = nullptr;
  for (; n > 0 && !(known = in[in.at(t.id, n - 1)].then); n--) {
  }
  if (n == 0) known = halts_.start(t.id);
  for (; known && n < size; n++) {
    event& e = in[in.at(t.id, n)];
    known = e.then = halts::after(known, e.value);
  }
  return known ? known : find_out(t, n);
}

/// Finds out by running the fibre; it is not known where the thread halts after its first `from` events,
/// either.
const halt* explorer::find_out(thread& t, unsigned from) {
  const unsigned size = g().thread_size(t.id);
  if (!keeps_up(t) || t.pos > from) start_over(t);
  const halt* found = nullptr;
  for (unsigned n = from; n <= size; n++) {
    run(t, n);
    if (t.own.st == status::failed || restart_wanted_ || execution_over_) return &t.own;
    if (n == 0) {
      found = halts_.add(t.id, nullptr, 0, t.own);
      continue;
    }
    event& e = g()[g().at(t.id, n - 1)];
    found = e.then = halts_.add(t.id, halt_after(t, n - 1), e.value, t.own);
  }
  return found;
}

/// Nothing is known any more.
void explorer::forget_halts() {
  halts_.clear();
  for (frame& f : frames_) {
    f.g->forget_halts();
    for (item& it : f.items)
      if (it.revisited) it.revisited->forget_halts();
  }
}

/// The step that the thread wants to add.
action explorer::wanted(const thread& t) const {
  action s = t.at->next;
  if (t.at->dep) s.dep = g().at(t.id, t.at->dep - 1u);
  return s;
}

// ---- the fibres of threads --------------------------------------------------------------------------------

void explorer::start_over(thread& t) {
  t.own = {};
  t.pos = 0;
  t.seen.clear();
  t.last_read = 0;
  t.state = {};
  t.state.thread = t.id;
  t.state.cpu = t.id;
  t.values.clear();
  t.held.clear();
  t.locks.clear();
  t.round = {};
}

/// Is the fibre on the way to where its thread is in the graph? It is if it has read the same so far: then
/// only what it is about to do may be in the graph already, or not yet.
bool explorer::keeps_up(const thread& t) const {
  const unsigned size = g().thread_size(t.id);
  if (t.own.st != status::parked || t.pos > size) return false;
  for (unsigned po = 0; po < t.pos; po++)
    if (g()[g().at(t.id, po)].value != t.seen[po]) return false;
  if (t.pos == size) return true;
  const event& e = g()[g().at(t.id, t.pos)];
  const action& next = t.own.next;
  return e.kind == next.kind && e.loc == next.loc && (!e.is_write() || e.value == next.value);
}

/// Runs the fibre through the first `upto` events of its thread, and on until it halts.
void explorer::run(thread& t, unsigned upto) {
  t.upto = upto;
  if (t.own.st == status::parked && t.pos < upto) t.own.st = status::ready;
  while (t.own.st == status::fresh || t.own.st == status::ready)
    resume(t);
  t.own.idle = t.state.idle && (t.id >= n_cpus_ || t.own.ended);
  t.own.for_ever = t.own.st == status::parked && t.own.next.await && !places_[t.own.next.loc].shared;
  t.own.request = next_request(t.state);
  t.own.round_begin = static_cast<u16>(t.round.begin);
  t.own.round_ended = t.round.ended;
}

/// Lets each fibre do what its thread has done in the graph: what bodies write beside that, for the property,
/// is then as in this execution. False if that cannot be.
bool explorer::run_to_their_places() {
  for (unsigned i = 0; i < n_threads_ && !execution_over_ && !replaying_; i++) {
    thread& t = threads_[i];
    if (!keeps_up(t)) start_over(t);
    run(t, g().thread_size(i));
    if (t.own.st == status::failed) diverge(t, nullptr, t.bad_where);
    if (restart_wanted_) return false;
  }
  return !execution_over_;
}

} // namespace racewalk::explore
