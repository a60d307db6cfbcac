// A workload in a process of its own that may use only so much memory, the page cache of its files included:
// in a memory cgroup, of version 1 or 2, below one that this process may make others in.
//
// The cgroup goes with the process, and that when nobody asks it for anything any more, also if this process
// was killed: who made the cgroup is a third process, which only waits for that.
#pragma once

#include <cstdint>
#include <memory>

#include "bench/workload.h"

namespace racewalk::bench {

/// Null where memory cannot be limited. Throws std::system_error if there can be no process. No other thread
/// of this process holds a lock that `make` needs.
std::unique_ptr<workload> in_limited_process(std::uint64_t bytes, const make_workload& make);

} // namespace racewalk::bench
