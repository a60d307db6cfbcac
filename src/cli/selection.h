// From names on the command line to the runs that they mean.
#pragma once

#include <vector>

#include "cli/engine.h"
#include "cli/options.h"

namespace racewalk::cli {

/// One run, and what its result is called if the explorer never gets to it.
struct job {
  check_request request;
  report::result blank;
};

/// Adds the users' files among the names to what there is. Throws as add_file().
void add_files(const std::vector<std::string>& names);

/// The runs that `options` asks for, in the order of the verdict table. Throws usage_error for a scenario,
/// variant, architecture or model that is not there.
std::vector<job> select_jobs(const check_options& options);

} // namespace racewalk::cli
