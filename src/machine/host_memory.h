// Zeroed memory straight from the host: aligned to its huge pages, which it is asked to use, and backed only
// where touched.
#pragma once

#include <cstddef>

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

class host_memory {
 public:
  static constexpr std::size_t HUGE = std::size_t{1} << 21;

  /// Throws std::bad_alloc.
  explicit host_memory(std::size_t bytes);
  ~host_memory();
  host_memory(const host_memory&) = delete;
  host_memory& operator=(const host_memory&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  /// Whole pages: zeros again, and backed where touched.
  void discard(std::size_t offset, std::size_t bytes) const;

 private:
  void* map_;
  std::size_t mapped_;
  std::byte* data_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
