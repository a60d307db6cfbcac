// The commands. Each prints its results to stdout and returns the exit status.
#pragma once

#include "cli/options.h"

namespace racewalk::cli {

int run_list(const list_options& options);
int run_check(const check_options& options);
int run_replay(const replay_options& options);
int run_stress(const stress_options& options);
int run_bench(const bench_options& options);
int run_litmus(const litmus_options& options);

} // namespace racewalk::cli
