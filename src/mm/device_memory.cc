// The public face of devices' memory (racewalk/device_memory.h).
#include "racewalk/device_memory.h"

#include "mm/dax.h"
#include "mm/house_cpu.h"
#include "mm/slab.h"

namespace racewalk::inline RACEWALK_BACKEND {

expected<DeviceMemory> DeviceMemory::add(System& system, std::uint64_t bytes, Align align) {
  HouseCpu cpu(system);
  auto* device = kmalloc_obj<dev_dax>();
  if (device == nullptr) return std::errc::not_enough_memory;
  if (const int error = dev_dax_probe(*device, bytes, align == Align::huge ? pmd_size() : PAGE_SIZE)) {
    iput(*device);
    return static_cast<std::errc>(-error);
  }
  return DeviceMemory(system, *device);
}

DeviceMemory::~DeviceMemory() {
  if (device_ == nullptr) return;
  {
    HouseCpu cpu(*system_);
    kill_dev_dax(*device_);
  }
  {
    machine_scope machine(system_->machine()); // whoever has pages pinned may need the CPU to drop them
    memunmap_pages(device_->pgmap);
  }
  HouseCpu cpu(*system_);
  iput(*device_); // files and areas keep it until they are gone
}

std::uint64_t DeviceMemory::size() const { return device_->pgmap.nr << PAGE_SHIFT; }

std::span<std::byte> DeviceMemory::memory() const {
  return {system_->machine().frames() + (device_->pgmap.first << PAGE_SHIFT), size()};
}

expected<File> DeviceMemory::open() const {
  HouseCpu cpu(*system_);
  auto* opened = kmalloc_obj<file>(*device_, FMODE_READ | FMODE_WRITE);
  if (opened == nullptr) return std::errc::not_enough_memory;
  atomic_inc(device_->i_count);
  return File(*system_, *opened);
}

expected<void> DeviceMemory::clear() {
  HouseCpu cpu(*system_);
  const int error = dax_zero_all(*device_);
  if (error != 0) return static_cast<std::errc>(-error);
  return {};
}

} // namespace racewalk::inline RACEWALK_BACKEND
