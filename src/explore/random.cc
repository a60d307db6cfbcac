#include "explore/random.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {

random_schedule::random_schedule(const sampling& of, u64 number, unsigned threads, unsigned steps)
    : random_(random_numbers(of.seed).next() ^ random_numbers(number).next()),
      depth_(static_cast<unsigned>(1 + number % MAX_DEPTH)), older_in_(0) {
  if (number / MAX_DEPTH % 2 != 0) older_in_ = below(2) == 0 ? 3 : 10;
  std::iota(priority_.begin(), priority_.begin() + threads, depth_);
  for (unsigned i = threads; i > 1; i--)
    std::swap(priority_[i - 1], priority_[below(i)]);
  for (unsigned i = 0; i + 1 < depth_; i++)
    change_at_[i] = 1 + below(std::max(steps, 1u));
}

unsigned random_schedule::pick(u32 runnable) {
  auto first = [&] {
    unsigned best = MAX_THREADS;
    for (unsigned t = 0; t < MAX_THREADS; t++)
      if (runnable >> t & 1 && (best == MAX_THREADS || priority_[t] > priority_[best])) best = t;
    return best;
  };
  step_++;
  for (unsigned i = 0; i + 1 < depth_; i++)
    if (change_at_[i] == step_) priority_[first()] = i;
  return first();
}

std::string pct_bounds(unsigned threads, unsigned steps) {
  std::string text;
  u64 inverse = threads;
  for (unsigned d = 1; d <= random_schedule::MAX_DEPTH; d++, inverse *= steps)
    text += (d == 1 ? "1/" : ", 1/") + std::to_string(inverse);
  return text;
}

// ---- the explorer's part ---------------------------------------------------------------------------------

namespace {
constexpr unsigned TRIES_FOR_OLDER = 3; ///< each judges the whole graph
constexpr u64 SHRINK_SAMPLES = 2'000;   ///< after the first violation, for a shorter one
} // namespace

/// Draws executions until there are as many as asked for, or something is learned, which begins the sample
/// anew.
void explorer::sample() {
  replaying_ = true;
  distinct_.clear();
  samples_cut_ = 0;
  unsigned steps = 0;
  u64 n = 0;
  auto stopped = [&] { return options_.stop && options_.stop->load(std::memory_order_relaxed); };
  u64 last = options_.random->executions;
  bool lost = false;
  for (; n < last && !stopped(); n++) {
    g().cut(0);
    execution_over_ = false;
    for (thread& t : threads_) {
      start_over(t);
      t.at = nullptr;
    }
    random_schedule schedule(*options_.random, n, n_threads_, steps);
    const u64 complete_before = result_.executions;
    run_sample(schedule);
    if (restart_wanted_) {
      learning_samples_ = std::max(learning_samples_, n + 1);
      break;
    }
    if (result_.executions != complete_before) distinct_.insert(fingerprint_of(g()));
    if (!result_.failures.empty() && !std::exchange(lost, true))
      last = n + 1 + std::min(options_.shrink_executions, SHRINK_SAMPLES);
    steps = std::max(steps, g().size());
    if (options_.report && n % 256 == 0) options_.report({result_.executions, result_.blocked, g().size()});
  }
  replaying_ = false;
  result_.learned_from = sampling{learning_samples_, options_.random->seed};
  if (!result_.failures.empty()) return;
  result_.reason = (stopped() ? "stopped: " : "") + counted(n, "random execution") + " (seed " +
                   std::to_string(options_.random->seed) +
                   "), none loses: " + std::to_string(distinct_.size()) + " different and complete, " +
                   std::to_string(result_.blocked) + " blocked, " + std::to_string(samples_cut_) +
                   " cut off as too long; with " + counted(n_threads_, "thread") + " and up to " +
                   counted(steps, "step") +
                   " an interleaving drawn for depth d hits a race that hangs on the order of d steps "
                   "with probability at least " +
                   pct_bounds(n_threads_, steps) + " for d = 1 to 4";
}

void explorer::run_sample(random_schedule& schedule) {
  for (;;) {
    u32 runnable = 0;
    for (unsigned i = 0; i < n_threads_; i++) {
      advance(threads_[i]);
      if (restart_wanted_ || execution_over_) return;
      if (threads_[i].parked() && enabled(threads_[i])) runnable |= u32{1} << i;
    }
    if (std::ranges::any_of(threads_, [&](const thread& t) { return !has_room_for(t); })) {
      samples_cut_++;
      return;
    }
    if (runnable) {
      thread& t = threads_[schedule.pick(runnable)];
      if (!schedule.wants_older() || !add_older(t, schedule)) add(t);
    } else if (!add_before_section()) {
      nothing_runs();
      return;
    }
    if (execution_over_ || restart_wanted_) return;
  }
}

/// Adds the thread's step with this choice; false if there is no such execution.
bool explorer::add_with(thread& t, eid choice) {
  const unsigned length = g().size();
  action e = wanted(t);
  if (e.is_read()) {
    settle(e, choice);
    if (e.blocked && !e.counts_sections) return false;
  }
  const eid id = g().append(e);
  if (e.is_write()) g().place(id, choice);
  bool possible = judged(g());
  if (possible) check_access(id);
  if (possible && !execution_over_ && e.rmw && e.is_read() && e.succeeds) possible = add_write_half(id);
  if (!possible) {
    g().cut(length);
    return false;
  }
  t.at = nullptr;
  result_.max_events = std::max(result_.max_events, g().size());
  return true;
}

/// Adds the thread's step with a choice other than the newest; false if none was found.
bool explorer::add_older(thread& t, random_schedule& schedule) {
  const action e = wanted(t);
  if (!e.is_read() && !e.is_write()) return false;
  std::vector<eid> choices;
  const eid newest = g().co_last(e.loc);
  eid w = oldest_plausible(g(), e, g().thread_size(e.thread));
  for (; w != newest; w = g().co_after(e.loc, w)) {
    const bool splits_rmw = (e.is_write() || e.rmw) && g()[g().co_after(e.loc, w)].rmw;
    if (!splits_rmw) choices.push_back(w);
  }
  for (unsigned tries = 0; tries < TRIES_FOR_OLDER && !choices.empty(); tries++) {
    const unsigned i = schedule.below(static_cast<unsigned>(choices.size()));
    if (add_with(t, choices[i])) return true;
    choices.erase(choices.begin() + i);
  }
  return false;
}

/// Somebody waits for a section whose owner waits, too: goes on if the section may have begun after the wait.
bool explorer::add_before_section() {
  for (unsigned i = 0; i < n_threads_; i++)
    if (waits_for_sections(threads_[i]) && add_with(threads_[i], g().co_last(threads_[i].at->next.loc)))
      return true;
  return false;
}

} // namespace racewalk::explore
