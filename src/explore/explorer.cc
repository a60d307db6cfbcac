#include "explore/explorer.h"

#include <algorithm>
#include <utility>

#include "explore/linear.h"
#include "explore/switches.h"

namespace racewalk::explore {

namespace {
constexpr std::size_t BAD_TEXT = 200; // bytes; what a signal handler says of a body is shorter
}

explorer::explorer(const program& p, search_options options)
    : program_(p), options_(std::move(options)), n_cpus_(static_cast<unsigned>(p.threads.size())),
      n_threads_(n_cpus_), unordered_locks_(options_.unordered_locks), commuting_(options_.commuting) {
  for (unsigned i = 0; i < MAX_THREADS; i++) {
    threads_[i].id = i;
    threads_[i].owner = this;
    if (options_.helpers || options_.assist_over) (void)threads_[i].stack.stack().top(); // at the same place
    threads_[i].bad_text.reserve(BAD_TEXT);
    twins_[i] = static_cast<std::int8_t>(options_.symmetry && i < p.twins.size() ? p.twins[i] : -1);
  }
  options_.hardware.sections_may_end = true;
  if (options_.random) unordered_locks_ = commuting_ = false; // they save nothing there
  symmetry_ = std::any_of(twins_.begin(), twins_.end(), [](int twin) { return twin >= 0; });
}

explorer::~explorer() = default;

outcome explorer::run() {
  {
    engine_scope running(this);
    if (options_.assist_over) assist(*options_.assist_over);
    do {
      restart_search();
      options_.random ? sample() : search();
    } while (restart_wanted_);
  }
  report_lock_order();
  if (result_.reason.empty()) result_.reason = bounds_that_cut();
  if (!result_.failures.empty()) {
    result_.verdict = verdict::violation;
  } else {
    if (result_.reason.empty() && result_.executions == 0) result_.reason = "no execution came to its end";
    result_.verdict = result_.reason.empty() ? verdict::safe : verdict::inconclusive;
  }
  return std::move(result_);
}

/// What was not visited, and what was; empty: everything.
std::string explorer::bounds_that_cut() const {
  const std::string all = ": all executions that take no more were visited (";
  const auto left_out = [](u64 n) {
    return " in all); " + counted(n, "choice") + (n == 1 ? " was" : " were") + " not followed";
  };
  const std::string visited = std::to_string(result_.executions);
  std::string text;
  if (cut_.departures > 0)
    text = "the bound of " + counted(*options_.departures, "departure") + " from the newest choice" + all +
           visited + left_out(cut_.departures);
  if (cut_.switches > 0)
    text += (text.empty() ? "" : "; ") + ("the bound of " + counted(*options_.switches, "context switch")) +
            all + "among " + visited + left_out(cut_.switches);
  return text;
}

void explorer::restart_search() {
  restart_wanted_ = false;
  execution_over_ = false;
  pool_ = {}; // they may have twins, and the new search none
  frames_.clear();
  frames_.push_back({std::make_unique<graph>(), {}, 0});
  if (symmetry_) g().set_twins(twins_);
  g().set_weak(options_.model == memory_model::weak);
  halts_.clear();
  for (thread& t : threads_) {
    start_over(t);
    t.at = nullptr;
  }
  owed_ = NONE;
  shrink_until_ = 0;
  lock_failure_.reset();
  lock_order_.forget_executions();
  ask_for_workers_at_ = options_.split_after;
  cut_ = {};
  result_ = {};
}

void explorer::search() {
  do {
    run_forward();
    if (options_.helpers && !layout_ && !restart_wanted_) layout_ = layout();
    if (hands more = hands_to_split_over(); more.workers + more.helpers.size() > 0 && split(std::move(more)))
      return;
  } while (!restart_wanted_ && !cut_off() && take_next_item());
}

/// Has a bound been reached?
bool explorer::cut_off() {
  const u64 done = result_.executions + result_.blocked;
  const bool stopped = options_.stop && options_.stop->load(std::memory_order_relaxed);
  if (options_.report && done % 4096 == 0) options_.report({result_.executions, result_.blocked, g().size()});
  if (!result_.failures.empty()) return done >= shrink_until_ || stopped;
  if (stopped) result_.reason = "stopped";
  const u64 of_all = link_ ? link_->total() : done;
  if (options_.max_executions && of_all >= options_.max_executions && !frames_.back().items.empty())
    result_.reason = "the bound of " + counted(options_.max_executions, "execution") + " was reached";
  return !result_.reason.empty();
}

// ---- choices ---------------------------------------------------------------------------------------------

bool explorer::take_next_item() {
  for (;;) {
    if (frames_.back().items.empty()) {
      if (frames_.size() == 1) return false;
      pool_.put(std::move(frames_.back().g));
      frames_.pop_back();
      continue;
    }
    item it = std::move(frames_.back().items.back());
    frames_.back().items.pop_back();
    if (take(it)) return true;
  }
}

/// Makes the choice; false if it leads to no consistent graph.
bool explorer::take(item& it) {
  if (!make_choice(it)) return false;
  if (halts_.full()) forget_halts();
  for (unsigned i = 0; i < n_threads_; i++)
    threads_[i].at = nullptr;
  return true;
}

bool explorer::make_choice(item& it) {
  execution_over_ = false;
  owed_ = NONE;
  if (it.kind == item::what::revisit) {
    frames_.push_back({std::move(it.revisited), {}, it.departures});
    if (takes_too_many_switches()) return false;
    if (g()[it.read].rmw && g()[it.read].succeeds) owed_ = it.read;
    check_access(it.read);
    if (g()[it.read].counts_sections) // what did not happen while the section was open may happen now
      for (eid e = 0; e < g().size() && !execution_over_; e++)
        if (g()[e].is_read() || g()[e].is_write()) check_access(e);
    return true;
  }
  frames_.back().departures = it.departures;
  g().cut(it.length);
  const bool may_be_sc = it.may_be_sc && may_be_sc_with_more();
  if (it.kind == item::what::place) {
    const eid w = g().append(it.e);
    g().place(w, it.choice);
    if (takes_too_many_switches() || (!it.judged && !judged(g(), may_be_sc))) return false;
    check_access(w);
    return true;
  }
  if (!it.e.sums) settle(it.e, it.choice);
  const eid r = g().append(it.e);
  if (takes_too_many_switches() || (!it.judged && !judged(g(), may_be_sc))) return false;
  check_access(r);
  if (execution_over_ || !it.e.rmw || !it.e.succeeds) return true;
  return add_write_half(r);
}

/// Keeps a choice for later, unless it would be one departure too many.
void explorer::remember(item&& it) {
  it.departures = frames_.back().departures + 1;
  if (!options_.departures || it.departures <= *options_.departures) {
    frames_.back().items.push_back(std::move(it));
    return;
  }
  cut_.departures++;
  if (it.revisited) pool_.put(std::move(it.revisited));
}

/// Keeps for later that the read `e` is added after the first `length` events, with this source.
void explorer::remember_source(const action& e, unsigned length, eid source, bool judged, bool may_be_sc) {
  item it;
  it.kind = item::what::source;
  it.length = length;
  it.e = e;
  it.choice = source;
  it.judged = judged;
  it.may_be_sc = may_be_sc;
  remember(std::move(it));
}

/// Is the choice just made in no execution that keeps to the bound?
bool explorer::takes_too_many_switches() {
  if (!options_.switches) return false;
  const bool one_memory = options_.model == memory_model::sc;
  const unsigned limit = *options_.switches;
  if (fewest_switches(g(), settled_part(g()), one_memory, limit) <= limit) return false;
  cut_.switches++;
  return true;
}

/// Judges a whole graph. It is not sequentially consistent if a part of it is not.
bool explorer::judged(graph& in, bool may_be_sc) {
  model_options hardware = options_.hardware;
  hardware.may_be_sc = may_be_sc;
  const judgement j = judge(options_.model, in, hardware);
  in.set_sc(j == judgement::consistent_in_sc);
  // An order of a lock's sections, whichever, orders what is around them, too; so does one of additions; and
  // twins have the names which coherence order gives them. In sc and tso that forbids nothing by itself, here
  // it may.
  if (j == judgement::consistent && options_.model == memory_model::weak) (void)visit_in_full();
  return j != judgement::inconsistent;
}

/// May the graph be sequentially consistent when something is added? In the weak model it is known whether it
/// is.
bool explorer::may_be_sc_with_more() const { return options_.model != memory_model::weak || g().sc(); }

/// Is the graph consistent as it is, if no open section ends any more?
bool explorer::happens() const {
  model_options as_it_is = options_.hardware;
  as_it_is.sections_may_end = false;
  return consistent(options_.model, g(), as_it_is);
}

/// Is there a wait for sections of this kind on this CPU that the end of one comes too late for?
bool explorer::wait_did_not_see(const action& end) const {
  for (eid r = 0; r < g().size(); r++)
    if (g()[r].counts_sections && !g()[r].gives_up() && g()[r].counted == end.thread && g()[r].dom == end.dom)
      return true;
  return false;
}

/// From now on without the reductions; if they were in use the search begins again: true.
bool explorer::visit_in_full() {
  const bool in_use = symmetry_ || (unordered_locks_ && places_.any_unordered_lock()) ||
                      (commuting_ && places_.any_counter());
  symmetry_ = unordered_locks_ = commuting_ = false;
  restart_wanted_ |= in_use;
  return in_use;
}

/// Can an extension say whether `e` may be added with this or that choice? In the weak model a graph that is
/// not sequentially consistent is judged as a whole.
bool explorer::judged_by_extension(const graph& in, const action& e) const {
  return e.kind != event_kind::translation && !e.counts_sections && !e.section_end && !e.sums &&
         (options_.model != memory_model::weak || in.sc());
}

/// `next`: the write that follows the choice.
explorer::outlook explorer::outlook_of(const std::optional<extension>& past, eid next) const {
  if (!past) return outlook::open;
  if (past->before(next)) return outlook::possible;
  return options_.model == memory_model::weak ? outlook::open : outlook::impossible;
}

u64 explorer::value_of(u16 loc, eid w) const { return w == INIT ? places_[loc].initial : g()[w].value; }

/// Fills in what follows from the source of a read. None: it waits for sections, and gives up.
void explorer::settle(action& e, eid source) const {
  if (source != NONE) {
    settle(e, source, value_of(e.loc, source));
    return;
  }
  e.rf = INIT;
  e.value = ~u64{0}; // what no wait returns, as the thread does something else here
  e.blocked = true;
}

void explorer::settle(action& e, eid source, u64 value) const {
  e.rf = source;
  e.value = value;
  if (e.kind == event_kind::translation) e.coherent = !e.u.tr.cacheable(e.value);
  u64 ignored = 0;
  if (e.rmw) e.succeeds = apply(e.u.op, places_[e.loc].size, e.value, &ignored);
  e.blocked = blocks(e, e.value);
}

/// Would the thread wait here if it read this value?
bool explorer::blocks(const action& e, u64 value) const {
  u64 ignored = 0;
  if (!e.await) return false;
  return e.rmw ? !apply(e.u.op, places_[e.loc].size, value, &ignored) : !e.u.until.met_by(value);
}

// ---- steps -----------------------------------------------------------------------------------------------

void explorer::run_forward() {
  while (!execution_over_ && !restart_wanted_) {
    thread* t = next_thread();
    if (restart_wanted_ || execution_over_) break;
    if (!t) {
      nothing_runs();
      return;
    }
    if (!has_room_for(*t)) {
      result_.reason = too_long();
      return;
    }
    add(*t);
  }
}

/// Finds out where the thread halts: before a step that it wants to add, or blocked.
void explorer::advance(thread& t) {
  wake_if_news(t);
  if (!t.at) t.at = where_it_halts(t);
  if (t.at->st == status::failed) {
    execution_over_ = true;
    if (!happens()) return;
    result_.executions++;
    fail(t.bad_invariant, t.bad_text, t.bad_where, t.id);
  }
}

/// The thread whose step is added next: a function of the graph alone, or executions would be visited twice.
/// Who waits for sections comes late: if the others cannot go on meanwhile, the wait and they may be waiting
/// for each other. Last comes who waits for a value that the newest is not: older ones may end the wait, and
/// a revisit may, by a write that somebody else's older value leads to. These are added one after the other,
/// or two that both see older values would be met in either order.
/// A wait for sections that are over, added before others of these, loses the executions in which the others
/// begin a section first and never end it: these are looked for with the wait given up. Sections end when
/// nothing else can go on: what is read through a stale translation in one must be there before.
explorer::thread* explorer::next_thread() {
  if (owed_ != NONE) {
    thread& t = threads_[g()[owed_].thread];
    advance(t);
    return &t;
  }
  thread* waiting = nullptr;
  thread* ending = nullptr;
  thread* blocked = nullptr;
  bool others = false; // that can go on, besides `waiting`
  for (unsigned i = 0; i < n_threads_; i++) {
    thread& t = threads_[i];
    if (!t.at || replaying_) {
      advance(t);
      if (restart_wanted_ || execution_over_) return nullptr;
    }
    const halt& at = *t.at;
    if (at.st != status::parked || at.for_ever) continue;
    if (at.next.section_end) {
      if (!ending) ending = &t;
      continue;
    }
    if (!at.next.await && !at.next.counts_sections) return &t;
    if (enabled(t)) {
      if (!at.next.counts_sections) return &t;
      others |= waiting != nullptr;
      if (!waiting) waiting = &t;
    } else if (!blocked && at.next.await && !at.idle) {
      blocked = &t;
    }
  }
  if (waiting && (others || ending || blocked) && !replaying_)
    remember_to_give_up(wanted(*waiting), g().size());
  return waiting ? waiting : ending ? ending : blocked;
}

/// Keeps for later that the thread does not get beyond this step: a wait, or the end of a section.
void explorer::remember_to_give_up(const action& step, unsigned length) {
  action e = step;
  if (e.section_end) {
    e.kind = event_kind::read;
    e.section_end = false;
    e.counts_sections = true;
    e.counted = e.thread;
  }
  remember_source(e, length, NONE, true, true);
}

/// Where the CPU's open section of this kind begins; NONE: it is in none.
eid explorer::open_section(unsigned cpu, domain d) const {
  for (unsigned po = g().thread_size(cpu); po-- > 0;) {
    const eid id = g().at(cpu, po);
    const event& e = g()[id];
    if (e.dom != d) continue;
    if (e.section_end) return NONE;
    if (e.kind == event_kind::section_begin) return id;
  }
  return NONE;
}

/// A wait is added when the newest value ends it; a count of sections, when none is open.
bool explorer::enabled(const thread& t) const {
  const action& e = t.at->next;
  if (e.counts_sections) return open_section(e.counted, e.dom) == NONE;
  if (!e.await) return true;
  if (t.at->for_ever) return false;
  return !blocks(e, value_of(e.loc, g().co_last(e.loc)));
}

void explorer::add(thread& t) {
  switch (t.at->next.kind) {
  case event_kind::read:
  case event_kind::translation:
    add_read(t);
    break;
  case event_kind::write:
    add_write(t);
    break;
  case event_kind::free_object:
    check_free(g().append(wanted(t)));
    break;
  case event_kind::fence:
  case event_kind::invalidate:
  case event_kind::section_begin:
  case event_kind::quiesce:
    g().append(wanted(t));
    break;
  }
  t.at = nullptr;
  if (g().size() > result_.max_events) result_.max_events = g().size();
}

/// A read-modify-write whose source has another one already: no such execution exists, but its write may
/// revisit what stands in its way. Done at once; the graph is then as before.
void explorer::try_conflicting(const action& read, eid source, bool judged_already) {
  const unsigned length = g().size();
  const bool may_be_sc = may_be_sc_with_more();
  action e = read;
  settle(e, source);
  const eid r = g().append(e);
  if (!stays_overwritten(r) && (judged_already || (would_revisit(r) && judged(g(), may_be_sc))))
    add_write_half(r);
  g().cut(length);
}

/// Is there a newer write than the source of the last event, the read `r`, that no revisit by its write half
/// would remove, since an older read has it as its source?
bool explorer::stays_overwritten(eid r) const {
  const graph& in = g();
  eid w = in.co_after(in[r].loc, in[r].rf);
  while (w != NONE && !(in[w].read_by_older && !in.needs(w, r)))
    w = in[w].co_next;
  return w != NONE;
}

void explorer::push_other_sources(const action& e, unsigned length, eid except) {
  if (replaying_ || (except == INIT && g().co_first(e.loc) == NONE)) return;
  std::optional<extension> past;
  const unsigned po = g().thread_size(e.thread);
  for (eid w = oldest_plausible(g(), e, po); w != NONE; w = g().co_after(e.loc, w)) {
    if (w == except || !in_order_of_twins(g(), e, po, w)) continue;
    if (blocks(e, value_of(e.loc, w))) continue;
    if (!past && judged_by_extension(g(), e))
      past.emplace(options_.model, g(), extension::probe{e.thread, po, false, e.rmw});
    const outlook o = outlook_of(past, g().co_after(e.loc, w));
    if (o == outlook::impossible) continue;
    action other = e;
    settle(other, w);
    other.sc = o == outlook::possible;
    const eid next = g().co_after(e.loc, w);
    if (other.rmw && other.succeeds && next != NONE && g()[next].rmw && !places_[e.loc].freers) {
      try_conflicting(other, w, o == outlook::possible);
      continue;
    }
    remember_source(other, length, w, o == outlook::possible, !past);
  }
}

void explorer::add_read(thread& t) {
  action e = wanted(t);
  if (e.sums) {
    add_sum(e);
    return;
  }
  const eid newest = g().co_last(e.loc);
  push_other_sources(e, g().size(), newest);
  settle(e, newest);
  const eid r = g().append(e);
  check_access(r);
  if (!execution_over_ && e.rmw && e.succeeds) add_write_half(r);
}

/// Adds the write half of the read-modify-write whose read is the last event. False if the graph is
/// inconsistent, be it only because another one has the same source; what the write makes possible elsewhere
/// has been noted.
bool explorer::add_write_half(eid read) {
  const eid source = g()[read].rf;
  const bool newest = g().co_last(g()[read].loc) == source;
  const eid id = append_write_half(read);
  push_revisits(id);
  return newest || judged_half(id);
}

eid explorer::append_write_half(eid read) {
  const event& r = g()[read];
  action w = r;
  w.kind = event_kind::write;
  w.await = w.blocked = w.succeeds = false;
  w.rf = w.dep = NONE;
  apply(r.u.op, places_[r.loc].size, r.value, &w.value);
  const eid id = g().append(w);
  g().place(id, g()[read].rf);
  return id;
}

/// Would the write half of the read-modify-write whose read is the last event revisit anything? (This is
/// quicker to tell than whether the graph is consistent.)
bool explorer::would_revisit(eid read) {
  const eid w = append_write_half(read);
  bool found = false;
  const u16 loc = g()[w].loc;
  for (eid r = g().first_at(loc); r < w && !found; r = g()[r].next_at) {
    event_set keep;
    found = may_revisit(g(), r, w) && removable(r, w, &keep);
  }
  g().cut(w);
  return found;
}

/// Judges the graph after the write half `w` of a read-modify-write came between its source and a later
/// write.
bool explorer::judged_half(eid w) {
  // another read-modify-write has the same source
  if (const eid next = g()[w].co_next; next != NONE && g()[next].rmw) return false;
  return (judged_by_extension(g(), g()[w]) && g().sc()) || judged(g());
}

void explorer::add_write(thread& t) {
  const unsigned length = g().size();
  const action e = wanted(t);
  const eid w = g().append(e);
  if (e.rmw) { // the write half that a revisit left owing
    const eid source = g()[owed_].rf;
    const bool newest = g().co_last(e.loc) == source;
    owed_ = NONE;
    g().place(w, source);
    push_revisits(w);
    if (!newest && !judged_half(w)) execution_over_ = true;
    check_access(w);
    return;
  }
  if (e.adds) {
    push_revisits(w);
    check_access(w);
    return;
  }
  const eid newest = g().co_last(e.loc);
  g().place(w, newest);
  if (!replaying_) {
    std::optional<extension> past;
    const unsigned po = g()[w].po;
    for (eid p = oldest_plausible(g(), e, po); p != newest && p != NONE; p = g().co_after(e.loc, p)) {
      const eid next = g().co_after(e.loc, p);
      const bool splits_rmw = g()[next].rmw && next != w;
      if (splits_rmw || !in_order_of_twins(g(), e, po, p)) continue;
      if (!past && judged_by_extension(g(), e))
        past.emplace(options_.model, g(), extension::probe{e.thread, po, true, false});
      const outlook o = outlook_of(past, next);
      if (o == outlook::impossible) continue;
      item it;
      it.judged = o == outlook::possible;
      it.may_be_sc = !past;
      it.kind = item::what::place;
      it.length = length;
      it.e = e;
      it.e.sc = it.judged;
      it.choice = p;
      remember(std::move(it));
    }
    push_revisits(w);
  }
  // Now the section has not ended before a wait that did not see it: it must have begun after it. If it has
  // not, others may go on while it is open: what they store may be read in it, and then it ends and is seen.
  if (e.section_end && wait_did_not_see(e) && !judged(g())) {
    execution_over_ = true;
    remember_to_give_up(e, length);
    return;
  }
  check_access(w);
}

// ---- ends ------------------------------------------------------------------------------------------------

bool explorer::waits_for_sections(const thread& t) { return t.parked() && t.at->next.counts_sections; }

/// The wait for sections that the thread is at, whether or not it has given up.
std::optional<action> explorer::awaited_sections(const thread& t) const {
  if (waits_for_sections(t) && !t.at->idle) return wanted(t);
  if (t.at->st != status::stuck || t.at->spins) return {};
  const event& last = g()[g().last(t.id)];
  return last.counts_sections ? std::optional<action>(last) : std::nullopt;
}

/// Does the wait for sections end although nothing else goes on? It does if none is open; or if its thread
/// leaves it in each round of a loop; or if it began too late to be waited for.
bool explorer::wait_ends(const action& wait) const {
  const eid begin = open_section(wait.counted, wait.dom);
  if (begin == NONE) return true;
  const halt& there = *threads_[wait.counted].at;
  if (there.spins && (there.round_ended >> static_cast<unsigned>(wait.dom) & 1)) return true;
  return performed_before(options_.model, g(), begin).has(g().at(wait.thread, wait.quiesce_po));
}

/// No thread can go on: the execution is complete, or some are blocked.
void explorer::nothing_runs() {
  bool done = true;
  // Somebody is blocked by a choice: it goes on in an execution where it saw the newest value, or took an
  // interrupt before it began to wait. Not a hang.
  bool stale = false;
  for (unsigned i = 0; i < n_threads_; i++) {
    thread& t = threads_[i];
    if (t.idle()) continue;
    done = false;
    if (t.at->spins) {
      stale |= has_news(t, t.at->round_begin) && (replaying_ || !goes_round_in_vain(t));
      if (restart_wanted_) return;
    } else if (t.at->st == status::stuck) {
      const event& e = g()[g().last(i)];
      stale |= !e.counts_sections && e.rf != g().co_last(e.loc);
    }
    if (t.at->request) stale |= g().co_last(places_.at(t.at->request, sizeof(u64))) != INIT;
  }
  if (done) {
    complete();
    return;
  }
  result_.blocked++;
  bool may_be_deadlock = !stale;
  bool offered = false;
  for (unsigned i = 0; i < n_threads_; i++) {
    const std::optional<action> wait = awaited_sections(threads_[i]);
    if (!wait) continue;
    may_be_deadlock = may_be_deadlock && !wait->never_leaves() && !wait_ends(*wait);
    // The section may begin later; for the first thread, or two would be met in either order.
    if (wait->gives_up() || replaying_ || std::exchange(offered, true)) continue;
    push_other_sources(*wait, g().size(), g().co_last(wait->loc));
    remember_source(*wait, g().size(), g().co_last(wait->loc), false, true);
  }
  if (may_be_deadlock) report_deadlock();
}

} // namespace racewalk::explore
