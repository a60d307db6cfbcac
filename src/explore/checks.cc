// What is checked in every execution without the scenario asking: memory that is used after it was freed,
// data races on plain variables, threads that wait for each other for ever, locks and sections that are left
// open.
#include <algorithm>

#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {

namespace {
bool inside(const event& free, const void* addr) {
  const auto* p = static_cast<const char*>(addr);
  const auto* begin = static_cast<const char*>(free.u.freed.object);
  return p >= begin && p < begin + free.u.freed.bytes;
}
} // namespace

/// Records the failure of the current graph; the search goes on for a while to find a shorter one.
void explorer::fail(const char* invariant, std::string text, site where, unsigned thread_id, eid loss,
                    eid after) {
  execution_over_ = true;
  if (visit_in_full()) return; // a counterexample is told with every step in its place
  const u64 done = result_.executions + result_.blocked;
  if (result_.failures.empty()) shrink_until_ = done + options_.shrink_executions;
  event_set told;
  for (eid e = 0; e < g().size(); e++)
    if (!g()[e].gives_up()) told.set(e);
  failure f{{}, invariant, std::move(text), where, thread_id};
  g().restrict_to(told, &f.execution, &renamed_);
  f.loss = loss == NONE ? NONE : renamed_[loss];
  f.after = after == NONE ? NONE : renamed_[after];
  if (result_.failures.empty()) {
    result_.failures.push_back(std::move(f));
    return;
  }
  failure& best = result_.failures.front();
  if (best.invariant == f.invariant && length_of(f.execution) < length_of(best.execution))
    best = std::move(f);
}

namespace {

/// Which events are performed before the last one of a thread? As performed_before, but looks at the clocks
/// first: what comes causally before is ordered in sc and tso, and what a thread knows of is before its reads
/// in the weak model.
class ordered_before {
 public:
  ordered_before(memory_model m, const graph& g, eid last) : model_(m), g_(g), last_(last) {
    const event& e = g[last];
    if (m != memory_model::weak)
      clock_ = &e.past;
    else if (const eid before = last_before(e); before != NONE)
      clock_ = &g[before].known;
  }
  /// Do the clocks say so? `e`: of another thread.
  bool for_certain(const event& e) const { return clock_ && e.po < clock_->upto[e.thread]; }
  /// ... of all these, but for those of the thread itself?
  bool for_certain(const clock& events) const { return clock_ && clock_->covers(events, g_[last_].thread); }
  /// `a`: of another thread.
  bool has(eid a) {
    if (for_certain(g_[a])) return true;
    if (!all_) all_.emplace(model_, g_, last_);
    return all_->has(a);
  }

 private:
  /// The last event of the thread so that `e` comes after what is known there. A read barrier lets later
  /// reads know something, and only them.
  eid last_before(const event& e) const {
    for (unsigned po = e.po; po-- > 0;) {
      const eid id = g_.at(e.thread, po);
      const event& b = g_[id];
      if (e.is_read() || b.is_full_fence() || (b.is_read() && b.ord == order::acquire)) return id;
    }
    return NONE;
  }

  memory_model model_;
  const graph& g_;
  eid last_;
  const clock* clock_ = nullptr;
  std::optional<performed_before> all_;
};

} // namespace

/// Is it an access to memory that has been freed?
void explorer::check_use(eid id) {
  const event& a = g()[id];
  if (a.counts_sections || a.section_end) return;
  for (eid f = 0; f < g().size(); f++) {
    if (g()[f].kind != event_kind::free_object || !inside(g()[f], places_[a.loc].addr)) continue;
    if (performed_before(options_.model, g(), f).has(id)) continue;
    if (!happens()) return;
    result_.executions++;
    fail("INV-UAF", "the memory it uses has been freed", a.where, a.thread, id, f);
    return;
  }
}

void explorer::check_free(eid id) {
  const event f = g()[id];
  ordered_before before(options_.model, g(), id);
  for (eid a = 0; a < id; a++) {
    const event& e = g()[a];
    if (before.for_certain(e) && e.kind != event_kind::free_object) continue;
    if (e.kind == event_kind::free_object && e.u.freed.object == f.u.freed.object) {
      if (!happens()) return;
      result_.executions++;
      fail("INV-UAF", "the memory is freed twice", f.where, f.thread, id, a);
      return;
    }
    if (!(e.is_read() || e.is_write()) || e.thread == f.thread || e.counts_sections || e.section_end ||
        !inside(f, places_[e.loc].addr))
      continue;
    if (before.has(a)) continue;
    if (!happens()) return;
    result_.executions++;
    fail("INV-UAF", "the memory it uses has been freed", e.where, e.thread, a, id);
    return;
  }
}

/// Does an access to a plain variable race with another one?
void explorer::check_race(eid id) {
  const graph& in = g();
  const event& e = in[id];
  ordered_before before(options_.model, in, id);
  if (before.for_certain(in.uses(e.loc))) return;
  for (eid o = in.first_at(e.loc); o != NONE; o = in[o].next_at) {
    const event& x = in[o];
    if (x.thread == e.thread || before.for_certain(x)) continue;
    if (!(x.is_plain || e.is_plain) || !(x.is_read() || x.is_write()) || !(x.is_write() || e.is_write()))
      continue;
    if (before.has(o) || performed_before(options_.model, g(), o).has(id)) continue;
    if (!happens()) return;
    result_.executions++;
    fail("DATA-RACE", "two threads use the same plain variable, one writes it, and nothing orders them",
         e.where, e.thread, id, o);
    return;
  }
}

