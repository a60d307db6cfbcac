// Objects that the manager allocates for itself: areas, tree nodes, files.
//
// They come from the host, not from the machine's frames. Where Linux's allocation of such an object may
// fail, this one may: when the host has no memory, or when it is made to (failslab). On an explored path
// there is no memory: a body that is dropped there could not give it back. So what it needs a scenario's
// set-up reserves, and what is freed there is only noted.
#pragma once

#include <new>
#include <utility>

#include "machine/machine.h"
#include "mm/zone.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Is this allocation to fail? By the calling thread's machine, if it has one.
inline bool should_failslab() {
  return run_context != nullptr && machine().zone != nullptr && machine().zone->failslab.should_fail();
}

/// An object, given back by delete, or by kfree_obj() where a scenario may come; null if there is no memory.
template <class T, class... Args> [[nodiscard]] T* kmalloc_obj(Args&&... args) {
  return explored() || should_failslab() ? nullptr : new (std::nothrow) T(std::forward<Args>(args)...);
}

/// Gives an object back, or nothing if that is null.
template <class T> void kfree_obj(T* object, site s = RW_HERE) {
  if (!explored())
    delete object;
  else if (object != nullptr)
    object_free(object, sizeof *object, s);
}

/// An array of `n`, given back by delete[]; null if there is no memory.
template <class T> [[nodiscard]] T* kmalloc_objs(std::size_t n) {
  return explored() || should_failslab() ? nullptr : new (std::nothrow) T[n];
}

} // namespace racewalk::inline RACEWALK_BACKEND
