// Two threads, two CPUs, one address space: one pins pages for a device while the other unmaps them.
//
// Whoever comes first wins each page, and nobody gets hurt: a pin either fails or keeps the page, with what
// was in it, for as long as the device needs. This is the race that gup_fast and munmap are written for.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "racewalk/address_space.h"

namespace {

constexpr int ROUNDS = 300;
constexpr std::size_t PAGES = 16;
constexpr std::uint64_t BYTES = PAGES * 4096;

struct Shared {
  std::atomic<racewalk::vaddr_t> at{0}; ///< what is mapped at the moment; 0: nothing
  std::atomic<bool> done{false};
};

/// CPU 0: maps a buffer, writes to it, and unmaps it again, perhaps under the device's nose.
void map_and_unmap(racewalk::System& system, racewalk::AddressSpace& space, Shared& shared) {
  racewalk::CpuSession cpu(system, 0, space);
  for (std::uint64_t round = 1; round <= ROUNDS; ++round) {
    const racewalk::vaddr_t at = space.mmap(BYTES).value();
    for (std::size_t page = 0; page < PAGES; ++page)
      if (!cpu->store<std::uint64_t>(at + page * 4096, at + page)) std::abort();
    shared.at = at;
    std::this_thread::yield();
    space.munmap(at, BYTES).value();
    shared.at = 0;
  }
  shared.done = true;
}

/// CPU 1: a driver that pins the buffer and lets a device read it.
void pin_and_read(racewalk::System& system, racewalk::AddressSpace& space, Shared& shared) {
  racewalk::CpuSession cpu(system, 1, space);
  int pinned = 0;
  int outlived = 0;
  int refused = 0;
  while (!shared.done) {
    const racewalk::vaddr_t at = shared.at;
    if (at == 0) continue;
    const auto pin = space.pin(at, PAGES);
    if (!pin) {
      ++refused; // unmapped already
      continue;
    }
    ++pinned;
    if (!cpu->load<std::uint64_t>(at)) ++outlived; // the mapping is gone, the pages are not
    for (std::size_t page = 0; page < PAGES; ++page) {
      // atomic: if the buffer is mapped again by now, the other CPU may be writing to it
      auto& first_word = *reinterpret_cast<std::uint64_t*>((*pin)[page].data());
      const auto word = std::atomic_ref(first_word).load(std::memory_order_relaxed);
      if (word != 0 && word != at + page) {
        std::printf("a pinned page holds what was never written to it\n");
        std::abort();
      }
    }
  }
  std::printf("pinned %d times (%d of them outlived their mapping), came too late %d times\n", pinned,
              outlived, refused);
}

} // namespace

int main() {
  racewalk::System system(std::uint64_t{64} << 20, 2);
  {
    racewalk::AddressSpace space(system);
    Shared shared;
    std::jthread unmapper([&] { map_and_unmap(system, space, shared); });
    std::jthread driver([&] { pin_and_read(system, space, shared); });
  }
  system.settle();
  std::printf("%llu of %llu frames are free again\n", static_cast<unsigned long long>(system.free_frames()),
              static_cast<unsigned long long>(system.total_frames()));
  return system.free_frames() == system.total_frames() ? 0 : 1;
}
