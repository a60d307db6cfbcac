// The heavy half of the asymmetric barriers: membarrier(2).
#include "sync/native/asymmetric.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sync/native/run.h"

namespace racewalk::inline native {

namespace {

long membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

/// Without registration the kernel refuses the command. Once per process; fork() keeps it.
bool registered() {
  static const bool done = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
  return done;
}

} // namespace

void require_heavy_barrier() {
  if constexpr (tsan_build) return;
  VM_BUG_ON(
      !registered(), "INV-LIVE",
      "membarrier(2) is not available: Linux 4.14 or later is needed, and no seccomp filter against it");
}

void heavy_barrier() {
  if constexpr (tsan_build) {
    smp_mb();
    return;
  }
  require_heavy_barrier();
  VM_BUG_ON(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0, "INV-LIVE", "membarrier(2) failed");
}

} // namespace racewalk::inline native
