// `racewalk litmus`: the verdicts of Linux-kernel litmus tests.
#include "cli/commands.h"
#include "litmus/run.h"

namespace racewalk::cli {

int run_litmus(const litmus_options& options) { return litmus::run_litmus(options.paths); }

} // namespace racewalk::cli
