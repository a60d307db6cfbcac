// `racewalk check`: decides scenarios and prints what was found.
//
// As text: a race table for each variant that was asked for by name and loses (and for every verdict that is
// not the expected one), then the verdict table. As JSON: one object a run, as soon as it is known. As KTAP
// or JUnit: all runs, when the last is decided. With --report, pages in a directory besides.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/job_runner.h"
#include "cli/ranks/run_over_ranks.h"
#include "cli/usage.h"
#include "report/json.h"
#include "report/junit.h"
#include "report/ktap.h"
#include "report/race_file.h"
#include "report/race_table.h"
#include "report/report_directory.h"
#include "report/verdict_table.h"

namespace racewalk::cli {
namespace {

using report::result;

/// What mpirun gives its ranks looks like a terminal wherever it leads.
report::colour colour_of_stdout() {
  return isatty(STDOUT_FILENO) && !launched() ? report::colour::on : report::colour::off;
}

std::map<std::string, std::string> titles() {
  std::map<std::string, std::string> titles;
  for (const scenario_info& s : scenarios())
    if (!s.summary.empty()) titles[s.name] = s.summary;
  return titles;
}

/// Two architectures often lose the same way; the steps then read the same.
bool same_steps(const result& a, const result& b) {
  const auto same = [](const report::trace_step& x, const report::trace_step& y) {
    return x.column == y.column && x.function == y.function && x.line == y.line && x.text == y.text;
  };
  return a.scenario == b.scenario && a.variant == b.variant &&
         std::equal(a.trace->steps.begin(), a.trace->steps.end(), b.trace->steps.begin(),
                    b.trace->steps.end(), same);
}

/// The race tables of `lost`, each once, with the other architectures on which the same steps lose.
void print_race_tables(const std::vector<result>& lost) {
  std::vector<bool> printed(lost.size());
  for (std::size_t i = 0; i < lost.size(); i++) {
    if (printed[i]) continue;
    fmt::print("{}", report::race_table(lost[i], {.colour = colour_of_stdout()}));
    std::vector<std::string> others;
    for (std::size_t j = i + 1; j < lost.size(); j++) {
      if (!same_steps(lost[i], lost[j])) continue;
      printed[j] = true;
      others.push_back(lost[j].arch);
    }
    if (!others.empty()) fmt::print("The same steps lose on {}.\n", fmt::join(others, ", "));
    fmt::print("\n\n");
  }
}

/// A counterexample that somebody asked for by name becomes a file in the current directory.
void save(const result& r) {
  const std::string name = report::race_file_name(r);
  std::ofstream file(name, std::ios::binary | std::ios::trunc);
  file << report::write_race_file(r);
  if (!file.flush())
    fmt::print(stderr, "racewalk: cannot write {} here; the counterexample is not saved\n", name);
}

void print_text(const std::vector<result>& results, const std::vector<result>& lost, bool saved,
                double seconds) {
  print_race_tables(lost);
  fmt::print("{}\n{}", report::verdict_table(results, titles(), colour_of_stdout()),
             report::verdict_summary(results, seconds));
  if (saved && !lost.empty())
    fmt::print("saved as NAME-VARIANT-ARCH.race; run one again with: racewalk replay {}\n",
               report::race_file_name(lost.front()));
}

/// The directory of --report, if there is to be one. Throws usage_error.
std::optional<report::report_directory> pages_for(const std::string& path) try {
  if (path.empty()) return std::nullopt;
  return std::optional<report::report_directory>(std::in_place, path);
} catch (const report::cannot_write& e) {
  throw usage_error(e.what());
}

void write_pages(const report::report_directory& pages, const std::vector<result>& results, double seconds,
                 output_format format) {
  try {
    report::write_report(pages, results, titles(), seconds);
  } catch (const report::cannot_write& e) {
    throw usage_error(e.what());
  }
  if (format == output_format::text) fmt::print("pages: {}\n", (pages.path() / "index.html").string());
}

int exit_status_of(const std::vector<result>& results) {
  if (!std::all_of(results.begin(), results.end(), [](const result& r) { return r.as_expected(); }))
    return EXIT_UNEXPECTED;
  const auto inconclusive = [](const result& r) { return r.verdict == report::verdict::inconclusive; };
  return std::any_of(results.begin(), results.end(), inconclusive) ? EXIT_INCONCLUSIVE : EXIT_AS_EXPECTED;
}

} // namespace

int run_check(const check_options& options) {
  watch_interrupts();
  add_files(options.names);
  const std::vector<job> jobs = select_jobs(options);
  std::optional<rank_run> ranks; // before anything that only the first does, so that all look alike
  if (launched()) ranks.emplace(jobs);
  const run_limits limits{options.jobs, options.timeout};
  if (ranks && !ranks->is_first()) {
    ranks->run(limits, [](const result&) {});
    return EXIT_AS_EXPECTED;
  }
  const bool by_name = !options.names.empty();
  const std::optional<report::report_directory> pages = pages_for(options.report);

  const auto start = std::chrono::steady_clock::now();
  const result_fn on_result = [&](const result& r) {
    if (options.format != output_format::json) return;
    fmt::print("{}", report::json_line(r));
    std::fflush(stdout);
  };
  const std::vector<result> results =
      ranks ? ranks->run(limits, on_result) : run_jobs(jobs, limits, on_result);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;

  std::vector<result> lost;
  for (const result& r : results)
    if (r.trace && (by_name || !r.as_expected())) lost.push_back(r);
  if (by_name)
    for (const result& r : lost)
      save(r);
  switch (options.format) {
  case output_format::text:
    print_text(results, lost, by_name, elapsed.count());
    break;
  case output_format::ktap:
    fmt::print("{}", report::ktap(results, by_name));
    break;
  case output_format::junit:
    fmt::print("{}", report::junit(results));
    break;
  case output_format::json: // printed as they came
    break;
  }
  if (pages) write_pages(*pages, results, elapsed.count(), options.format);
  return exit_status_of(results);
}

} // namespace racewalk::cli
