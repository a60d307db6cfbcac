// Zeroed memory straight from the host: aligned, and backed only where touched.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

namespace racewalk {

class host_memory {
public:
  static constexpr std::size_t HUGE = std::size_t{1} << 21;

  /// Aligned to a huge page of the host, which is asked to use such. Throws std::bad_alloc.
  explicit host_memory(std::size_t bytes) : mapped_(bytes + HUGE) {
    map_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map_ == MAP_FAILED) throw std::bad_alloc();
    auto at = reinterpret_cast<std::uintptr_t>(map_);
    data_ = static_cast<std::byte*>(map_) + ((HUGE - at % HUGE) % HUGE);
    if (bytes >= HUGE) madvise(data_, bytes, MADV_HUGEPAGE); // a hint: refusal costs speed only
  }
  ~host_memory() { munmap(map_, mapped_); }
  host_memory(const host_memory&) = delete;
  host_memory& operator=(const host_memory&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }

private:
  void* map_;
  std::size_t mapped_;
  std::byte* data_;
};

} // namespace racewalk
