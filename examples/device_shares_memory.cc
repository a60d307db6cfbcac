// A device that works in a program's address space, by the program's own page table (shared virtual
// addressing): it gets pointers, not pinned pages.
//
// CPU 0 writes a string into memory that it maps for each job, the device counts its letters, and the memory
// is unmapped the moment the device has answered, or before. Where the device comes too late its access is
// refused; it never reads what the memory has become since.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "mm/iommu_sva.h"
#include "racewalk/address_space.h"

namespace {

constexpr int JOBS = 400;
constexpr std::string_view TEXT = "which of us two is the first to know";
constexpr std::uint64_t REFUSED = ~std::uint64_t{0};

/// One job at a time: where the text is, and what became of it.
struct Doorbell {
  std::atomic<racewalk::vaddr_t> text{0}; ///< 0: none
  std::atomic<std::uint64_t> letters{0};
  std::atomic<bool> over{false};
};

/// The letters up to the 0, or REFUSED if the memory went away meanwhile.
std::uint64_t count_letters(racewalk::Device& device, racewalk::vaddr_t at) {
  for (std::uint64_t n = 0;; ++n) {
    const auto letter = device.load<std::uint8_t>(at + n);
    if (!letter) return REFUSED;
    if (*letter == 0) return n;
  }
}

void work_as_the_device(racewalk::System& system, racewalk::Device& device, Doorbell& bell) {
  const racewalk::machine_scope here(system.machine());
  while (!bell.over) {
    const racewalk::vaddr_t at = bell.text.exchange(0);
    if (at == 0) continue;
    bell.letters = count_letters(device, at);
  }
}

/// What the device says, or 0 if nobody waited for it.
std::uint64_t have_counted(racewalk::AddressSpace& space, racewalk::CpuSession& cpu, Doorbell& bell,
                           bool wait) {
  const racewalk::vaddr_t at = space.mmap(4096).value();
  if (!cpu->copy_out(at, TEXT.data(), TEXT.size())) std::abort();
  bell.letters = 0;
  bell.text = at;
  while (wait && bell.letters == 0)
    std::this_thread::yield();
  const std::uint64_t letters = bell.letters;
  space.munmap(at, 4096).value(); // under the device's nose, unless it has answered
  while (bell.letters == 0)
    std::this_thread::yield();
  return wait ? letters : std::uint64_t{bell.letters};
}

} // namespace

int main() {
  racewalk::System system(std::uint64_t{64} << 20, 1);
  racewalk::Device device(system.machine(), system.machine().nr_cpus());
  Doorbell bell;
  int answered = 0;
  int refused = 0;
  {
    racewalk::AddressSpace space(system);
    racewalk::CpuSession cpu(system, 0, space);
    racewalk::iommu_sva sva(device);
    if (racewalk::iommu_sva_bind_device(sva, space.mm()) != 0) std::abort();
    std::jthread thread([&] { work_as_the_device(system, device, bell); });
    for (int job = 0; job < JOBS; ++job) {
      const std::uint64_t letters = have_counted(space, cpu, bell, job % 2 == 0);
      if (letters != TEXT.size() && (letters != REFUSED || job % 2 == 0)) {
        std::printf("the device counted %llu letters\n", static_cast<unsigned long long>(letters));
        std::abort();
      }
      ++(letters == REFUSED ? refused : answered);
    }
    bell.over = true;
    thread.join();
    if (racewalk::iommu_sva_unbind_device(sva) != 0) std::abort();
  }
  std::printf("%d texts counted, %d gone before they were\n", answered, refused);
  system.settle();
  return system.free_frames() == system.total_frames() ? 0 : 1;
}
