// `racewalk bench`: the figures are bench/'s.
#include "bench/bench.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/usage.h"

namespace racewalk::cli {

int run_bench(const bench_options& options) {
  const std::vector<std::string> names = bench::names();
  for (const std::string& word : options.words)
    if (std::none_of(names.begin(), names.end(),
                     [&](const std::string& name) { return bench::chooses(word, name); }))
      throw unknown("figure", word, names);
  return bench::run(stdout, options.words) ? EXIT_AS_EXPECTED : EXIT_UNEXPECTED;
}

} // namespace racewalk::cli
