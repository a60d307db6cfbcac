#include "explore/fibre.h"

#include <sys/mman.h>

#include <new>

namespace racewalk::explore {

fibre_stack::~fibre_stack() {
  if (base_) munmap(base_, GUARD + BYTES);
}

std::byte* fibre_stack::top() {
  if (!base_) {
    void* const at = mmap(nullptr, GUARD + BYTES, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    base_ = static_cast<std::byte*>(at);
    if (mprotect(base_, GUARD, PROT_NONE) != 0) throw std::bad_alloc();
  }
  return base_ + GUARD + BYTES;
}

bool fibre_stack::overflown_at(const void* p) const {
  const auto* const at = static_cast<const std::byte*>(p);
  return base_ && at >= base_ && at < base_ + GUARD;
}

} // namespace racewalk::explore
