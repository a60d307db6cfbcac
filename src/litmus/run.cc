#include "litmus/run.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "litmus/error.h"
#include "litmus/judge.h"
#include "litmus/parser.h"
#include "litmus/report.h"

namespace racewalk::litmus {
namespace {

constexpr int as_tests_expect = 0, unexpected = 1, not_judged = 2;

int fail(const std::string& file, const std::string& why) {
  fmt::print(stderr, "{}: {}\n", file, why);
  return not_judged;
}

int judge_file(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) return fail(file, "cannot be read, or is empty");
  try {
    const auto begin = std::chrono::steady_clock::now();
    const litmus_test test = parse(text.view());
    const judgement result = judge(test);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    fmt::print("{}", to_text(test, result, took.count()));
    if (as_expected(test, result)) return as_tests_expect;
    std::fflush(stdout);
    fmt::print(stderr, "{}: the test expects {}, the model says {}\n", file, test.expected,
               observation(result));
    return unexpected;
  } catch (const bad_test& e) {
    std::fflush(stdout);
    return fail(fmt::format("{}:{}", file, e.line()), e.what());
  }
}

std::vector<std::string> litmus_files_below(const std::string& directory) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    if (entry.is_regular_file() && entry.path().extension() == ".litmus")
      files.push_back(entry.path().string());
  std::ranges::sort(files);
  return files;
}

} // namespace

int run_litmus(const std::vector<std::string>& paths) {
  int status = as_tests_expect;
  for (const std::string& path : paths) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(path, ignored)) {
      status = std::max(status, judge_file(path));
      continue;
    }
    const std::vector<std::string> files = litmus_files_below(path);
    if (files.empty()) status = std::max(status, fail(path, "there is no .litmus file in this directory"));
    for (const std::string& file : files)
      status = std::max(status, judge_file(file));
  }
  return status;
}

} // namespace racewalk::litmus
