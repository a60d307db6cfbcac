// The command's view of the explorer (cli/engine.h), over the scenarios.
#include <algorithm>
#include <chrono>
#include <list>
#include <new>
#include <set>
#include <sstream>
#include <string_view>

#include "cli/decider/decide_here.h"
#include "cli/decider/user_file.h"
#include "cli/usage.h"
#include "explore/linear.h"
#include "scenario/decide.h"
#include "scenarios/catalogue.h"

namespace racewalk::cli {

namespace {

/// Those that were named on the command line; filled before any check().
std::list<user_file>& user_files() {
  static std::list<user_file> files;
  return files;
}

/// The file that the scenario is in, or null.
const user_file* file_of(const std::string& scenario) {
  for (const user_file& file : user_files())
    for (const scenario_info& s : file.scenarios())
      if (s.name == scenario) return &file;
  return nullptr;
}

const variant& find_variant(const scenario& s, const std::string& name) {
  const auto found =
      std::find_if(s.variants.begin(), s.variants.end(), [&](const variant& v) { return v.name == name; });
  if (found == s.variants.end()) throw std::invalid_argument(s.name + " has no variant called " + name);
  return *found;
}

explore::memory_model model_named(const std::string& name, const arch_desc& arch) {
  if (name.empty()) return racewalk::default_model(arch);
  for (auto m : {explore::memory_model::sc, explore::memory_model::tso, explore::memory_model::weak})
    if (name == explore::to_string(m)) return m;
  throw std::invalid_argument("no memory model is called " + name);
}

report::expectation expectation_of(expect e) {
  switch (e) {
  case expect::safe:
    return report::expectation::safe;
  case expect::violation:
    return report::expectation::violation;
  case expect::open:
    break;
  }
  return report::expectation::unknown;
}

report::verdict verdict_of(explore::verdict v) {
  switch (v) {
  case explore::verdict::safe:
    return report::verdict::safe;
  case explore::verdict::violation:
    return report::verdict::violation;
  case explore::verdict::inconclusive:
    break;
  }
  return report::verdict::inconclusive;
}

/// `CPU1 munmap`
std::string cpu_column(const scenario& s, std::size_t cpu) {
  std::string column = "CPU" + std::to_string(cpu);
  return cpu < s.threads.size() ? column + " " + s.threads[cpu] : column;
}

/// Columns: the CPUs that took part, and those that run RCU callbacks if any step is theirs.
std::vector<std::string> columns_of(const scenario& s, const decision& d, unsigned* of_thread) {
  std::vector<std::string> columns;
  for (unsigned i = 0; i < d.cpus; i++) {
    columns.push_back(cpu_column(s, i));
    of_thread[i] = i;
  }
  for (const explore::step& step : d.story.steps)
    if (step.thread >= d.cpus && of_thread[step.thread] == ~0U) {
      of_thread[step.thread] = static_cast<unsigned>(columns.size());
      columns.push_back("RCU callbacks of CPU" + std::to_string(step.thread - d.cpus));
    }
  return columns;
}

std::string line_of(const explore::choice& c) {
  std::ostringstream line;
  line << c.thread << ' ' << c.source_thread << ' ' << c.source_po << ' ' << c.after_thread << ' '
       << c.after_po << ' ' << c.what << ' ' << c.kind;
  return line.str();
}

constexpr std::string_view sampled_key = "sampled ";

/// The first line of the schedule of a violation that was found at random.
std::string line_of(const explore::sampling& s) {
  return std::string(sampled_key) + std::to_string(s.executions) + ' ' + std::to_string(s.seed);
}

explore::sampling sampling_of(const std::string& text) {
  explore::sampling s;
  std::istringstream line(text.substr(sampled_key.size()));
  if (!(line >> s.executions >> s.seed))
    throw report::bad_race_file("its schedule has a line that is none: " + text);
  return s;
}

explore::choice choice_of(const std::string& text) {
  explore::choice c;
  std::istringstream line(text);
  if (!(line >> c.thread >> c.source_thread >> c.source_po >> c.after_thread >> c.after_po >> c.what) ||
      c.thread >= explore::MAX_THREADS || c.source_thread >= static_cast<int>(explore::MAX_THREADS) ||
      c.after_thread >= static_cast<int>(explore::MAX_THREADS))
    throw report::bad_race_file("its schedule has a line that is none: " + text);
  line >> c.kind; // older recordings have none
  return c;
}

report::trace_value value_of(const explore::reading& r) { return {r.text, r.target, r.detail}; }

report::place_kind kind_of(explore::variable_kind k) {
  switch (k) {
  case explore::variable_kind::entry:
    return report::place_kind::entry;
  case explore::variable_kind::page:
    return report::place_kind::page;
  case explore::variable_kind::memory:
    return report::place_kind::memory;
  case explore::variable_kind::lock:
    return report::place_kind::lock;
  case explore::variable_kind::cpu:
    return report::place_kind::cpu;
  case explore::variable_kind::mm:
    return report::place_kind::mm;
  case explore::variable_kind::other:
    break;
  }
  return report::place_kind::other;
}

report::effect_kind kind_of(explore::effect_kind k) {
  switch (k) {
  case explore::effect_kind::reads:
    return report::effect_kind::reads;
  case explore::effect_kind::writes:
    return report::effect_kind::writes;
  case explore::effect_kind::caches:
    return report::effect_kind::caches;
  case explore::effect_kind::drops:
    return report::effect_kind::drops;
  case explore::effect_kind::enters:
    return report::effect_kind::enters;
  case explore::effect_kind::leaves:
    return report::effect_kind::leaves;
  case explore::effect_kind::frees:
    break;
  }
  return report::effect_kind::frees;
}

report::race_trace trace_of(const scenario& s, const decision& d) {
  report::race_trace trace;
  unsigned column[explore::MAX_THREADS];
  std::fill(std::begin(column), std::end(column), ~0U);
  trace.columns = columns_of(s, d, column);
  for (const explore::variable& v : d.story.variables)
    trace.variables.push_back(
        {v.name, kind_of(v.place.kind), v.place.object, v.place.field, value_of(v.initial), v.followed});
  for (const explore::step& step : d.story.steps) {
    report::trace_step row;
    row.number = static_cast<unsigned>(trace.steps.size() + 1);
    row.column = column[step.thread];
    row.function = step.function;
    row.file = step.file;
    row.line = step.line;
    row.text = step.text;
    row.note = step.note;
    row.mark = step.loses   ? report::step_mark::violating
               : step.stale ? report::step_mark::stale
                            : report::step_mark::none;
    for (const explore::effect& e : step.effects)
      row.effects.push_back(
          {kind_of(e.kind), e.variable, value_of(e.value), e.source, e.missed, column[e.thread], e.name});
    trace.steps.push_back(std::move(row));
  }
  const explore::failure& lost = d.outcome.failures.front();
  const bool final_state = lost.thread == explore::MAX_THREADS;
  if (final_state && !trace.steps.empty()) trace.steps.back().mark = report::step_mark::violating;
  if (final_state) {
    trace.lost = lost.text;
  } else {
    const std::string function = explore::function_name(lost.where); // empty: before its first step
    trace.lost =
        trace.columns[column[lost.thread]] + (function.empty() ? "" : ", in " + function) + ": " + lost.text;
  }
  if (d.outcome.learned_from) trace.schedule.push_back(line_of(*d.outcome.learned_from));
  for (const explore::choice& c : d.schedule)
    trace.schedule.push_back(line_of(c));
  return trace;
}

report::result result_of(const scenario& s, const variant& v, const arch_desc& arch,
                         explore::memory_model model, const decision& d, double seconds) {
  report::result r;
  r.id = s.id;
  r.scenario = s.name;
  r.variant = v.name;
  r.variant_id = v.id;
  r.arch = arch.name;
  r.model = explore::to_string(model);
  r.verdict = verdict_of(d.outcome.verdict);
  if (v.expected) r.expected = expectation_of(v.expected(settings_for(v, arch, model)));
  r.executions = d.outcome.executions;
  r.blocked = d.outcome.blocked;
  r.seconds = seconds;
  r.reason = d.outcome.reason;
  if (!d.outcome.failures.empty()) {
    r.property = d.outcome.failures.front().invariant;
    r.reason = d.outcome.failures.front().text;
    r.trace = trace_of(s, d);
  }
  return r;
}

std::vector<std::string> names_of(std::span<const arch_desc* const> archs) {
  std::vector<std::string> names;
  for (const arch_desc* a : archs)
    names.emplace_back(a->name);
  return names;
}

} // namespace

scenario_info info_of(const scenario& s) {
  scenario_info info{s.name, s.id, s.summary, s.source, {}, {}, names_of(archs_of(s)), ""};
  for (std::size_t i = 0; i < s.threads.size(); i++)
    info.threads.push_back(cpu_column(s, i));
  for (const variant& v : s.variants)
    info.variants.push_back({v.name, v.id, v.summary});
  return info;
}

const scenario& find_scenario(const std::vector<scenario>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const scenario& s) { return s.name == name; });
  if (found == all.end()) throw std::invalid_argument("no scenario is called " + name);
  return *found;
}

