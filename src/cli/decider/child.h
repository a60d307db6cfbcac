// Runs code of the user's in a process of its own, so that whatever it does ends there.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "explore/packet.h"

namespace racewalk::cli {

/// What both processes see.
struct dashboard {
  std::atomic<std::uint64_t> executions{0};
  std::atomic<std::uint64_t> blocked{0};
  std::atomic<unsigned> depth{0};
  std::atomic<bool> stop{false};    ///< the child should end soon
  std::atomic<bool> wanting{false}; ///< it could use more CPUs
  std::atomic<unsigned> spare{0};   ///< those that it may take
  char last_words[256] = {};        ///< of a child that its guard ended
};

struct child_result {
  explore::packet answer; ///< empty if there was an accident
  std::string accident;   ///< how the child ended: `segmentation fault in the set-up`
};

/// Forks a guarded process that computes the answer. `tick` is called in this process now and then. A child
/// that does not heed dashboard::stop is killed.
child_result run_child(const std::function<explore::packet(dashboard&)>& compute,
                       const std::function<void(dashboard&)>& tick);

} // namespace racewalk::cli
