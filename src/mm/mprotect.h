// Changing the rights of what is mapped (M19).
#pragma once

#include "mm/mmu_gather.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Gives the present entries of [start, end) these rights; the gather flushes those that lost one. No huge
/// entry crosses the ends. Caller keeps faults out, by the area's vm_lock for writing.
void change_protection(mmu_gather& tlb, vaddr_t start, vaddr_t end, pgprot_t prot);

/// Gives an area other flags; rights in the page table follow. Caller holds the region's mmap_lock for
/// writing.
void mprotect_fixup(vm_area_struct& vma, vm_flags_t flags);

} // namespace racewalk::inline RACEWALK_BACKEND