std::vector<scenario_info> scenarios() {
  std::vector<scenario_info> infos;
  for (const scenario& s : all_scenarios())
    infos.push_back(info_of(s));
  for (const user_file& file : user_files())
    infos.insert(infos.end(), file.scenarios().begin(), file.scenarios().end());
  return infos;
}

void add_file(const std::string& path) {
  user_file file(path);
  std::set<std::string> taken;
  for (const scenario_info& s : scenarios())
    taken.insert(s.name);
  for (const scenario_info& s : file.scenarios())
    if (!taken.insert(s.name).second)
      throw usage_error(path + " declares a scenario called " + s.name + ", and there is one already");
  user_files().push_back(std::move(file));
}

std::vector<std::string> architectures() { return names_of(all_archs); }
std::vector<std::string> default_architectures() { return names_of(default_archs); }

std::string default_model(const std::string& arch) {
  return explore::to_string(racewalk::default_model(*find_arch(arch)));
}

report::result check_here(const scenario& s, const check_request& request, const progress_fn& report_progress,
                          const std::atomic<bool>& stop, std::uint64_t rerun_executions) {
  const variant& v = find_variant(s, request.variant);
  const arch_desc& arch = *find_arch(request.arch);
  explore::search_options options;
  options.model = model_named(request.model, arch);
  options.max_executions = request.max_executions.value_or(0);
  options.symmetry = request.symmetry;
  options.unordered_locks = request.unordered_locks;
  options.commuting = request.commuting;
  options.departures = request.departures;
  options.switches = request.switches;
  if (request.random) options.random = explore::sampling{request.random->executions, request.random->seed};
  options.rerun_executions = rerun_executions;
  options.stop = &stop;
  options.more_workers = request.spare_cpus;
  options.assist_over = request.assist_over;
  if (request.assistants)
    options.helpers = [&request] {
      std::vector<explore::helper> helpers;
      for (assistant& a : request.assistants())
        helpers.push_back({a.socket, std::move(a.name)});
      return helpers;
    };
  if (report_progress)
    options.report = [&](const explore::progress& p) { report_progress({p.executions, p.blocked, p.depth}); };
  const auto model = options.model;
  const auto begin = std::chrono::steady_clock::now();
  decision d;
  try {
    d = decide(s, v, arch, std::move(options));
  } catch (const std::bad_alloc&) {
    d.outcome.reason = "the explorer ran out of memory";
  } catch (const std::runtime_error& e) { // the scenario could not be set up
    d.outcome.reason = e.what();
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  return result_of(s, v, arch, model, d, elapsed.count());
}

report::result replay_here(const scenario& s, const report::race_file& recorded) {
  const variant& v = find_variant(s, recorded.variant);
  const arch_desc* arch = find_arch(recorded.arch);
  if (!arch) throw std::invalid_argument("no architecture is called " + recorded.arch);
  explore::search_options options;
  options.model = model_named(recorded.model, *arch);
  std::vector<explore::choice> schedule;
  for (const std::string& line : recorded.schedule)
    if (line.starts_with(sampled_key))
      options.random = sampling_of(line);
    else
      schedule.push_back(choice_of(line));
  const auto model = options.model;
  const decision d = replay(s, v, *arch, std::move(options), schedule);
  return result_of(s, v, *arch, model, d, 0);
}

report::result check(const check_request& request, const progress_fn& report_progress,
                     const std::atomic<bool>& stop) {
  if (const user_file* file = file_of(request.scenario)) return file->check(request, report_progress, stop);
  return check_here(find_scenario(all_scenarios(), request.scenario), request, report_progress, stop, 0);
}

report::result replay(const report::race_file& recorded) {
  if (const user_file* file = file_of(recorded.scenario)) return file->replay(recorded);
  return replay_here(find_scenario(all_scenarios(), recorded.scenario), recorded);
}

} // namespace racewalk::cli
