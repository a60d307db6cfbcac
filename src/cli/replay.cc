// `racewalk replay`: runs a saved counterexample again. Succeeds if it is lost again in the same way.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/interrupt.h"
#include "cli/usage.h"
#include "report/race_file.h"
#include "report/race_table.h"

namespace racewalk::cli {
namespace {

std::string contents_of(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  if (!file) throw usage_error(fmt::format("cannot read '{}'", name));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

report::race_file read(const std::string& name) {
  try {
    return report::read_race_file(contents_of(name));
  } catch (const report::bad_race_file& e) {
    throw usage_error(fmt::format("{} {}", name, e.what()));
  }
}

/// Where the user's file is that the counterexample was recorded from: where it was then, or beside the
/// recording.
std::string source_of(const report::race_file& file, const std::string& recording) {
  const std::filesystem::path source = file.file;
  const std::filesystem::path beside = std::filesystem::path(recording).parent_path() / source.filename();
  for (const std::filesystem::path& at : {source, beside})
    if (std::filesystem::exists(at)) return at.string();
  throw usage_error(
      fmt::format("{} was recorded from {}, which is neither there nor beside it", recording, file.file));
}

/// A file may be whole and still name something that this build does not have.
void require_known(const report::race_file& file) {
  std::vector<std::string> names;
  std::vector<std::string> variants;
  for (const scenario_info& s : scenarios()) {
    names.push_back(s.name);
    if (s.name == file.scenario)
      for (const variant_info& v : s.variants)
        variants.push_back(v.name);
  }
  require_choice("scenario", file.scenario, names);
  require_choice("variant of " + file.scenario, file.variant, variants);
  require_choice("architecture", file.arch, architectures());
  require_choice("model", file.model, {"sc", "tso", "weak"});
}

} // namespace

int run_replay(const replay_options& options) {
  watch_interrupts();
  const report::race_file file = read(options.file);
  if (!file.file.empty()) add_file(source_of(file, options.file));
  require_known(file);
  const report::result r = replay(file);
  if (r.trace)
    fmt::print("{}", report::race_table(
                         r, {.colour = isatty(STDOUT_FILENO) ? report::colour::on : report::colour::off}));
  if (r.verdict == report::verdict::violation && r.property == file.property) return EXIT_AS_EXPECTED;
  fmt::print(stderr, "racewalk: {} is not lost as recorded ({}): {}\n", options.file, file.property,
             r.reason.empty() ? "this code keeps the property on that schedule" : r.reason);
  return EXIT_UNEXPECTED;
}

} // namespace racewalk::cli
