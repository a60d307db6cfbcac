// Ctrl-C in a long run: what is known so far is printed before the command ends.
#pragma once

namespace racewalk::cli {

/// From here on SIGINT and SIGTERM only set interrupted(). A second one ends the process at once.
void watch_interrupts();

[[nodiscard]] bool interrupted();

} // namespace racewalk::cli
