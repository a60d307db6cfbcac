// Who makes the calls of the public face: a CPU, or a thread that becomes one for the time of the call.
#pragma once

#include <mutex>
#include <optional>
#include <stdexcept>

#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Lets a thread that is no CPU make system calls: it becomes the machine's last CPU, one such thread at a
/// time.
class HouseCpu {
 public:
  explicit HouseCpu(System& system) {
    if (raw_smp_processor_id() != NO_CPU) {
      if (run_context != &system.machine_) throw std::logic_error("this thread is a CPU of another system");
      return;
    }
    turn_ = std::unique_lock(system.house_cpu_);
    binding_.emplace(system.machine_, system.cpus());
  }

 private:
  std::unique_lock<std::mutex> turn_; // outlives the binding
  std::optional<cpu_binding> binding_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
