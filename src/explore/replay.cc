// Runs one recorded execution again, step by step, and says where the code now does something else.
#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {

namespace {
constexpr u64 LEARNING_EXECUTIONS = 20'000;
}

/// Makes the recorded step of its thread; a reason if the thread does not get there.
std::string explorer::follow(const choice& c) {
  thread& t = threads_[c.thread];
  wake_if_news(t);
  if (!t.at) t.at = where_it_halts(t);
  if (restart_wanted_) return {};
  if (!result_.reason.empty()) return result_.reason;
  const std::string who = "CPU" + std::to_string(c.thread);
  if (t.at->st == status::failed) return who + " now breaks " + t.bad_invariant + " before " + c.what;
  if (!t.parked()) return who + " is blocked before " + c.what;
  action e = wanted(t);
  if (const std::string now = function_name(e.where); now != c.what)
    return who + " is now in " + now + ", not in " + c.what;
  if (!c.kind.empty() && c.kind != kind_name(e))
    return who + " does something else (" + kind_name(e) + ", in " + place_name(e.where) +
           ") than the recorded " + c.kind;
  auto named = [&](int by, unsigned po) -> eid {
    if (by < 0) return INIT;
    return po < g().thread_size(static_cast<unsigned>(by)) ? g().at(static_cast<unsigned>(by), po) : NONE;
  };
  if (e.is_read()) {
    const eid source = named(c.source_thread, c.source_po);
    if (source == NONE || (source != INIT && g()[source].loc != e.loc))
      return "what " + c.what + " read is not there";
    settle(e, source);
    const eid r = g().append(e);
    check_access(r);
    if (!execution_over_ && e.rmw && e.succeeds) add_write_half(r);
  } else if (e.is_write()) {
    const eid before = named(c.after_thread, c.after_po);
    if (before == NONE || (before != INIT && g()[before].loc != e.loc))
      return "what " + c.what + " overwrote is not there";
    const eid w = g().append(e);
    g().place(w, before);
    check_access(w);
  } else {
    add(t);
  }
  t.at = nullptr;
  return {};
}

outcome explorer::replay(const std::vector<choice>& schedule) {
  symmetry_ = unordered_locks_ = commuting_ = false; // as the recording was made
  // Which variables are shared is learned by a search; the recording was made with that knowledge.
  const u64 bound = std::exchange(options_.max_executions, LEARNING_EXECUTIONS);
  if (!options_.random || options_.random->executions) run();
  options_.max_executions = bound;
  engine_scope running(this);
  replaying_ = true;
  do {
    restart_search();
    execution_over_ = false;
    for (std::size_t i = 0; i < schedule.size() && !execution_over_ && !restart_wanted_; i++)
      if (std::string why = follow(schedule[i]); !why.empty()) {
        result_.reason = "step " + std::to_string(i + 1) + ": " + why;
        break;
      }
    if (result_.reason.empty() && !execution_over_ && !restart_wanted_) run_forward();
  } while (restart_wanted_);
  replaying_ = false;
  report_lock_order();
  if (!result_.failures.empty() && !consistent(options_.model, result_.failures.front().execution)) {
    result_.failures.clear();
    result_.reason = "the memory model does not allow what was recorded";
  }
  if (!result_.failures.empty())
    result_.verdict = verdict::violation;
  else if (result_.reason.empty())
    result_.reason = "the recorded steps were made, and nothing is lost";
  return std::move(result_);
}

} // namespace racewalk::explore
