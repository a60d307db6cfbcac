#include "mm/mempolicy.h"

#include "mm/dax.h"
#include "mm/madvise.h"
#include "mm/memory.h"
#include "mm/mprotect.h"

namespace racewalk::inline RACEWALK_BACKEND {

int change_prot_numa(mm_struct& mm, vaddr_t start, vaddr_t end) {
  return madvise_walk_vmas(mm, start, end, [&](const vm_area_struct& vma, vaddr_t from, vaddr_t to) {
    if ((vma.vm_flags.get() & VM_ACCESS_FLAGS) == 0) return; // it has no rights to lose
    if (vma_is_dax(vma)) return;                             // its pages have one place
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::protection_page, from, to);
    mmu_gather tlb(mm);
    tlb_gather_mmu(tlb);
    change_protection(tlb, from, to, PAGE_NONE);
    tlb_finish_mmu(tlb);
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
