// Memory of a device that programs map directly: nothing copies it, caches it, moves it or takes it back.
//
//   racewalk::System system(memory, 2, racewalk::PageTableCheck::off, room_for_devices);
//   auto device = racewalk::DeviceMemory::add(system, std::uint64_t{1} << 26).value();
//   racewalk::File file = device.open().value();
//   auto at = space.mmap(file, 0, device.size()).value(); // by huge entries
//   auto pin = space.pin(at, 1).value();                  // the device stays until this is gone
//
// As Linux's device-dax: mappings are shared, and begin and end at multiples of Align, which is also the size
// of their entries; mmap() of anything else is invalid_argument, and so is to unmap, protect or move a part
// that is not aligned so. read(), write(), resize() and sync() of the File are refused. A touch beyond the
// end, or once the device has gone, is fault_result::sigbus.
#pragma once

#include "racewalk/file.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct dev_dax;

class DeviceMemory {
 public:
  enum class Align : std::uint8_t { page, huge };

  /// `bytes` of zeros, a multiple of 2 MiB. invalid_argument for another size; not_enough_memory if the
  /// System has no room; no_such_device_or_address where the architecture has no entries for devices.
  static expected<DeviceMemory> add(System& system, std::uint64_t bytes, Align align = Align::huge);

  DeviceMemory(DeviceMemory&& other) noexcept
      : system_(other.system_), device_(std::exchange(other.device_, nullptr)) {}
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(system_, other.system_);
    std::swap(device_, other.device_);
    return *this;
  }
  /// The device goes: who maps its memory gets a fault from now on, and this waits until no page is pinned.
  /// Not on a thread that has one pinned.
  ~DeviceMemory();

  [[nodiscard]] std::uint64_t size() const;
  /// What the device itself sees.
  [[nodiscard]] std::span<std::byte> memory() const;
  /// An opening, to be mapped.
  [[nodiscard]] expected<File> open() const;
  /// All of it is zeros again, for whoever maps it. device_or_resource_busy if a page is pinned: then the
  /// content is as it was.
  expected<void> clear();

 private:
  DeviceMemory(System& system, dev_dax& device) : system_(&system), device_(&device) {}

  System* system_;
  dev_dax* device_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
