// A snapshot comes back lazily, and the next one is taken by looking at what has changed.
//
// The memory of a program is to be restored from a snapshot. Instead of copying all of it first, the program
// starts at once: each page is filled when it is touched for the first time, by a handler that polls a
// userfaultfd. Pages come back write-protected, so the handler also learns which of them the program changes:
// only those belong into the next snapshot.
#include <poll.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <span>
#include <thread>
#include <vector>

#include "racewalk/userfaultfd.h"

namespace {

using racewalk::Userfaultfd;

constexpr std::size_t PAGE = 4096;
constexpr std::size_t PAGES = 256;

std::vector<std::byte> snapshot() {
  std::vector<std::byte> bytes(PAGES * PAGE);
  for (std::uint64_t page = 0; page < PAGES; ++page)
    std::memcpy(bytes.data() + page * PAGE, &page, sizeof page);
  return bytes;
}

/// What the handler has done.
struct Restored {
  std::size_t pages = 0;
  std::set<std::size_t> changed;
};

Restored handle_faults(Userfaultfd& uffd, racewalk::vaddr_t base, std::span<const std::byte> saved) {
  Restored restored;
  pollfd events{.fd = uffd.fd().value(), .events = POLLIN, .revents = 0};
  while (poll(&events, 1, -1) == 1) {
    const auto fault = uffd.read(Userfaultfd::Wait::no);
    if (!fault && fault.error() == std::errc::bad_file_descriptor) break; // closed
    if (!fault) continue;
    const std::size_t offset = fault->address - base;
    if (fault->write_protected) {
      restored.changed.insert(offset / PAGE);
      uffd.write_unprotect(fault->address, PAGE).value();
    } else {
      if (uffd.copy_protected(fault->address, saved.subspan(offset, PAGE)))
        ++restored.pages;
      else // another CPU's fault has brought it in
        uffd.wake(fault->address, PAGE).value();
    }
  }
  return restored;
}

/// The program: sums its memory up, every fourth page of it, and changes a few.
std::uint64_t run(racewalk::Cpu& cpu, racewalk::vaddr_t base) {
  std::uint64_t sum = 0;
  for (std::size_t page = 0; page < PAGES; page += 4) {
    sum += cpu.load<std::uint64_t>(base + page * PAGE).value();
    if (page % 32 == 0 && !cpu.store<std::uint64_t>(base + page * PAGE + 8, 1)) std::abort();
  }
  return sum;
}

} // namespace

int main() {
  racewalk::System system(std::uint64_t{64} << 20, 1);
  racewalk::AddressSpace space(system);
  const auto saved = snapshot();
  const racewalk::vaddr_t base = space.mmap(saved.size()).value();
  Userfaultfd uffd(space);
  uffd.register_range(base, saved.size(), Userfaultfd::MISSING | Userfaultfd::WRITE_PROTECT).value();

  Restored restored;
  std::jthread handler([&] { restored = handle_faults(uffd, base, saved); });
  std::uint64_t sum = 0;
  {
    racewalk::CpuSession cpu(system, 0, space);
    sum = run(*cpu, base);
  }
  uffd.close();
  handler.join();
  std::printf("the sum is %llu; %zu of %zu pages were restored, %zu have changed since\n",
              static_cast<unsigned long long>(sum), restored.pages, PAGES, restored.changed.size());
  return sum == std::uint64_t{4} * (63 * 64 / 2) && restored.pages == PAGES / 4 &&
                 restored.changed.size() == PAGES / 32
             ? 0
             : 1;
}
