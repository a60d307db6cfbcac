// A stand-in for the explorer and the native commands: two scenarios with made-up verdicts, so that the tests
// of the command see every kind of result without deciding anything.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <new>
#include <thread>

#include <fmt/format.h>

#include "../report/sample.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/usage.h"

namespace racewalk::cli {

std::vector<scenario_info> scenarios() {
  return {{"munmap_table_free",
           "S1.4",
           "a lockless walk against the freeing of the page table",
           "mail 1",
           {"CPU0 gup", "CPU1 munmap"},
           {{"call_rcu", "a", "as shipped"}, {"no_rcu", "b", "freed at once"}},
           {"x86-64", "arm64"}},
          {"odd_ends",
           "S9.9",
           "what a run can end in",
           "nobody",
           {"CPU0"},
           {{"endless", "a", "never ends"},
            {"wrong", "b", "safe where a violation is expected"},
            {"greedy", "c", "takes all memory"}},
           {"x86-64"}},
          {"odd_text",
           "S9.10",
           report::odd_text,
           "nobody",
           {"CPU0", "CPU1"},
           {{"lost", "a", "loses"}, {"wrong", "b", "loses where it should not"}},
           {"arm64"}},
          {"elsewhere",
           "S9.11",
           "what is about no default architecture",
           "nobody",
           {"CPU0"},
           {{"call_rcu", "a", "as shipped"}},
           {"arm64-old"}}};
}

void add_file(const std::string& path) { throw usage_error("no compiler behind " + path); }

std::vector<std::string> architectures() { return {"x86-64", "arm64", "arm64-old"}; }
std::vector<std::string> default_architectures() { return {"x86-64", "arm64"}; }

std::string default_model(const std::string& arch) { return arch == "x86-64" ? "tso" : "weak"; }

report::result check(const check_request& request, const progress_fn& report_progress,
                     const std::atomic<bool>& stop) {
  report::result r = request.variant == "no_rcu" ? report::sample_violation() : report::sample_safe();
  if (request.scenario == "odd_text") {
    r = report::sample_odd();
    if (request.variant == "wrong") r.expected = report::expectation::safe;
    r.variant = request.variant + r.variant;
    return r;
  }
  if (request.random) {
    r = report::result{};
    r.executions = request.random->executions;
    r.reason = fmt::format("{} random, seed {}", request.random->executions, request.random->seed);
  }
  r.scenario = request.scenario;
  r.variant = request.variant;
  r.arch = request.arch;
  r.model = request.model.empty() ? default_model(request.arch) : request.model;
  if (request.variant == "wrong") r.expected = report::expectation::violation;
  if (request.variant == "greedy") throw std::bad_alloc();
  if (request.variant == "endless") {
    r.verdict = report::verdict::inconclusive;
    r.executions = 0;
    std::ofstream("endless.runs");
    while (!stop.load() && (!request.max_executions || r.executions < *request.max_executions)) {
      report_progress({++r.executions, 0, 10});
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    r.reason = stop.load() ? "stopped" : fmt::format("--max-executions {}", *request.max_executions);
  }
  return r;
}

report::result replay(const report::race_file& recorded) {
  report::result r = report::sample_violation();
  r.scenario = recorded.scenario;
  r.variant = recorded.variant;
  r.arch = recorded.arch;
  r.model = recorded.model;
  return r;
}

int run_stress(const stress_options& options) {
  fmt::print("stress seconds={} seed={} mix={} threads={} fail_nth={} fail_probability={} memory={} swap={} "
             "preempt={}\n",
             options.seconds, options.seed, name_of(options.mix), options.threads, options.fail_nth,
             options.fail_probability, options.memory, options.swap, options.preempt);
  return 0;
}

int run_bench(const bench_options& options) {
  fmt::print("bench");
  for (const std::string& word : options.words)
    fmt::print(" {}", word);
  fmt::print("\n");
  return 0;
}

} // namespace racewalk::cli
