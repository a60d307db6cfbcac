// `racewalk bench`: the figures are bench/'s.
#include "bench/bench.h"

#include <cstdio>

#include "cli/commands.h"
#include "cli/usage.h"

namespace racewalk::cli {

int run_bench(const bench_options& options) {
  bench::run(stdout, options.headings);
  return EXIT_AS_EXPECTED;
}

} // namespace racewalk::cli
