// Deciding in this very process: what the command does with the library's scenarios, and a child of it with
// those of a user's file.
#pragma once

#include "cli/engine.h"
#include "scenario/decide.h"

namespace racewalk::cli {

scenario_info info_of(const scenario& s);
const scenario& find_scenario(const std::vector<scenario>& all, const std::string& name);

/// As check() and replay(), of that scenario. `rerun_executions`: of so many it is asked whether the scenario
/// is a function of what it reads; the library's are.
report::result check_here(const scenario& s, const check_request& request, const progress_fn& report_progress,
                          const std::atomic<bool>& stop, std::uint64_t rerun_executions);
report::result replay_here(const scenario& s, const report::race_file& recorded);

} // namespace racewalk::cli
