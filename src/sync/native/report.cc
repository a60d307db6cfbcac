// What happens when an invariant does not hold: the handler is told, and the process ends.
#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "sync/native/run.h"

namespace racewalk::inline native {

namespace {

void print_violation(const char* invariant, const char* text) {
  std::fprintf(stderr, "racewalk: %s: %s\n", invariant, text);
}

std::atomic<violation_handler> current_handler{print_violation};

} // namespace

violation_handler set_violation_handler(violation_handler handler) {
  return current_handler.exchange(handler ? handler : print_violation);
}

void violation(const char* invariant, const char* text, site) {
  current_handler.load()(invariant, text);
  std::abort();
}

} // namespace racewalk::inline native
