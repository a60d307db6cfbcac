// The huge page of zeros, which whoever has only read where a huge page is wanted maps as a whole (Linux has
// it in mm/huge_memory.c).
//
// An entry for it is special (is_huge_zero_pmd()): it holds no reference, is counted nowhere and found from
// no folio, and lets nobody store. A table is deposited behind it as behind any huge entry, so that it can
// always be split: into entries for the small page of zeros.
//
// Invariant: there is one at most, and it stays while an address space has a reference, which it keeps from
// its first such entry to its end. Who pins a page of it has a reference of his own beside that.
#pragma once

#include "machine/page.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct mm_struct;

/// A machine's: Machine::huge_zero.
struct huge_zero_page {
  spinlock_t lock;
  plain<u64> users GUARDED_BY(lock); ///< address spaces that have a reference
  shared<u64> pfn;                   ///< its first frame, while there are any
};

/// The folio, with a reference of the mm's if it has none yet. Null if there is no memory for it. May sleep.
[[nodiscard]] folio* mm_get_huge_zero_folio(mm_struct& mm);
/// The mm, which maps nothing any more, drops the reference that it may have.
void mm_put_huge_zero_folio(mm_struct& mm);

} // namespace racewalk::inline RACEWALK_BACKEND
