// usage: stress SECONDS SEED
#include <cstdlib>

#include "cli/commands.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return racewalk::cli::run_stress({std::strtod(argv[1], nullptr), std::strtoull(argv[2], nullptr, 10)});
}
