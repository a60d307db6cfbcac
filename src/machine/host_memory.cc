#include "machine/host_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

namespace racewalk::inline RACEWALK_BACKEND {

host_memory::host_memory(std::size_t bytes) : mapped_(bytes + HUGE) {
  map_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map_ == MAP_FAILED) throw std::bad_alloc();
  const std::size_t misplaced = reinterpret_cast<std::uintptr_t>(map_) % HUGE;
  data_ = static_cast<std::byte*>(map_) + (misplaced ? HUGE - misplaced : 0);
  if (bytes >= HUGE) madvise(data_, bytes, MADV_HUGEPAGE); // a hint: refusal costs speed only
}

void host_memory::discard(std::size_t offset, std::size_t bytes) const {
  if (madvise(data_ + offset, bytes, MADV_DONTNEED) != 0) std::memset(data_ + offset, 0, bytes);
}

host_memory::~host_memory() { munmap(map_, mapped_); }

} // namespace racewalk::inline RACEWALK_BACKEND
