// Learning who uses which pages (Linux's NUMA hinting, mm/mempolicy.c).
//
// Pages lose all rights while their area keeps its own; the next access faults, is counted, and gets the
// rights back (do_numa_page). Only the mmap_lock for reading is held for it, so it goes on beside faults,
// migration and whatever else does not change areas: whoever finds such an entry must not take it for one
// that no TLB holds before its flush is over (pte_accessible, M11).
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Makes the next access to each page of [start, end) that is mapped and accessible fault. 0, or -ENOMEM if a
/// part is not mapped. Caller holds no lock of the mm.
int change_prot_numa(mm_struct& mm, vaddr_t start, vaddr_t end);

/// How many such faults there have been.
inline s64 numa_hint_faults(const mm_struct& mm) { return get_mm_counter(mm, MM_NUMA_HINT_FAULTS); }

} // namespace racewalk::inline RACEWALK_BACKEND
