// Checkpoints of memory that is in use: the first takes every page, each later one those that were stored to
// since.
//
// Two workers change a heap at random. At each checkpoint they pause, the pages that pagemap() says are
// soft-dirty are copied, clear_refs() begins the next increment, and they go on. In the end the base and its
// increments, put together in order, are compared byte by byte with the memory as it was at the last
// checkpoint.
#include <barrier>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "racewalk/address_space.h"

namespace {

constexpr int CHECKPOINTS = 40;
constexpr int WORKERS = 2;
constexpr int STORES = 200; ///< of each worker, from one checkpoint to the next
constexpr std::size_t PAGE = 4096;
constexpr std::size_t PAGES = 1024;

/// What one checkpoint has saved: pages by their number.
using Increment = std::map<std::size_t, std::vector<std::byte>>;

std::vector<std::byte> read_page(racewalk::Cpu& cpu, racewalk::vaddr_t at) {
  std::vector<std::byte> page(PAGE);
  if (!cpu.copy_in(page.data(), at, PAGE)) std::abort();
  return page;
}

/// Everybody else has paused.
Increment checkpoint(racewalk::AddressSpace& space, racewalk::Cpu& cpu, racewalk::vaddr_t heap) {
  Increment saved;
  const auto pages = space.pagemap(heap, PAGES).value();
  for (std::size_t i = 0; i < PAGES; ++i)
    if (pages[i].present() && pages[i].soft_dirty()) saved.emplace(i, read_page(cpu, heap + i * PAGE));
  space.clear_refs().value();
  return saved;
}

void work(racewalk::Cpu& cpu, racewalk::vaddr_t heap, std::uint64_t seed, std::barrier<>& pause) {
  std::uint64_t state = seed;
  for (int round = 0; round < CHECKPOINTS; ++round) {
    for (int n = 0; n < STORES; ++n) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      // most stores go to a few pages, as they do
      const std::size_t page = state >> 60 == 0 ? (state >> 33) % PAGES : (state >> 33) % 32;
      if (!cpu.store<std::uint64_t>(heap + page * PAGE + (state >> 20) % (PAGE / 8) * 8, state)) std::abort();
    }
    pause.arrive_and_wait();
    pause.arrive_and_wait(); // the checkpoint has been taken
  }
}

} // namespace

int main() {
  racewalk::System system(std::uint64_t{64} << 20, WORKERS + 1);
  racewalk::AddressSpace space(system);
  const racewalk::vaddr_t heap = space.mmap(PAGES * PAGE).value();
  std::barrier<> pause(WORKERS + 1);
  std::vector<std::jthread> workers;
  for (unsigned i = 1; i <= WORKERS; ++i)
    workers.emplace_back([&, i] {
      racewalk::CpuSession cpu(system, i, space);
      work(*cpu, heap, i, pause);
    });

  racewalk::CpuSession cpu(system, 0, space);
  std::vector<Increment> increments;
  std::vector<std::byte> memory; // as it was at the last checkpoint
  for (int round = 0; round < CHECKPOINTS; ++round) {
    pause.arrive_and_wait();
    increments.push_back(checkpoint(space, *cpu, heap));
    if (round + 1 == CHECKPOINTS)
      for (std::size_t i = 0; i < PAGES; ++i) {
        const auto page = read_page(*cpu, heap + i * PAGE);
        memory.insert(memory.end(), page.begin(), page.end());
      }
    pause.arrive_and_wait();
  }

  std::vector<std::byte> restored(PAGES * PAGE);
  std::size_t copied = 0;
  for (const Increment& increment : increments) {
    copied += increment.size();
    for (const auto& [page, content] : increment)
      std::memcpy(restored.data() + page * PAGE, content.data(), PAGE);
  }
  std::printf("%d checkpoints of %zu pages copied %zu pages\n", CHECKPOINTS, PAGES, copied);
  if (restored == memory) return 0;
  std::printf("what was restored is not what memory was\n");
  return 1;
}
