// `racewalk stress`: the native library under random load from several CPUs, with its checks on.
#include <algorithm>
#include <thread>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/stress/mix.h"
#include "cli/stress/preemption.h"
#include "cli/usage.h"
#include "report/text.h"

namespace racewalk::cli {

namespace {

stress::outcome run_mix(const stress_options& options) {
  switch (options.mix) {
  case stress_mix::maps:
    return stress::run_maps(options);
  case stress_mix::thp:
    return stress::run_thp(options);
  case stress_mix::files:
    break;
  }
  return stress::run_files(options);
}

stress::outcome run(const stress_options& options) {
  if (options.preempt == 0) return run_mix(options);
  const stress::preemption preemption(options.preempt, options.seed);
  stress::outcome o = run_mix(options);
  o.counts.emplace_back("times that a thread was stopped", preemption.count());
  return o;
}

} // namespace

int run_stress(const stress_options& options) {
  watch_interrupts();
  stress_options settled = options;
  if (settled.threads == 0) settled.threads = std::clamp(std::thread::hardware_concurrency(), 2U, 16U);
  fmt::print("mix {}, {} CPUs, seed {}, {:g} s\n", name_of(settled.mix), settled.threads, settled.seed,
             settled.seconds);
  std::fflush(stdout);
  const stress::outcome o = run(settled);
  for (const auto& [what, n] : o.counts)
    fmt::print("  {:<38} {:>14}\n", what, report::grouped(n));
  if (!o.failure.empty()) {
    fmt::print("FAILED: {}\n", o.failure);
    return EXIT_UNEXPECTED;
  }
  fmt::print("every check passed; all {} frames came back\n", report::grouped(o.frames));
  return interrupted() ? EXIT_INCONCLUSIVE : EXIT_AS_EXPECTED;
}

} // namespace racewalk::cli
