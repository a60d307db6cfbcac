// A workload in a process of its own that may use only so much memory, the page cache of its files included:
// in a memory cgroup, of version 1 or 2, below one that this process may make others in.
//
// Memory that it alone holds may go to a swap file, which is the kernel's while the process is there.
//
// The cgroup and the swap file go with the process, and that when nobody asks it for anything any more, also
// if this process was killed: who made them is a third process, which only waits for that.
#pragma once

#include <cstdint>
#include <memory>

#include "bench/workload.h"

namespace racewalk::bench {

/// What a process may have, in bytes.
struct process_limits {
  std::uint64_t memory;
  std::uint64_t swap = 0; ///< 0: no swap file is made
};

/// Null where memory cannot be limited, or the kernel takes no such swap file. Throws std::system_error if
/// there can be no process. No other thread of this process holds a lock that `make` needs.
std::unique_ptr<workload> in_limited_process(const process_limits& limits, const make_workload& make);

} // namespace racewalk::bench
