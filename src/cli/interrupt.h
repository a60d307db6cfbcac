// Ctrl-C in a long run: what is known so far is printed before the command ends.
#pragma once

#include <stdexcept>

namespace racewalk::cli {

/// From here on SIGINT and SIGTERM only set interrupted(). A second one ends the process at once.
void watch_interrupts();

[[nodiscard]] bool interrupted();

/// Nothing is known yet that could be printed.
struct interruption : std::runtime_error {
  using std::runtime_error::runtime_error;
};

} // namespace racewalk::cli
