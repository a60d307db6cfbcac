// The `racewalk` command: parses the command line and calls the command.
#include <exception>
#include <new>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/ranks/transport.h"
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

/// Of the ranks of an MPI run only check makes use; the first does whatever else there is.
int run(const command_line& command, unsigned rank) {
  if (rank > 0 && !std::holds_alternative<check_options>(command)) return EXIT_AS_EXPECTED;
  return std::visit(dispatch{}, command);
}

} // namespace

int main(int argc, char** argv) {
  const std::optional<launch> ranks = launched();
  const unsigned rank = ranks ? ranks->rank : 0;
  if (ranks) want_memory_as_in_all_ranks(argv);
  const auto complain = [rank](const char* what) {
    if (rank == 0) fmt::print(stderr, "racewalk: {}\n", what); // all have the same to say
  };
  try {
    return run(parse_command_line(argc, argv), rank);
  } catch (const usage_error& e) {
    complain(e.what());
    return EXIT_WRONG_USAGE;
  } catch (const interruption& e) {
    complain(e.what());
    return EXIT_INCONCLUSIVE;
  } catch (const std::bad_alloc&) {
    complain("out of memory");
    return EXIT_INCONCLUSIVE;
  } catch (const std::exception& e) {
    complain(e.what());
    return EXIT_UNEXPECTED;
  }
}
