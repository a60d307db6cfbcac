// A lockless look-up that ends at an entry instead of a page (powerpc's __find_linux_pte, M7).
//
// get_user_pages_fast hands out pages that it holds. This hands out the place of an entry, which may belong
// to something else the next moment: a slot that held a huge page may hold a table by then. So who uses it
// works with the value that was read on the way, or finds out first what it has read again; and what it
// learns is a page that was mapped there, not one that stays.
#pragma once

#include "mm/mm_types.h"
#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct linux_pte {
  bool found = false;
  bool huge = false; ///< the slot is of the PMD level
  u64 value = 0;     ///< what the slot held
  ref<u64> slot;
};

/// The entry that maps `addr`. Caller is in a lockless_walk, and uses the result in the same.
linux_pte find_linux_pte(const mm_struct& mm, vaddr_t addr);

/// The page that the entry leads to; null if it leads to none by now.
page* linux_pte_page(const linux_pte& pte, vaddr_t addr);

} // namespace racewalk::inline RACEWALK_BACKEND
