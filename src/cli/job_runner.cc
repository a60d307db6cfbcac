#include "cli/job_runner.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <string_view>
#include <thread>

#include <fmt/format.h>

#include "cli/interrupt.h"
#include "cli/progress_line.h"

namespace racewalk::cli {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds tick{50}; // how late an interrupt or the timeout may be noticed

class job_runner {
 public:
  job_runner(const std::vector<job>& jobs, const run_limits& limits)
      : jobs_(jobs), limits_(limits),
        spare_(limits.threads - static_cast<unsigned>(std::min<std::size_t>(limits.threads, jobs.size()))),
        results_(jobs.size()) {}

  std::vector<report::result> run(const result_fn& on_result);

 private:
  void work();
  report::result run_one(const job& j);
  void note_progress(const job& j, progress& last, const progress& now);
  void watch_limits(steady_clock::time_point start);
  std::size_t hand_on(std::size_t from, const result_fn& on_result);
  run_state state();

  const std::vector<job>& jobs_;
  const run_limits limits_;
  std::atomic<std::size_t> next_{0};
  std::atomic<unsigned> spare_; ///< threads that have no job, for searches that can be split
  std::atomic<bool> stop_{false};

  std::mutex lock_; // protects what follows
  std::condition_variable ended_;
  std::vector<std::optional<report::result>> results_;
  std::string stop_reason_;
  run_state state_;
};

/// A worker: takes the next job until there is none.
void job_runner::work() {
  for (;;) {
    const std::size_t i = next_.fetch_add(1, std::memory_order_relaxed);
    if (i >= jobs_.size()) {
      spare_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    report::result r = run_one(jobs_[i]);
    const std::lock_guard guard(lock_);
    results_[i] = std::move(r);
    state_.done++;
    ended_.notify_one();
  }
}

report::result job_runner::run_one(const job& j) {
  report::result r = j.blank;
  if (!stop_.load()) {
    progress last;
    check_request request = j.request;
    unsigned borrowed = 0;
    request.spare_cpus = [&] {
      const unsigned spare = spare_.exchange(0, std::memory_order_relaxed);
      borrowed += spare;
      return spare;
    };
    r = decide_job(
        j, request, [&](const progress& now) { note_progress(j, last, now); }, stop_);
    spare_.fetch_add(borrowed, std::memory_order_relaxed);
    note_progress(j, last, {r.executions, r.blocked, last.depth});
  }
  const std::lock_guard guard(lock_);
  if (r.reason.empty() || stop_.load()) name_stop(r, stop_reason_);
  return r;
}

void job_runner::note_progress(const job& j, progress& last, const progress& now) {
  const std::lock_guard guard(lock_);
  state_.executions += now.executions - last.executions;
  state_.depth = now.depth;
  state_.running = fmt::format("{}:{} {}", j.request.scenario, j.request.variant, j.request.arch);
  last = now;
}

void job_runner::watch_limits(steady_clock::time_point start) {
  if (stop_.load()) return;
  std::string reason;
  if (interrupted()) reason = "interrupted";
  if (limits_.timeout && steady_clock::now() - start >= std::chrono::duration<double>(*limits_.timeout))
    reason = fmt::format("--timeout {}", *limits_.timeout);
  if (reason.empty()) return;
  const std::lock_guard guard(lock_); // the reason is there before a worker sees the stop
  stop_reason_ = reason;
  stop_.store(true);
}

/// Hands on the results from `from` that are there; returns the first that is not.
std::size_t job_runner::hand_on(std::size_t from, const result_fn& on_result) {
  for (;; from++) {
    report::result r;
    {
      const std::lock_guard guard(lock_);
      if (from == results_.size() || !results_[from]) return from;
      r = *results_[from];
    }
    on_result(r);
  }
}

run_state job_runner::state() {
  const std::lock_guard guard(lock_);
  state_.total = jobs_.size();
  return state_;
}

std::vector<report::result> job_runner::run(const result_fn& on_result) {
  const auto start = steady_clock::now();
  progress_line line;
  std::vector<std::jthread> workers;
  for (std::size_t i = 0; i < std::min<std::size_t>(limits_.threads, jobs_.size()); i++)
    workers.emplace_back([this] { work(); });

  std::vector<report::result> in_order;
  std::size_t handed_on = 0;
  while (handed_on < jobs_.size()) {
    {
      std::unique_lock guard(lock_);
      ended_.wait_for(guard, tick);
    }
    watch_limits(start);
    line.clear();
    handed_on = hand_on(handed_on, [&](const report::result& r) {
      on_result(r);
      in_order.push_back(r);
    });
    line.show(state());
  }
  return in_order;
}

} // namespace

report::result decide_job(const job& j, const check_request& request, const progress_fn& report_progress,
                          const std::atomic<bool>& stop) {
  report::result r = j.blank;
  try {
    return check(request, report_progress, stop);
  } catch (const std::bad_alloc&) {
    r.reason = "out of memory";
  } catch (const std::exception& e) {
    r.reason = e.what();
  }
  return r;
}

void name_stop(report::result& r, const std::string& stop_reason) {
  if (r.verdict != report::verdict::inconclusive) return;
  constexpr std::string_view stopped = "stopped"; // and what had been done by then
  r.reason = stop_reason + (r.reason.starts_with(stopped) ? r.reason.substr(stopped.size()) : "");
}

std::vector<report::result> run_jobs(const std::vector<job>& jobs, const run_limits& limits,
                                     const result_fn& on_result) {
  return job_runner(jobs, limits).run(on_result);
}

} // namespace racewalk::cli
