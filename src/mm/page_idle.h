// Which pages nobody uses (Linux's mm/page_idle.c, by address).
//
// Who wants to know marks pages idle, waits, and asks which of them are idle still. A page is used by loads
// and stores through whichever entry, of whichever mm, and by read() and write().
//
// Entries tell of a use by a bit that reclaim goes by, too. So who clears it here leaves PG_young, which is a
// use to reclaim; and reclaim, where it clears such a bit, ends PG_idle.
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

// Both: 0, or -EINVAL for addresses that cannot be. Caller is a CPU and holds no lock of the mm. May sleep.

/// The `nr` pages from `start` on, as far as they are mapped, are idle until they are used: what is done
/// after the call is noticed.
int page_idle_set(mm_struct& mm, vaddr_t start, u64 nr);
/// Says of each of them whether it is idle still. What is not mapped is not.
int page_idle_get(mm_struct& mm, vaddr_t start, u64 nr, bool* idle);

} // namespace racewalk::inline RACEWALK_BACKEND