/// `lock p.ptl`
std::string explorer::lock_in_words(const void* lock) const {
  return program_.name ? "lock " + program_.name(lock) : "a lock";
}

/// ` waits for lock p.ptl`
std::string explorer::wait_in_words(const action& e) const {
  if (e.counts_sections) return " waits for a section to end";
  if (!program_.name) return " waits for a value";
  const void* const addr = places_[e.loc].addr;
  return " waits for " + (e.lock ? lock_in_words(addr) : program_.name(addr));
}

/// A body has come to its end: what it took is given back. (Nothing of this function's is on the heap when
/// the fibre is dropped.)
void explorer::must_leave_nothing(thread& t) {
  site since;
  if (!t.locks.empty()) {
    since = t.locks.front().where;
    t.bad_text = "the body ends with " + lock_in_words(t.locks.front().lock) + " held, which it took in ";
  } else if (t.state.irq_depth != 0) {
    since = t.state.irqs_off_at;
    t.bad_text = "the body ends with interrupts off, since ";
  } else if (t.state.rcu_depth != 0) {
    since = t.state.rcu_begun_at;
    t.bad_text = "the body ends in an RCU read-side section, which it began in ";
  } else {
    return;
  }
  t.bad_text += place_name(since);
  violation("INV-BALANCE", t.bad_text.c_str(), since);
}

void explorer::report_deadlock() {
  if (!happens()) return;
  std::string who;
  site where = RW_HERE;
  unsigned last = 0;
  for (unsigned i = 0; i < n_threads_; i++) {
    const thread& t = threads_[i];
    if (t.idle()) continue;
    const bool spins = t.at->spins;
    const action& e = t.at->st == status::stuck && !spins ? g()[g().last(i)] : t.at->next;
    where = spins ? t.at->spins_at : e.where;
    who += who.empty() ? "" : "; ";
    who += thread_name(i, n_cpus_) +
           (spins ? " goes round without end, on what does not change any more," : wait_in_words(e)) +
           " in " + place_name(where);
    last = i;
  }
  fail("INV-LIVE", "nothing can go on: " + who, where, last);
}

// ---- the order of locks, over all executions --------------------------------------------------------------

void explorer::takes_lock(const void* lock, hold as, bool waits, site where) {
  thread& t = *running_;
  const lock_order::taken taken{lock, where, -1, as};
  if (waits) {
    for (const lock_order::taken& held : t.locks)
      note_lock_edge({held, taken, t.id}, g());
    if (t.state.irq_depth && !t.state.in_handler)
      note_lock_edge({{&irqs_off_[t.id], t.state.irqs_off_at, static_cast<int>(t.id)}, taken, t.id}, g());
  }
  if ((t.state.in_handler && waits) || t.state.irq_depth == 0)
    note_lock_use({taken, t.state.in_handler, t.id}, g());
  t.locks.push_back(taken);
}

void explorer::waits_for_interrupts(cpumask_bits mask, site where) {
  const thread& t = *running_;
  for (unsigned cpu = 0; cpu < n_cpus_; cpu++)
    if (mask >> cpu & 1)
      for (const lock_order::taken& held : t.locks)
        note_lock_edge({held, {&irqs_off_[cpu], where, static_cast<int>(cpu)}, t.id}, g());
}

void explorer::drops_lock(const void* lock) {
  auto& locks = running_->locks;
  const auto held = std::find_if(locks.rbegin(), locks.rend(), [&](const auto& l) { return l.lock == lock; });
  if (held != locks.rend()) locks.erase(held.base() - 1);
}

hold explorer::has_lock(const void* lock) const {
  const auto& locks = running_->locks;
  const auto held = std::find_if(locks.begin(), locks.end(), [&](const auto& l) { return l.lock == lock; });
  return held == locks.end() ? hold::none : held->as;
}

void explorer::note_lock_edge(const lock_order::edge& e, const graph& in) {
  if (const lock_order::edge* closing = lock_order_.note(e.first, e.second, e.thread, in))
    remember_lock_failure(in, lock_order_.cycle_of(*closing, n_cpus_, program_.name), e.second.where,
                          e.thread);
}

void explorer::note_lock_use(const lock_order::use& u, const graph& in) {
  if (std::string text = lock_order_.note_use(u.lock, u.in_handler, u.thread, in, program_.name);
      !text.empty())
    remember_lock_failure(in, std::move(text), u.lock.where, u.thread);
}

/// Remembers the shortest execution. It is no loss in itself, so the search goes on: an execution that does
/// deadlock says more.
void explorer::remember_lock_failure(const graph& in, std::string text, site where, unsigned id) {
  if (!lock_failure_ || in.size() < lock_failure_->execution.size())
    lock_failure_ = failure{in, "INV-LOCKDEP", std::move(text), where, id};
}

void explorer::report_lock_order() {
  if (result_.failures.empty() && lock_failure_) result_.failures.push_back(std::move(*lock_failure_));
}

} // namespace racewalk::explore
