#include "cli/decider/user_file.h"

#include <algorithm>

#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include "cli/decider/child.h"
#include "cli/decider/decide_here.h"
#include "cli/usage.h"
#include "cli/wire.h"
#include "explore/guard.h"

namespace racewalk::cli {
namespace {

/// How many executions are run a second time, to see whether the code does the same.
constexpr std::uint64_t RERUN_EXECUTIONS = 1000;

/// `/proc/self/fd/3: undefined symbol: _ZN8racewalk...` without the path, in C++.
std::string load_error() {
  std::string text = dlerror();
  if (const auto colon = text.find(": "); text.starts_with('/') && colon != std::string::npos)
    text.erase(0, colon + 2);
  const auto symbol = text.rfind("_Z");
  if (symbol == std::string::npos) return text;
  int status = 0;
  char* readable = abi::__cxa_demangle(text.c_str() + symbol, nullptr, nullptr, &status);
  if (status == 0) text.replace(symbol, std::string::npos, readable);
  std::free(readable);
  return text;
}

/// In a child: makes the file's declarations those of this process. Throws std::runtime_error.
void load(const shared_object& code) {
  const explore::guarded_section loading(" while the file is loaded");
  if (!dlopen(code.path().c_str(), RTLD_NOW | RTLD_LOCAL)) throw std::runtime_error(load_error());
}

/// A name is part of a file's name, and of what is typed to mean it.
bool usable(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '-' || c == '.';
  });
}

/// In a child: what was declared, described. Throws std::runtime_error for a declaration that is wrong.
std::vector<scenario_info> declared_infos(const std::string& path) {
  std::vector<scenario_info> infos;
  for (const scenario& s : declared_scenarios()) {
    if (!usable(s.name))
      throw std::runtime_error(
          fmt::format("a scenario's name '{}' has other characters than a-z 0-9 _ - .", s.name));
    if (!s.set_up) throw std::runtime_error(fmt::format("scenario {} has no set_up", s.name));
    for (const variant& v : s.variants)
      if (!usable(v.name))
        throw std::runtime_error(
            fmt::format("{}: a variant's name '{}' has other characters than a-z 0-9 _ - .", s.name, v.name));
    infos.push_back(info_of(s));
    infos.back().file = path;
  }
  return infos;
}

void ignore(dashboard&) {}

/// The request as the child passes it on: what it would ask of this process goes over the dashboard.
check_request request_over(dashboard& board, const check_request& asked) {
  check_request request = asked;
  if (asked.spare_cpus)
    request.spare_cpus = [&board] {
      board.wanting = true;
      return board.spare.exchange(0);
    };
  return request;
}

report::result inconclusive(const std::string& scenario, const std::string& variant, const std::string& arch,
                            const std::string& model, std::string reason) {
  report::result r;
  r.scenario = scenario;
  r.variant = variant;
  r.arch = arch;
  r.model = model.empty() ? default_model(arch) : model;
  r.reason = std::move(reason);
  return r;
}

} // namespace

user_file::user_file(const std::string& path) : path_(path), code_(compile(path)) {
  child_result listed = run_child(
      [&](dashboard&) {
        load(code_);
        explore::packet answer;
        put(answer, declared_infos(path_));
        return answer;
      },
      ignore);
  if (!listed.accident.empty()) throw usage_error(fmt::format("{} does not load: {}", path, listed.accident));
  scenarios_ = get_infos(listed.answer);
  if (scenarios_.empty())
    throw usage_error(fmt::format("{} declares no scenario: `const declare_scenario mine{{{{...}}}};` "
                                  "(racewalk/scenario.h)",
                                  path));
}

report::result user_file::check(const check_request& request, const progress_fn& report_progress,
                                const std::atomic<bool>& stop) const {
  child_result ended = run_child(
      [&](dashboard& board) {
        load(code_);
        const progress_fn note = [&board](const progress& p) {
          board.executions = p.executions;
          board.blocked = p.blocked;
          board.depth = p.depth;
        };
        explore::packet answer;
        put(answer, check_here(find_scenario(declared_scenarios(), request.scenario),
                               request_over(board, request), note, board.stop, RERUN_EXECUTIONS));
        return answer;
      },
      [&](dashboard& board) {
        board.stop = stop.load();
        if (board.wanting.exchange(false) && request.spare_cpus) board.spare += request.spare_cpus();
        if (report_progress) report_progress({board.executions, board.blocked, board.depth});
      });
  report::result r = ended.accident.empty() ? get_result(ended.answer)
                                            : inconclusive(request.scenario, request.variant, request.arch,
                                                           request.model, "the program: " + ended.accident);
  r.file = path_;
  return r;
}

report::result user_file::replay(const report::race_file& recorded) const {
  child_result ended = run_child(
      [&](dashboard&) {
        load(code_);
        explore::packet answer;
        put(answer, replay_here(find_scenario(declared_scenarios(), recorded.scenario), recorded));
        return answer;
      },
      ignore);
  return ended.accident.empty() ? get_result(ended.answer)
                                : inconclusive(recorded.scenario, recorded.variant, recorded.arch,
                                               recorded.model, "the program: " + ended.accident);
}

} // namespace racewalk::cli
