// A user's FILE.cc: compiled once, loaded by a child process for whatever is asked of it.
#pragma once

#include <string>
#include <vector>

#include "cli/compile.h"
#include "cli/engine.h"
#include "explore/packet.h"

namespace racewalk::cli {

class user_file {
 public:
  /// Throws usage_error if it does not compile or load, or declares no scenario.
  explicit user_file(const std::string& path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::vector<scenario_info>& scenarios() const { return scenarios_; }

  report::result check(const check_request& request, const progress_fn& report_progress,
                       const std::atomic<bool>& stop) const;
  report::result replay(const report::race_file& recorded) const;

 private:
  std::string path_;
  shared_object code_;
  std::vector<scenario_info> scenarios_;
};

} // namespace racewalk::cli
