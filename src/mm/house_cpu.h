// Who makes the calls of the public face: a CPU, or a thread that becomes one for the time of the call.
#pragma once

#include <mutex>
#include <optional>
#include <stdexcept>

#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What the thread is about to do. Faults wait for userfaultfd handlers, so a handler must not wait for the
/// CPU of a thread that faults; and address spaces that go away wait for khugepaged. Writeback and
/// kswapd wait for the disk.
enum class house_call : u8 { ordinary, userfaultfd, khugepaged, writeback, kswapd };

/// Makes a thread that is no CPU one of the machine's last CPUs for the time of a call, one thread at a time.
class HouseCpu {
 public:
  explicit HouseCpu(System& system, house_call call = house_call::ordinary) {
    if (raw_smp_processor_id() != NO_CPU) {
      if (run_context != &system.machine_) throw std::logic_error("this thread is a CPU of another system");
      return;
    }
    const auto which = static_cast<unsigned>(call);
    turn_ = std::unique_lock(system.house_cpu_[which]);
    binding_.emplace(system.machine_, system.cpus() + which);
  }

 private:
  std::unique_lock<std::mutex> turn_; // outlives the binding
  std::optional<cpu_binding> binding_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
