// Loops that wait: what cpu_relax() means, and what is said of a loop that does not call it.
//
// Going round a loop once more without having written anything, and reading the same again, is no new
// execution. So a thread that calls cpu_relax() after a round in which it only read goes no further: what it
// would do after one of its reads returned something else is what it does in the executions in which that
// read returns it at once. If nothing can go on any more and the round saw the newest values, it never ends.
// A round that ends a section which was entered before the loop is something new, as a grace period may end
// in it. To leave and enter the section once more, as the round before did, is not.
// (In a sample, and in the replay of one, there are no other executions: there it goes round again when
// something that it read has been overwritten.)
#include <algorithm>
#include <map>
#include <tuple>

#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {

namespace {
bool same_step(const action& a, const action& b) {
  return a.kind == b.kind && a.loc == b.loc && a.where.line == b.where.line;
}
} // namespace

void explorer::relax(site where) {
  if (final_state_) return;
  thread& t = *running_;
  detail::interruptible_point(where); // what is read in between may be nobody else's as yet
  if (t.trial.on) {
    t.trial.in_vain = !t.round.writes && repeats_its_last_steps(t);
    suspend_for_good(status::stuck);
  }
  const bool only_reads = t.round.reads && !t.round.writes;
  if (only_reads && (!t.round.ended || repeats_the_round_before(t))) wait_for_news(where);
  t.round = {.before = t.round.begin, .begin = t.pos};
}

/// Has the thread made the same steps in this round as in the one before?
bool explorer::repeats_the_round_before(const thread& t) const {
  const unsigned steps = t.pos - t.round.begin;
  if (t.round.begin - t.round.before != steps) return false;
  for (unsigned i = 0; i < steps; i++) {
    const event& then = g()[g().at(t.id, t.round.before + i)];
    if (!same_step(then, g()[g().at(t.id, t.round.begin + i)])) return false;
  }
  return true;
}

/// Has something been overwritten that the thread read in the round of its loop that began there?
bool explorer::has_news(const thread& t, unsigned round_begin) const {
  for (unsigned po = round_begin; po < g().thread_size(t.id); po++) {
    const event& e = g()[g().at(t.id, po)];
    if (!e.is_read()) continue;
    if (e.sums ? e.u.seen.upto != g().additions(e.loc).upto : e.rf != g().co_last(e.loc)) return true;
  }
  return false;
}

/// Ends this thread's part of the execution, unless it is a sample's.
void explorer::wait_for_news(site where) {
  thread& t = *running_;
  t.own.spins_at = where;
  do {
    t.own.st = status::stuck;
    t.own.spins = true;
    t.stack.suspend();
  } while (!t.trial.on && (!replaying_ || !has_news(t, t.round.begin)));
  t.own.spins = false;
}

/// Does the thread, which goes round, do so for ever on the newest values? The round that it was stopped in
/// may have begun before the loop, and news of what was read there do not matter. So its fibre goes round
/// once more.
bool explorer::goes_round_in_vain(thread& t) {
  start_over(t);
  run(t, g().thread_size(t.id));
  if (!t.own.spins || restart_wanted_) return false;
  t.trial = {.on = true};
  resume(t);
  return std::exchange(t.trial, {}).in_vain;
}

/// Does the trial do what the thread has done last? Otherwise it has got out of its loop.
bool explorer::repeats_its_last_steps(const thread& t) const {
  const auto n = static_cast<unsigned>(t.trial.steps.size());
  if (n > t.pos) return false;
  for (unsigned i = 0; i < n; i++)
    if (!same_step(g()[g().at(t.id, t.pos - n + i)], t.trial.steps[i])) return false;
  return true;
}

/// A step of the trial: what it reads, or the end of it.
u64 explorer::try_step(const action& e) {
  running_->trial.steps.push_back(e);
  if (e.kind == event_kind::fence || e.kind == event_kind::section_begin || e.section_end) return 0;
  if (!e.is_read() || e.counts_sections) suspend_for_good(status::stuck);
  const u64 newest = e.sums ? sum(g(), e.loc, g().additions(e.loc)) : value_of(e.loc, g().co_last(e.loc));
  if (blocks(e, newest)) suspend_for_good(status::stuck);
  return newest;
}

/// The thread goes round and round on variables that nobody else has used so far. Somebody may still do, whom
/// it may have to answer first.
void explorer::loop_without_end(site where) {
  thread& t = *running_;
  quiet_accesses_ = 0;
  const unsigned answered = t.state.ipis_handled;
  detail::interruptible_point(where);
  if (t.state.ipis_handled != answered) return;
  t.own.spins = true;
  t.own.spins_at = where;
  t.round.begin = t.pos;
  suspend_for_good(status::stuck);
}

void explorer::wake_if_news(thread& t) {
  if (!replaying_ || !t.at || !t.at->spins || !has_news(t, t.at->round_begin)) return;
  t.own.st = status::ready;
  t.at = nullptr;
}

/// Is there room in the graph for a step of the thread, and for those that come with it?
bool explorer::has_room_for(const thread& t) const {
  constexpr unsigned AT_ONCE = 4;
  return g().size() + AT_ONCE <= MAX_EVENTS && g().thread_size(t.id) + AT_ONCE <= MAX_STEPS;
}

/// What to say of an execution that is longer than any is allowed to be.
std::string explorer::too_long() const {
  std::string reason = "an execution has more than " + std::to_string(MAX_EVENTS) + " events, or " +
                       std::to_string(MAX_STEPS) + " of one CPU";
  std::map<std::tuple<unsigned, std::string>, unsigned> times;
  for (eid e = 0; e < g().size(); e++)
    if (!g()[e].is_write() || !g()[e].rmw) times[{g()[e].thread, place_name(g()[e].where)}]++;
  const auto most = std::max_element(times.begin(), times.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  constexpr unsigned A_LOOP = 16;
  if (most == times.end() || most->second < A_LOOP) return reason;
  const auto& [who, place] = most->first;
  return thread_name(who, n_cpus_) + " went round in " + place + " " + counted(most->second, "time") + ": " +
         reason + " (a loop that waits for others has to call cpu_relax())";
}

} // namespace racewalk::explore
