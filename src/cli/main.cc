// The `racewalk` command: parses the command line and calls the command.
#include <exception>
#include <new>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/usage.h"

namespace {

using namespace racewalk::cli;

struct dispatch {
  int operator()(const help_text& help) const {
    fmt::print("{}", help.text);
    return EXIT_AS_EXPECTED;
  }
  int operator()(const list_options& o) const { return run_list(o); }
  int operator()(const check_options& o) const { return run_check(o); }
  int operator()(const replay_options& o) const { return run_replay(o); }
  int operator()(const stress_options& o) const { return run_stress(o); }
  int operator()(const bench_options& o) const { return run_bench(o); }
  int operator()(const litmus_options& o) const { return run_litmus(o); }
};

} // namespace

int main(int argc, char** argv) {
  try {
    return std::visit(dispatch{}, parse_command_line(argc, argv));
  } catch (const usage_error& e) {
    fmt::print(stderr, "racewalk: {}\n", e.what());
    return EXIT_WRONG_USAGE;
  } catch (const interruption& e) {
    fmt::print(stderr, "racewalk: {}\n", e.what());
    return EXIT_INCONCLUSIVE;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "racewalk: out of memory\n");
    return EXIT_INCONCLUSIVE;
  } catch (const std::exception& e) {
    fmt::print(stderr, "racewalk: {}\n", e.what());
    return EXIT_UNEXPECTED;
  }
}
