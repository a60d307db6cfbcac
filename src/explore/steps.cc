// The engine's side of the explorer: what a fibre calls. A step that is in the graph already is replayed; one
// that is private to its thread is done on the spot; any other parks the fibre until the search has added it.
#include <algorithm>
#include <cstring>

#include "explore/explorer.h"
#include "explore/guard.h"
#include "explore/linear.h"

namespace racewalk::explore {

namespace {
/// Thrown by violation() in the property of the final state, which runs on no fibre.
struct final_violation {};

/// Accesses to variables that nobody else uses, between two steps. A loop that waits on one never ends.
constexpr unsigned MAX_QUIET_ACCESSES = 1U << 22;
constexpr unsigned KNOWN_LOOP_ACCESSES = 1U << 14; ///< where one was found before
} // namespace

// ---- fibres ----------------------------------------------------------------------------------------------

void explorer::thread_main(void* arg) {
  thread& t = *static_cast<thread*>(arg);
  if (t.id < t.owner->n_cpus_) {
    t.owner->run_body(t);
    t.owner->must_leave_nothing(t);
    if (!t.held.empty()) t.owner->order_held_locks(); // nobody else will ever get them
    t.own.ended = true;
    cpu_idle();
  } else {
    rcu_callback_thread(t.id - t.owner->n_cpus_);
  }
}

/// An exception ends here: what it unwound is the body's, and nothing of the search's.
void explorer::run_body(thread& t) {
  std::string thrown;
  try {
    program_.threads[t.id]();
    return;
  } catch (const std::exception& e) {
    thrown = std::string("an exception leaves the body: ") + e.what();
  } catch (...) {
    thrown = "an exception leaves the body";
  }
  t.bad_text = thrown;
  std::string().swap(thrown); // the stack is dropped as it is
  violation("EXCEPTION", t.bad_text.c_str(), t.pos > 0 ? g()[g().at(t.id, t.pos - 1u)].where : site{});
}

void explorer::cut_short(mishap what, const char* text, const void* address) {
  if (!running_) return;
  thread& t = *running_;
  t.bad_invariant = what == mishap::fault ? "CRASH" : "INV-LIVE";
  t.bad_text = t.stack.stack().overflown_at(address) ? "its stack overflows" : text;
  t.bad_text += t.pos > 0 ? ", after this step" : ", before its first step";
  t.bad_where = t.pos > 0 ? g()[g().at(t.id, t.pos - 1u)].where : site{};
  if (what == mishap::endless) options_.shrink_executions = 0; // it took seconds to notice: once is enough
  suspend_for_good(status::failed);
}

/// The thread makes its next step, which is in the graph; returns what it reads.
u64 explorer::go_through(thread& t, const event& e) const {
  t.pos++;
  t.seen.push_back(e.value);
  if (e.is_read()) t.last_read = static_cast<u16>(e.po + 1);
  return e.value;
}

void explorer::resume(thread& t) {
  if (t.own.st == status::fresh) t.stack.reset(&thread_main, &t);
  t.own.st = status::ready;
  running_ = &t;
  quiet_accesses_ = 0;
  heartbeat = heartbeat + 1;
  t.stack.resume();
  running_ = nullptr;
}

void explorer::suspend_for_good(status st) {
  running_->own.st = st;
  for (;;)
    running_->stack.suspend();
}

/// What was believed is wrong: the search starts again.
void explorer::learned() {
  restart_wanted_ = true;
  suspend_for_good(status::stuck);
}

u64 explorer::park(const action& e) {
  thread& t = *running_;
  if (t.trial.on) return try_step(e);
  if (!t.held.empty()) order_held_locks();
  t.own.next = e;
  t.own.dep = e.dep == NONE ? u16{0} : static_cast<u16>(g()[e.dep].po + 1);
  t.own.st = status::parked;
  t.stack.suspend();
  const event& added = g()[g().at(t.id, t.pos)]; // by the search
  if (added.blocked) suspend_for_good(status::stuck);
  return go_through(t, added);
}

/// A thread that was run again with the same values does not do the same. Then nothing that was concluded
/// from running it again holds. `before`: the step that it made; null: it had ended.
void explorer::diverge(const thread& t, const event* before, site now) {
  auto place = [](const site& s) {
    return "in " + function_name(s) + (s.line ? " (line " + std::to_string(s.line) + ")" : "");
  };
  result_.reason = "the program is not a function of what it reads: CPU" + std::to_string(t.id) +
                   ", run again with the same values, makes a step " + place(now) + " where it " +
                   (before ? "made another " + place(before->where) : "had ended");
  execution_over_ = true;
}

/// The step in the graph that the thread makes now, or null if it is a new one.
event* explorer::replayed(event_kind kind, u16 loc, site now) {
  thread& t = *running_;
  if (t.pos >= t.upto) return nullptr;
  event& e = g()[g().at(t.id, t.pos)];
  if (e.kind != kind || e.loc != loc) {
    diverge(t, &e, now);
    suspend_for_good(status::stuck);
  }
  if (e.blocked) suspend_for_good(status::stuck);
  go_through(t, e);
  return &e;
}

event* explorer::replayed_write(u16 loc, u64 value, site now) {
  event* const e = replayed(event_kind::write, loc, now);
  if (e && e->value != value) {
    diverge(*running_, e, now);
    suspend_for_good(status::stuck);
  }
  return e;
}

action explorer::new_action(event_kind kind, site where) const {
  action e;
  e.kind = kind;
  e.thread = static_cast<u8>(running_->id);
  e.where = where;
  return e;
}

action explorer::new_action(event_kind kind, const access& a, u16 loc) const {
  action e = new_action(kind, a.where);
  e.loc = loc;
  e.ord = a.ord;
  e.is_plain = a.is_plain;
  e.lock = places_[loc].lock;
  if (a.dep.event) e.dep = g().at(running_->id, a.dep.event - 1u);
  return e;
}

/// A step that has no choices and no location of its own to collide on.
void explorer::add_plain_step(const action& e) {
  if (!replayed(e.kind, e.loc, e.where)) park(e);
}

// ---- private variables -----------------------------------------------------------------------------------

bool explorer::is_private(u16 loc, const access& a, bool writes) {
  if (may_be_unordered(loc)) { // not taken or released, but looked at
    places_[loc].ordered = true;
    learned();
  }
  places_[loc].plain |= a.is_plain;
  if (places_[loc].shared) return false;
  if (++quiet_accesses_ > (places_[loc].looped_on ? KNOWN_LOOP_ACCESSES : MAX_QUIET_ACCESSES)) {
    places_[loc].looped_on = true;
    loop_without_end(a.where);
  }
  bool changes = places_.note_use(loc, running_->id, writes);
  // An interrupt comes before or after what its handler sees, too.
  if (running_->state.in_handler && !places_[loc].handled) changes = places_[loc].handled = true;
  // What an acquire or a release orders, it orders on a private variable too. (So it does in sc and tso,
  // where program order says the same.)
  const bool ordering = a.ord == order::acquire || a.ord == order::release;
  if (ordering && options_.model == memory_model::weak) changes |= places_.share(loc);
  if (changes) learned();
  return true;
}

u64 explorer::private_value(u16 loc) const { return running_->values.get(loc, places_[loc].initial); }

/// What depends on a read that is no event depends on what that one does, and on nothing read before it.
u64 explorer::private_read(u16 loc, const access& a) {
  running_->last_read = a.dep.event;
  return private_value(loc);
}

void explorer::note_change(u16 loc, bool adds) {
  if (places_.note_change(loc, adds) && commuting_) learned();
}

void explorer::order_held_locks() {
  for (u16 loc : running_->held)
    places_[loc].ordered = true;
  learned();
}

/// Takes a lock whose order does not matter, as far as is known: that is no event.
bool explorer::takes_unordered(u16 loc, const rmw_op& op) {
  location& l = places_[loc];
  u64 ignored = 0;
  const bool looked_at = (l.readers | l.writers) != 0;
  const bool taken_before = l.lock;
  l.lock = true;
  if (!may_be_unordered(loc)) return false;
  if (looked_at || !apply(op, l.size, l.initial, &ignored)) {
    l.ordered = true;
    if (taken_before) learned(); // without an order
    return false;
  }
  if (!running_->held.empty()) order_held_locks(); // locks inside of locks have an order
  return true;
}

bool explorer::releases_unordered(u16 loc) {
  std::vector<u16>& held = running_->held;
  const auto lock = std::find(held.begin(), held.end(), loc);
  if (lock == held.end()) return false;
  held.erase(lock);
  return true;
}

/// A locked instruction is a fence even on a variable that nobody else sees.
void explorer::private_rmw_fence(const access& a, bool done) {
  if (options_.model == memory_model::tso ||
      (options_.model == memory_model::weak && done && a.ord == order::full))
    fence(fence_kind::mb, a.where);
}

u64 explorer::final_value(u16 loc) const {
  const location& l = places_[loc];
  if (counts(loc)) return sum(g(), loc, g().additions(loc));
  if (l.shared) return value_of(loc, g().co_last(loc));
  for (const thread& t : threads_)
    if (l.writers >> t.id & 1) return t.values.get(loc, l.initial);
  return l.initial;
}

// ---- accesses --------------------------------------------------------------------------------------------

bool explorer::noticed(const access& a) {
  const location& l = places_[places_.at(a.addr, a.size)];
  return l.shared || l.handled;
}

bool explorer::noticed(domain d) {
  return running_->id < n_cpus_ && places_.sections_matter(running_->id, d);
}

u64 explorer::read(const access& a) {
  const u16 loc = places_.at(a.addr, a.size);
  if (final_state_) return final_value(loc);
  running_->round.reads = true;
  if (is_private(loc, a, false)) return private_read(loc, a);
  if (event* e = replayed(event_kind::read, loc, a.where)) return e->value;
  action r = new_action(event_kind::read, a, loc);
  r.sums = counts(loc);
  return park(r);
}

void explorer::write(const access& a, u64 value) {
  if (final_state_) violation("SCENARIO", "the property of the final state writes to shared memory", a.where);
  running_->round.writes = true;
  const u16 loc = places_.at(a.addr, a.size);
  if (releases_unordered(loc)) return;
  note_change(loc, false);
  if (is_private(loc, a, true)) {
    running_->values.set(loc, value);
    return;
  }
  if (replayed_write(loc, value, a.where)) return;
  action e = new_action(event_kind::write, a, loc);
  e.value = value;
  park(e);
}

rmw_result explorer::rmw(const access& a, const rmw_op& op) {
  if (final_state_) violation("SCENARIO", "the property of the final state writes to shared memory", a.where);
  running_->round.reads = true;
  const u16 loc = places_.at(a.addr, a.size);
  u64 now = 0;
  if (releases_unordered(loc)) {
    running_->round.writes = true;
    private_rmw_fence(a, true);
    return {0, true};
  }
  const bool adds = op.blind && op.kind == rmw_kind::add;
  note_change(loc, adds);
  if (is_private(loc, a, true)) {
    const u64 old = private_value(loc);
    const bool done = apply(op, a.size, old, &now);
    running_->round.writes |= done;
    if (done) running_->values.set(loc, now);
    private_rmw_fence(a, done);
    return {old, done};
  }
  if (adds && counts(loc)) {
    running_->round.writes = true;
    action w = new_action(event_kind::write, a, loc);
    w.adds = true;
    w.value = op.a;
    add_plain_step(w);
    return {0, true};
  }
  u64 old;
  if (event* e = replayed(event_kind::read, loc, a.where)) {
    old = e->value;
  } else {
    action r = new_action(event_kind::read, a, loc);
    r.rmw = true;
    r.u.op = op;
    old = park(r);
  }
  const bool done = apply(op, a.size, old, &now);
  running_->round.writes |= done;
  if (done && !replayed_write(loc, now, a.where)) { // a revisit made the read: its write half comes now
    action w = new_action(event_kind::write, a, loc);
    w.rmw = true;
    w.value = now;
    park(w);
  }
  return {old, done};
}

u64 explorer::await(const access& a, const wait_condition& until) {
  running_->round.reads = true;
  const u16 loc = places_.at(a.addr, a.size);
  note_change(loc, false);
  action e = new_action(event_kind::read, a, loc);
  e.await = true;
  e.u.until = until;
  // Nobody else writes a private variable: if the wait is not over it never will be.
  access relaxed = a;
  if (!places_[loc].shared) relaxed.ord = order::relaxed;
  if (is_private(loc, relaxed, false)) {
    const u64 v = private_value(loc);
    return until.met_by(v) ? v : park(e);
  }
  if (event* done = replayed(event_kind::read, loc, a.where)) return done->value;
  return park(e);
}

rmw_result explorer::await_rmw(const access& a, const rmw_op& op) {
  running_->round.writes = true;
  const u16 loc = places_.at(a.addr, a.size);
  if (takes_unordered(loc, op)) {
    private_rmw_fence(a, true);
    running_->held.push_back(loc);
    return {places_[loc].initial, true};
  }
  note_change(loc, false);
  action e = new_action(event_kind::read, a, loc);
  e.rmw = true;
  e.await = true;
  e.u.op = op;
  u64 now = 0;
  if (is_private(loc, a, true)) {
    const u64 old = private_value(loc);
    if (!apply(op, a.size, old, &now)) park(e);
    running_->values.set(loc, now);
    private_rmw_fence(a, true);
    return {old, true};
  }
  u64 old;
  if (event* done = replayed(event_kind::read, loc, a.where))
    old = done->value;
  else
    old = park(e);
  apply(op, a.size, old, &now);
  if (!replayed_write(loc, now, a.where)) {
    action w = new_action(event_kind::write, a, loc);
    w.rmw = true;
    w.value = now;
    park(w);
  }
  return {old, true};
}

void explorer::fence(fence_kind kind, site where) {
  if (options_.model == memory_model::sc || final_state_) return;
  if (options_.model == memory_model::tso && kind != fence_kind::mb) return;
  const thread& t = *running_;
  if (t.pos > 0) { // a full fence directly after a full fence adds nothing
    const event& before = g()[g().at(t.id, t.pos - 1u)];
    if (before.kind == event_kind::fence && before.fence == fence_kind::mb) return;
  }
  action e = new_action(event_kind::fence, where);
  e.fence = kind;
  add_plain_step(e);
}

// ---- sections and quiescence ------------------------------------------------------------------------------

void explorer::section_begin(domain d, site where) {
  thread& t = *running_;
  if (t.id >= n_cpus_) return;
  if (places_.note_section(t.id, d)) learned();
  if (!places_.sections_matter(t.id, d)) return;
  action e = new_action(event_kind::section_begin, where);
  e.dom = d;
  e.loc = places_.sections(t.id, d);
  add_plain_step(e);
}

void explorer::section_end(domain d, site where) {
  thread& t = *running_;
  if (t.id >= n_cpus_ || !places_.sections_matter(t.id, d)) return;
  t.round.ended |= static_cast<u8>(1U << static_cast<unsigned>(d));
  const u16 loc = places_.sections(t.id, d);
  if (t.pos < t.upto && g()[g().at(t.id, t.pos)].never_leaves()) suspend_for_good(status::stuck);
  if (replayed(event_kind::write, loc, where)) return;
  action e = new_action(event_kind::write, where);
  e.loc = loc;
  e.dom = d;
  e.section_end = true;
  const eid last = g().co_last(loc);
  e.value = last == INIT ? 1 : g()[last].value + 1;
  park(e);
}

void explorer::quiesce(domain d, cpumask_bits mask, const tlb_range* range, site where) {
  thread& t = *running_;
  t.round.writes = true;
  bool changes = false;
  cpumask_bits sectioned = 0;
  for (unsigned cpu = 0; cpu < n_cpus_; cpu++) {
    if (!(mask >> cpu & 1) || cpu == t.id) continue;
    changes |= places_.note_wait(cpu, d);
    if (places_.sections_matter(cpu, d)) sectioned |= u64{1} << cpu;
  }
  if (changes) learned();
  if (!sectioned) {
    fence(fence_kind::mb, where);
    return;
  }
  action e = new_action(event_kind::quiesce, where);
  e.dom = d;
  if (range) {
    e.has_range = true;
    e.u.range = *range;
  }
  const u16 start = static_cast<u16>(t.pos);
  add_plain_step(e);
  for (unsigned cpu = 0; cpu < n_cpus_; cpu++) {
    if (!(sectioned >> cpu & 1)) continue;
    e.kind = event_kind::read;
    e.counts_sections = true;
    e.counted = static_cast<u8>(cpu);
    e.quiesce_po = start;
    e.loc = places_.sections(cpu, d);
    add_plain_step(e);
  }
}

void explorer::callbacks_wanted(site where) {
  if (n_threads_ > n_cpus_) return;
  if (2 * n_cpus_ > MAX_THREADS)
    violation("SCENARIO", "too many CPUs: each one needs a second thread for its RCU callbacks", where);
  n_threads_ = 2 * n_cpus_;
  learned();
}

// ---- the MMU, memory, reports ----------------------------------------------------------------------------

u64 explorer::translation_read(const access& a, const translation& t) {
  running_->round.reads = true;
  const u16 loc = places_.at(a.addr, a.size);
  note_change(loc, false);
  // Hardware may have read it earlier: what the CPU itself has written since, it need not see.
  if (places_.note_use(loc, locations::HARDWARE, false)) learned();
  if (is_private(loc, a, false)) return private_read(loc, a);
  if (event* e = replayed(event_kind::translation, loc, a.where)) return e->value;
  action e = new_action(event_kind::translation, a, loc);
  e.u.tr = t;
  return park(e);
}

void explorer::invalidate(const tlb_range& range, site where) {
  running_->round.writes = true;
  action e = new_action(event_kind::invalidate, where);
  e.u.range = range;
  e.has_range = true;
  add_plain_step(e);
}

void explorer::free_object(const void* p, std::size_t bytes, site where) {
  running_->round.writes = true;
  if (places_.note_free(p, bytes, running_->id)) learned();
  action e = new_action(event_kind::free_object, where);
  e.u.freed.object = p;
  e.u.freed.bytes = bytes;
  add_plain_step(e);
}

void explorer::violation(const char* invariant, const char* text, site where) {
  if (final_state_) {
    fail(invariant, text, where, MAX_THREADS);
    throw final_violation{};
  }
  running_->bad_invariant = invariant;
  running_->bad_text = text;
  running_->bad_where = where;
  suspend_for_good(status::failed);
}

void explorer::complete() {
  if ((program_.finally || options_.on_execution) && !run_to_their_places()) return;
  result_.executions++;
  if (options_.fingerprint) result_.fingerprint += fingerprint_of(g());
  if (options_.on_execution) options_.on_execution(g());
  if (result_.executions <= options_.rerun_executions) run_again();
  if (!program_.finally || execution_over_) return;
  guarded_section property(" in the property of the final state");
  final_state_ = true;
  try {
    program_.finally();
  } catch (const final_violation&) { // recorded by violation()
  } catch (const std::exception& e) {
    fail("EXCEPTION", std::string("an exception leaves the property: ") + e.what(), site{}, MAX_THREADS);
  }
  final_state_ = false;
}

/// Runs each thread through the complete execution once more.
void explorer::run_again() {
  for (unsigned i = 0; i < n_threads_ && !execution_over_; i++) {
    thread& t = threads_[i];
    start_over(t);
    run(t, g().thread_size(i));
    if (execution_over_ || restart_wanted_) return;
    if (t.own.st == status::failed || !t.state.idle)
      diverge(t, nullptr, t.own.st == status::failed ? t.bad_where : t.own.next.where);
  }
}

dep_t explorer::last_read() { return {running_ ? running_->last_read : u16{0}}; }

/// The id is a hash of the bytes, so that it is the same in every process.
u64 explorer::intern(const void* bytes, std::size_t n) {
  const auto* b = static_cast<const std::byte*>(bytes);
  u64 id = 0xcbf29ce484222325; // FNV-1a
  for (std::size_t i = 0; i < n; i++)
    id = (id ^ static_cast<u64>(b[i])) * 0x100000001b3;
  for (const payload& p : interned_)
    if (p.id == id) return id;
  interned_.push_back({id, {b, b + n}});
  return id;
}

const void* explorer::interned(u64 id) {
  for (const payload& p : interned_)
    if (p.id == id) return p.bytes.data();
  return nullptr;
}

} // namespace racewalk::explore
