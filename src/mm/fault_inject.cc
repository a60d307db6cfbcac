#include "mm/fault_inject.h"

#include <random>

namespace racewalk::inline RACEWALK_BACKEND {

void fault_attr::arm() {
  armed_.store(nth_.load() != 0 || interval_.load() != 0 || probability_.load() != 0);
}

void fault_attr::fail_nth(u64 n) {
  nth_.store(n);
  arm();
}

void fault_attr::fail_every(u64 n) {
  seen_.store(0);
  interval_.store(n);
  arm();
}

void fault_attr::fail_with_probability(u32 millionths) {
  probability_.store(millionths);
  arm();
}

bool fault_attr::is_nth() {
  for (u64 n = nth_.load(); n > 0;)
    if (nth_.compare_exchange_weak(n, n - 1)) return n == 1;
  return false;
}

bool fault_attr::decide() {
  thread_local std::minstd_rand random{std::random_device{}()};
  const u64 interval = interval_.load();
  const bool fails = is_nth() || (interval != 0 && seen_.fetch_add(1) % interval == interval - 1) ||
                     random() % 1'000'000 < probability_.load();
  if (fails) ++failed_;
  return fails;
}

} // namespace racewalk::inline RACEWALK_BACKEND
