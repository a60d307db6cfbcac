#include "cli/ranks/run_over_ranks.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/progress_line.h"
#include "cli/ranks/errand.h"
#include "cli/ranks/office.h"
#include "cli/ranks/outlet.h"
#include "cli/wire.h"

namespace racewalk::cli {
namespace {

using explore::packet;
using std::chrono::steady_clock;

/// How long runs that were told to stop may take. When a rank has died, mpirun ends the others after a
/// second.
constexpr std::chrono::milliseconds GRACE{500};
constexpr std::chrono::milliseconds SHOW{50};
constexpr std::chrono::seconds ARRIVAL{60}; // how long a rank may take to say hello

/// Rank 0: gives out the runs and collects what comes of them.
class coordinator : public office {
 public:
  coordinator(transport& ranks, nursery& children, const std::vector<job>& jobs, const run_limits& limits)
      : office(ranks, children, jobs), jobs_(jobs), limits_(limits), results_(jobs.size()),
        executions_(jobs.size()), members_(office::ranks()) {
    for (std::size_t i = 0; i < jobs.size(); i++)
      waiting_.push_back(i);
    members_[0].free = limits.threads;
    members_[0].present = true;
  }

  std::vector<report::result> run(const result_fn& on_result);

 private:
  /// What is known of a rank.
  struct member {
    bool present = false; ///< it has said hello, and is not lost
    bool lost = false;
    std::string host;
    pid_t pid = 0;
    watched alive;
    unsigned free = 0;                 ///< slots
    std::vector<std::size_t> deciding; ///< jobs
  };

  void receive_as_first(unsigned from, mail kind, packet p) override;
  void arrive(unsigned from, packet& p);
  void settle(std::size_t job, report::result r);
  void give_out();
  void send_help();
  void watch_ranks();
  void watch_limits();
  void stop(const std::string& reason);
  void give_up(std::size_t job, const std::string& reason);
  void take_leave();
  run_state state() const;

