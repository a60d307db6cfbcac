// usage: stress maps|thp|files SECONDS SEED [THREADS [FAIL_PROBABILITY [MEMORY [SWAP [PREEMPT]]]]]
#include <cstdlib>

#include "cli/commands.h"

int main(int argc, char** argv) {
  if (argc < 4 || argc > 9) return 2;
  racewalk::cli::stress_options options;
  const auto mix = racewalk::cli::stress_mix_named(argv[1]);
  if (!mix) return 2;
  options.mix = *mix;
  options.seconds = std::strtod(argv[2], nullptr);
  options.seed = std::strtoull(argv[3], nullptr, 10);
  if (argc > 4) options.threads = static_cast<unsigned>(std::strtoul(argv[4], nullptr, 10));
  if (argc > 5) options.fail_probability = std::strtod(argv[5], nullptr);
  if (argc > 6) options.memory = std::strtoull(argv[6], nullptr, 10);
  if (argc > 7) options.swap = std::strtoull(argv[7], nullptr, 10);
  if (argc > 8) options.preempt = std::strtoull(argv[8], nullptr, 10);
  return racewalk::cli::run_stress(options);
}
