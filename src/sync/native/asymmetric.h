// Asymmetric barriers: the frequent side pays a compiler barrier, the rare side makes every running thread of
// the process execute a full one (membarrier(2), about 2 us with a running peer and 0.2 us alone).
//
// A light barrier is ordered against a heavy one exactly as two smp_mb() would be, and against nothing else.
#pragma once

#include "sync/native/sanitizer.h"

namespace racewalk::inline native {

inline void light_barrier() {
  if constexpr (tsan_build)
    smp_mb();
  else
    barrier();
}
void heavy_barrier();
/// INV-LIVE if there is no heavy barrier on this host.
void require_heavy_barrier();

} // namespace racewalk::inline native