  const std::vector<job>& jobs_;
  const run_limits limits_;
  std::vector<std::optional<report::result>> results_;
  std::vector<std::uint64_t> executions_;
  unsigned depth_ = 0;
  std::size_t running_ = 0; ///< the job that reported last
  std::size_t settled_ = 0;
  std::deque<std::size_t> waiting_;
  std::map<std::size_t, unsigned> hungry_; ///< searches that could be shared, and how many help
  std::vector<member> members_;
  std::uint64_t next_session_ = 1;
  std::string lost_;        ///< the first rank that ended early
  std::string stop_reason_; ///< empty: not stopped
  steady_clock::time_point start_ = steady_clock::now();
  steady_clock::time_point stopped_at_{};
};

void coordinator::receive_as_first(unsigned from, mail kind, packet p) {
  members_[from].alive.heard();
  switch (kind) {
  case mail::hello:
    arrive(from, p);
    return;
  case mail::hungry:
    hungry_.try_emplace(p.get<std::size_t>(), 0);
    return;
  case mail::progress: {
    running_ = p.get<std::size_t>();
    executions_[running_] = p.get<std::uint64_t>();
    depth_ = p.get<unsigned>();
    return;
  }
  case mail::done: {
    const auto job = p.get<std::size_t>();
    report::result r = jobs_[job].blank;
    if (p.get<bool>())
      r = get_result(p);
    else
      r.reason = fmt::format("on rank {} {}", from, p.get_text());
    settle(job, std::move(r));
    return;
  }
  case mail::freed:
    members_[p.get<unsigned>()].free++;
    return;
  default: // a beat
    return;
  }
}

void coordinator::arrive(unsigned from, packet& p) {
  member& m = members_[from];
  m.present = true;
  m.host = p.get_text();
  m.pid = p.get<pid_t>();
  m.free = p.get<unsigned>();
  m.alive = watched(m.host, m.pid);
  packet answer = packet_of(mail::welcome);
  answer.put_text(host());
  answer.put(getpid());
  post(from, answer);
  if (stop_reason_.empty()) return;
  post(from, packet_of(mail::stop));
}

void coordinator::settle(std::size_t job, report::result r) {
  if (results_[job]) return;
  if (!stop_reason_.empty()) name_stop(r, stop_reason_);
  executions_[job] = r.executions;
  results_[job] = std::move(r);
  settled_++;
  hungry_.erase(job);
  for (member& m : members_)
    std::erase(m.deciding, job);
}

void coordinator::give_up(std::size_t job, const std::string& reason) {
  report::result r = jobs_[job].blank;
  r.reason = reason;
  settle(job, std::move(r));
}

/// Each run to the rank that has the most to spare.
void coordinator::give_out() {
  while (!waiting_.empty()) {
    const auto freest =
        std::max_element(members_.begin(), members_.end(), [](const member& a, const member& b) {
          return (a.present ? a.free : 0) < (b.present ? b.free : 0);
        });
    if (!freest->present || freest->free == 0) return;
    const std::size_t job = waiting_.front();
    waiting_.pop_front();
    freest->free--;
    freest->deciding.push_back(job);
    packet p = packet_of(mail::check);
    p.put(job);
    post(static_cast<unsigned>(freest - members_.begin()), p);
  }
  send_help();
}

/// Who has nothing else to do helps the search that has the fewest helpers.
void coordinator::send_help() {
  for (unsigned r = 0; r < members_.size() && !hungry_.empty() && stop_reason_.empty(); r++) {
    member& helper = members_[r];
    if (!helper.present || helper.free == 0) continue;
    const auto most = std::min_element(hungry_.begin(), hungry_.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto owner = std::find_if(members_.begin(), members_.end(), [&](const member& m) {
      return std::find(m.deciding.begin(), m.deciding.end(), most->first) != m.deciding.end();
    });
    if (owner == members_.end()) return;
    most->second++;
    helper.free--;
    packet p = packet_of(mail::share);
    p.put(most->first);
    p.put(next_session_++);
    p.put(r);
    post(static_cast<unsigned>(owner - members_.begin()), p);
  }
}

void coordinator::watch_ranks() {
  for (unsigned r = 1; r < members_.size(); r++) {
    member& m = members_[r];
    if (!m.present || !m.alive.gone()) continue;
    m.present = false;
    m.lost = true;
    const std::string reason = fmt::format("rank {} ended early (process {} on {})", r, m.pid, m.host);
    if (lost_.empty()) lost_ = reason;
    print_past_mpirun(); // it may be about to end all, and then listens no more
    lose(r);
    packet p = packet_of(mail::lost);
    p.put(r);
    for (unsigned to = 1; to < members_.size(); to++)
      if (members_[to].present) post(to, p);
    for (const std::size_t job : std::vector(m.deciding))
      give_up(job, reason);
  }
}

void coordinator::stop(const std::string& reason) {
  stop_reason_ = reason;
  stopped_at_ = steady_clock::now();
  for (unsigned to = 0; to < members_.size(); to++)
    if (members_[to].present) post(to, packet_of(mail::stop));
  for (const std::size_t job : waiting_)
    give_up(job, reason);
  waiting_.clear();
}

void coordinator::watch_limits() {
  const auto now = steady_clock::now();
  if (stop_reason_.empty()) {
    if (interrupted()) {
      print_past_mpirun(); // on Ctrl-C no rank is lost
      watch_ranks();       // mpirun may have done it because of one
      stop(lost_.empty() ? "interrupted" : lost_ + ", and mpirun ended the others");
    } else if (limits_.timeout && now - start_ >= std::chrono::duration<double>(*limits_.timeout))
      stop(fmt::format("--timeout {}", *limits_.timeout));
    return;
  }
  if (now - stopped_at_ > GRACE)
    for (std::size_t job = 0; job < results_.size(); job++)
      if (!results_[job]) give_up(job, stop_reason_);
}

run_state coordinator::state() const {
  run_state s;
  s.done = settled_;
  s.total = jobs_.size();
  for (const std::uint64_t n : executions_)
    s.executions += n;
  s.depth = depth_;
  const check_request& r = jobs_[running_].request;
  s.running = fmt::format("{}:{} {}", r.scenario, r.variant, r.arch);
  return s;
}

std::vector<report::result> coordinator::run(const result_fn& on_result) {
  progress_line line;
  std::vector<report::result> in_order;
  steady_clock::time_point shown{};
  while (in_order.size() < jobs_.size()) {
    give_out();
    turn();
    watch_ranks();
    watch_limits();
    const auto now = steady_clock::now();
    if (now - shown < SHOW && settled_ < jobs_.size()) continue;
    shown = now;
    line.clear();
    while (in_order.size() < jobs_.size() && results_[in_order.size()]) {
      on_result(*results_[in_order.size()]);
      in_order.push_back(*results_[in_order.size()]);
    }
    line.show(state());
  }
  take_leave();
  return in_order;
}

/// Tells the others that all is done. Those that are not even here yet are waited for: mpirun takes it for an
/// accident if one rank goes without leave.
void coordinator::take_leave() {
  const auto missing = [](const member& m) { return !m.present && !m.lost; };
  const auto until = steady_clock::now() + ARRIVAL;
  while (std::any_of(members_.begin(), members_.end(), missing) && stop_reason_.empty() && lost_.empty() &&
         steady_clock::now() < until && !interrupted()) {
    turn();
    watch_ranks();
  }
  for (const member& m : members_)
    all_alive_ &= m.present;
  packet p = packet_of(mail::quit);
  p.put(all_alive_);
  for (unsigned to = 1; to < members_.size(); to++)
    if (members_[to].present) post(to, p);
}

/// Any other rank: does what rank 0 says until it says that all is done.
class worker : public office {
 public:
  worker(transport& ranks, nursery& children, const std::vector<job>& jobs, unsigned slots)
      : office(ranks, children, jobs) {
    packet p = packet_of(mail::hello);
    p.put_text(host());
    p.put(getpid());
    p.put(slots);
    post(0, p);
  }
  void run() {
    while (!over())
      turn();
  }
};

} // namespace

rank_run::rank_run(const std::vector<job>& jobs)
    : jobs_(jobs), children_([&jobs](const errand& what, int socket, desk& shared) {
        run_errand(jobs, what, socket, shared);
      }),
      ranks_(connect_ranks()) {}

rank_run::~rank_run() {
  std::fflush(stdout); // taking leave may be the last thing that this process does
  if (finished_ && all_alive_) ranks_->finish();
}

std::vector<report::result> rank_run::run(const run_limits& limits, const result_fn& on_result) {
  if (is_first()) {
    coordinator all(*ranks_, children_, jobs_, limits);
    std::vector<report::result> results = all.run(on_result);
    all_alive_ = all.all_alive();
    finished_ = true;
    return results;
  }
  worker w(*ranks_, children_, jobs_, limits.threads);
  w.run();
  all_alive_ = w.all_alive();
  finished_ = true;
  return {};
}

} // namespace racewalk::cli
