// A machine is put together and taken apart; nothing here runs while CPUs do.
#include "machine/machine.h"

#include <memory>
#include <stdexcept>

#include "machine/cpu.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

constexpr u64 MAX_MEMORY = u64{1} << 42;

/// Frames are handed to the host in huge pages.
u64 whole_pages(u64 bytes) {
  constexpr u64 UNIT = host_memory::HUGE;
  if (bytes == 0 || bytes > MAX_MEMORY)
    throw std::invalid_argument("a machine's memory is between 1 byte and 4 TiB");
  return (bytes + UNIT - 1) / UNIT * UNIT >> PAGE_SHIFT;
}

} // namespace

Machine::Machine(u64 bytes, unsigned nr_cpus, u64 device_bytes)
    : nr_pages_(whole_pages(bytes)),
      max_pfn_(nr_pages_ + (device_bytes == 0 ? 0 : whole_pages(device_bytes))), nr_cpus_(nr_cpus),
      frame_memory_(max_pfn_ << PAGE_SHIFT), page_memory_(max_pfn_ * sizeof(struct page)),
      pages_(reinterpret_cast<struct page*>(page_memory_.data())) {
  if (nr_cpus == 0 || nr_cpus > MAX_CPUS) throw std::invalid_argument("a machine has 1 to 64 CPUs");
  std::uninitialized_default_construct_n(pages_, max_pfn_);
  for (unsigned id = 0; id < nr_cpus; ++id) {
    cpus_[id] = std::make_unique<Cpu>(id, frames());
    add(id, cpus_[id]->local);
  }
}

Machine::~Machine() = default;

} // namespace racewalk::inline RACEWALK_BACKEND
