// Compaction: pages move out of a block of memory that is free but for them, so that a huge page fits.
//
// Only anonymous pages of folios of one move; a block with anything else in it, or with pages that are in
// use, is left alone. Who compacts takes the free frames of the block for itself first: so pages do not move
// from one place in it to another, and nobody takes what has become free.
#pragma once

#include <atomic>

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// After failures it is not tried again for a while: 2, 4, ... 64 times it is said to have failed at once.
struct compaction_deferral {
  std::atomic<u32> shift{0};
  std::atomic<u32> considered{0};
};

/// Makes a free block of a huge page's size, if there are enough free frames. True if there was one for a
/// moment; who is faster may take it. Caller may hold what a fault holds, and folio locks, but no lock inside
/// those.
bool compact_memory();

} // namespace racewalk::inline RACEWALK_BACKEND
