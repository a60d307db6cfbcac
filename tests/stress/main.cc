// usage: stress maps|thp SECONDS SEED [THREADS [FAIL_PROBABILITY]]
#include <cstdlib>
#include <string_view>

#include "cli/commands.h"

int main(int argc, char** argv) {
  using racewalk::cli::stress_mix;
  if (argc < 4 || argc > 6) return 2;
  racewalk::cli::stress_options options;
  options.mix = std::string_view(argv[1]) == "thp" ? stress_mix::thp : stress_mix::maps;
  options.seconds = std::strtod(argv[2], nullptr);
  options.seed = std::strtoull(argv[3], nullptr, 10);
  if (argc > 4) options.threads = static_cast<unsigned>(std::strtoul(argv[4], nullptr, 10));
  if (argc > 5) options.fail_probability = std::strtod(argv[5], nullptr);
  return racewalk::cli::run_stress(options);
}
