// The native library under random load, with everything that can be checked from outside checked.
//
// Threads take turns at being CPUs and run in a few address spaces. Each space has slots, windows of
// addresses that are mapped, unmapped, protected, written, read and pinned, in small pages and huge ones.
// What is checked:
//   - contents: a slot's owner of the moment knows what each page holds and which accesses must fail
//   - isolation: whoever reads a page at any time, through a translation or a pin, finds zeros or words that
//   were
//     written for that very page; a stale translation or a frame freed too early shows as a word of another
//   - forks: a child has what its parent had, and neither sees what is stored for the other from then on
//   - failures: with allocations that fail, every call leaves things as they were
//   - balance: in the end every frame is free again
// Not checked: that a racing access sees any particular one of the values written for its page.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace racewalk::stress {

struct options {
  double seconds = 10;
  std::uint64_t seed = 1;
  unsigned threads = 4; ///< may exceed the CPUs, which may exceed the processors
  unsigned cpus = 3;    ///< 1 to 61
  std::uint64_t memory = 256 << 20;
  unsigned spaces = 2;
  double failing_allocations = 0.001; ///< how many of them, 0 to 1
};

struct report {
  std::uint64_t operations = 0;
  std::uint64_t accesses = 0;
  std::uint64_t maps = 0;
  std::uint64_t unmaps = 0;
  std::uint64_t protects = 0;
  std::uint64_t pins = 0;
  std::uint64_t forks = 0;
  std::uint64_t out_of_memory = 0; ///< calls that failed for want of memory, as they were made to
  std::uint64_t frames_lost = 0;
  std::string failure; ///< the first thing that was wrong; empty if nothing was

  [[nodiscard]] bool ok() const { return failure.empty() && frames_lost == 0; }
};

/// Runs until the time is over, `stop` becomes true or something is wrong. Throws what System does for sizes
/// that cannot be.
report run(const options& how, const std::atomic<bool>& stop);

} // namespace racewalk::stress
