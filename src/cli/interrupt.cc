#include "cli/interrupt.h"

#include <atomic>
#include <csignal>

namespace racewalk::cli {
namespace {

std::atomic<bool> seen{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the handler may only touch lock-free atomics");

void on_signal(int) { seen.store(true, std::memory_order_relaxed); }

} // namespace

void watch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return seen.load(std::memory_order_relaxed); }

} // namespace racewalk::cli
