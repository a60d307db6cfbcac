// Changing the rights of what is mapped (M19).
#pragma once

#include "mm/mmu_gather.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What change_protection() is for.
enum class cp_flags : u8 {
  rights,          ///< the area's rights have changed
  uffd_wp,         ///< userfaultfd write-protects: entries lose the right to store, and remember why
  uffd_wp_file,    ///< the same in an area that maps a file: what is not there is remembered by markers
  uffd_wp_resolve, ///< ends that: the next store faults and gets the right back
};

/// Gives the present entries of [start, end) these rights, or takes or gives back one as `what` says; the
/// gather flushes those that lost one. Migration entries remember what userfaultfd wants.
///
/// rights: no huge entry crosses the ends, and the caller keeps faults out, by the area's vm_lock for
/// writing. Else: `prot` is not looked at, huge entries are passed by, and the caller holds the mmap_lock.
///
/// 0; -ENOMEM: uffd_wp_file found no memory for a table to put a marker in.
int change_protection(mmu_gather& tlb, vaddr_t start, vaddr_t end, pgprot_t prot,
                      cp_flags what = cp_flags::rights);

/// Gives an area other flags; rights in the page table follow. Caller holds the region's mmap_lock for
/// writing.
void mprotect_fixup(vm_area_struct& vma, vm_flags_t flags);

} // namespace racewalk::inline RACEWALK_BACKEND
