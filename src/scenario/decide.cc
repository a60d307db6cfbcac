// Runs a scenario under the explorer, with its settings in force.
#include "scenario/decide.h"

#include "explore/guard.h"
#include "explore/linear.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Makes the settings those of the runs of this OS thread.
class settings_scope {
 public:
  explicit settings_scope(const settings& s) {
    current_setting<arch_desc> = s.arch;
    current_setting<geometry_t> = &s.geometry;
    current_setting<policy_t> = &s.policy;
    current_setting<machine_policy_t> = &s.machine;
  }
  ~settings_scope() {
    current_setting<arch_desc> = nullptr;
    current_setting<geometry_t> = nullptr;
    current_setting<policy_t> = nullptr;
    current_setting<machine_policy_t> = nullptr;
  }
  settings_scope(const settings_scope&) = delete;
  settings_scope& operator=(const settings_scope&) = delete;
};

std::unique_ptr<scenario_world> set_up(const scenario& s, const settings& chosen) {
  const explore::guarded_section running(" in the set-up");
  std::unique_ptr<scenario_world> world = s.set_up(chosen);
  const std::size_t cpus = world->program.threads.size();
  if (cpus == 0) throw setup_violation("SCENARIO", "no CPU has a body");
  if (cpus > explore::MAX_THREADS) throw setup_violation("SCENARIO", "more than 16 CPUs have bodies");
  world->settled();
  return world;
}

template <class Run>
decision run_with(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options,
                  Run run) {
  const settings chosen = settings_for(v, arch, options.model);
  settings_scope in_force(chosen);
  const std::unique_ptr<scenario_world> world = set_up(s, chosen);
  world->program.name = world->names.name;
  const auto e = std::make_unique<explore::explorer>(world->program, std::move(options));
  const explore::guarded_run running;
  decision d{run(*e), static_cast<unsigned>(world->program.threads.size()), {}, {}};
  if (!d.outcome.failures.empty()) {
    const explore::failure& lost = d.outcome.failures.front();
    d.story = explore::story_of(lost, e->places(), chosen.model, world->names);
    d.schedule = explore::schedule_of(lost);
  }
  return d;
}

} // namespace

explore::memory_model default_model(const arch_desc& arch) {
  return arch.memory_model == memory_model_t::tso ? explore::memory_model::tso : explore::memory_model::weak;
}

std::vector<const arch_desc*> archs_of(const scenario& s) {
  return s.archs.empty() ? std::vector<const arch_desc*>(common_archs.begin(), common_archs.end()) : s.archs;
}

settings settings_for(const variant& v, const arch_desc& arch, explore::memory_model model) {
  settings s;
  s.arch = &arch;
  s.model = model;
  if (v.depart) v.depart(s);
  return s;
}

decision decide(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options) {
  return run_with(s, v, arch, std::move(options), [](explore::explorer& e) { return e.run(); });
}

decision replay(const scenario& s, const variant& v, const arch_desc& arch, explore::search_options options,
                const std::vector<explore::choice>& schedule) {
  return run_with(s, v, arch, std::move(options), [&](explore::explorer& e) { return e.replay(schedule); });
}

} // namespace racewalk::inline RACEWALK_BACKEND
