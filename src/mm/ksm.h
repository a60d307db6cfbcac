// Equal pages of anonymous memory become one (M20; Linux's mm/ksm.c).
//
// A page is merged in steps: it is made read-only and clean everywhere (write_protect_page), compared with
// the page that stands for this content, and if they are equal its entry is made to map that one
// (replace_page). From then on a store takes a copy, as after a fork. What is kept true:
//  - Nobody stores to a page from the comparison on: the entry is flushed where any TLB may still let stores
//    through, and a page to which somebody holds a reference is left alone.
//  - The page that stands for others is never stored to. Whoever keeps it for merging has a reference, so
//  that
//    no fault finds it used once and keeps it (wp_can_reuse_anon_page()). It has no reverse map, so it stays
//    where it is.
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Merges the page at `addr`, of which the caller has a reference, with `kpage`, which is PG_ksm and of which
/// he has another one. 0; -EBUSY if somebody uses the page, or it is one that cannot be merged; -EFAULT if it
/// is not mapped there any more; -EINVAL if its content differs. Then it is as before, if perhaps read-only
/// until the next store. Caller holds the region's mmap_lock.
int try_to_merge_with_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page, folio* kpage);

/// Makes the page at `addr` one that stands for others (PG_ksm). Errors and locks as above.
int try_to_make_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page);

/// MADV_UNMERGEABLE: gives the mm pages of its own for those that stand for others in [start, end). 0;
/// -ENOMEM if memory is short, or a part is not mapped. Caller holds no lock of the mm.
int unmerge_ksm_pages(mm_struct& mm, vaddr_t start, vaddr_t end);

/// The page at `addr`, with a reference, if it may be merged: a small one of anonymous memory. Null if there
/// is none. Caller holds the region's mmap_lock.
page* get_mergeable_page(vm_area_struct& vma, vaddr_t addr);

/// A number that pages of equal content have in common. Programs may store to the page meanwhile.
u64 calc_checksum(const page* page);

} // namespace racewalk::inline RACEWALK_BACKEND
