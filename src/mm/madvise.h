// The advice that acts at once: what madvise() does besides changing areas (mmap.h).
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// MADV_COLLAPSE: makes each PMD's range in [start, end), all of it mapped, one huge page, whether the area
/// wants huge pages or not. 0; -EINVAL if one cannot be; -EAGAIN if a page is in use; -ENOMEM if there is no
/// free huge page, or nothing is mapped. The others are collapsed all the same. Caller holds no lock of the
/// mm.
int madvise_collapse(mm_struct& mm, vaddr_t start, vaddr_t end);

/// MADV_DONTNEED: the memory of [start, end) is given back; what is read there next is zero. 0, or -ENOMEM if
/// a part is not mapped; the rest is given back all the same. Caller holds no lock of the mm.
int madvise_dontneed(mm_struct& mm, vaddr_t start, vaddr_t end);

} // namespace racewalk::inline RACEWALK_BACKEND
