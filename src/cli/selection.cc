#include "cli/selection.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "cli/compile.h"
#include "cli/usage.h"

namespace racewalk::cli {
namespace {

/// What one NAME[:VARIANT] means. An empty variant means all of them.
struct wanted {
  std::string scenario;
  std::string variant;
};

wanted split(const std::string& name) {
  const std::size_t colon = name.rfind(':');
  return {name.substr(0, colon), colon == std::string::npos ? "" : name.substr(colon + 1)};
}

/// A scenario is called by its name, by its number in the catalogue, or by the user's file that it is in.
bool matches(const scenario_info& s, const wanted& w) {
  return w.scenario == s.name || (w.scenario == (s.file.empty() ? s.id : s.file));
}
bool matches(const variant_info& v, const wanted& w) {
  return w.variant.empty() || w.variant == v.name || w.variant == v.id;
}

/// Throws for a name that no scenario or variant answers to.
void require_known(const std::vector<scenario_info>& all, const wanted& w, const std::string& name) {
  std::vector<std::string> scenario_names;
  std::vector<std::string> variant_names;
  bool found_variant = false;
  for (const scenario_info& s : all) {
    scenario_names.push_back(s.name);
    if (!matches(s, w)) continue;
    for (const variant_info& v : s.variants) {
      variant_names.push_back(v.name);
      found_variant |= matches(v, w);
    }
  }
  if (variant_names.empty()) throw unknown("scenario", w.scenario, scenario_names);
  if (!found_variant || name.ends_with(':'))
    throw unknown(fmt::format("variant of {}", w.scenario), w.variant, variant_names);
}

std::vector<std::string> select_archs(const std::vector<std::string>& asked) {
  std::vector<std::string> all = architectures();
  if (asked.empty()) return default_architectures();
  std::vector<std::string> choices = all;
  choices.emplace_back("all");
  for (const std::string& arch : asked)
    require_choice("architecture", arch, choices);
  if (std::find(asked.begin(), asked.end(), "all") != asked.end()) return all;

  std::vector<std::string> archs; // in the table's order, each once
  for (const std::string& arch : all)
    if (std::find(asked.begin(), asked.end(), arch) != asked.end()) archs.push_back(arch);
  return archs;
}

/// Where to decide a scenario: as asked. If nothing was, and it is about architectures that are not among the
/// default ones, on all of those.
std::vector<std::string> archs_for(const scenario_info& s, const std::vector<std::string>& selected,
                                   bool asked) {
  std::vector<std::string> archs;
  for (const std::string& arch : selected)
    if (std::find(s.archs.begin(), s.archs.end(), arch) != s.archs.end()) archs.push_back(arch);
  return archs.empty() && !asked ? s.archs : archs;
}

job make_job(const scenario_info& s, const variant_info& v, const std::string& arch,
             const check_options& options) {
  job j;
  j.request.scenario = s.name;
  j.request.variant = v.name;
  j.request.arch = arch;
  j.request.model = options.model;
  j.request.max_executions = options.max_executions;
  j.request.symmetry = options.symmetry;
  j.request.unordered_locks = options.unordered_locks;
  j.request.commuting = options.commuting;
  j.request.departures = options.departures;
  j.request.switches = options.switches;
  if (options.random) j.request.random = sampling{*options.random, options.seed};
  j.blank.id = s.id;
  j.blank.scenario = s.name;
  j.blank.variant = v.name;
  j.blank.variant_id = v.id;
  j.blank.arch = arch;
  j.blank.model = options.model.empty() ? default_model(arch) : options.model;
  return j;
}

} // namespace

void add_files(const std::vector<std::string>& names) {
  std::set<std::string> added;
  for (const std::string& name : names)
    if (const std::string file = split(name).scenario; names_a_file(file) && added.insert(file).second)
      add_file(file);
}

std::vector<job> select_jobs(const check_options& options) {
  const std::vector<scenario_info> all = scenarios();
  const std::vector<std::string> archs = select_archs(options.archs);
  if (!options.model.empty()) require_choice("model", options.model, {"sc", "tso", "weak"});

  std::vector<wanted> wanted_names;
  for (const std::string& name : options.names) {
    wanted_names.push_back(split(name));
    require_known(all, wanted_names.back(), name);
  }
  const auto is_wanted = [&](const scenario_info& s, const variant_info& v) {
    return wanted_names.empty() ||
           std::any_of(wanted_names.begin(), wanted_names.end(),
                       [&](const wanted& w) { return matches(s, w) && matches(v, w); });
  };

  std::vector<job> jobs;
  for (const scenario_info& s : all)
    for (const variant_info& v : s.variants)
      if (is_wanted(s, v))
        for (const std::string& arch : archs_for(s, archs, !options.archs.empty()))
          jobs.push_back(make_job(s, v, arch, options));
  if (jobs.empty()) throw usage_error("nothing to check: no named scenario runs on the named architectures");
  return jobs;
}

} // namespace racewalk::cli
