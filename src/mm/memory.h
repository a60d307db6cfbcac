// Faults, and taking ranges of mappings away.
//
// A fault holds its area's vm_lock, or the region's mmap_lock, for reading throughout: the area stays, and so
// do the tables that cover it. What it changes, it changes under the lock of the table. What it found without
// that lock it looks at again with it.
#pragma once

#include "mm/mm_types.h"
#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The rights that entries of an area get.
inline pgprot_t vm_get_page_prot(vm_flags_t flags) {
  return {.write = (flags & VM_WRITE) != 0,
          .exec = (flags & VM_EXEC) != 0,
          .none = (flags & VM_ACCESS_FLAGS) == 0};
}

/// Whether stores to the area's pages are to be noticed one by one, so that an entry may let stores through
/// only if it is soft-dirty (M14).
inline bool vma_soft_dirty_enabled(const vm_area_struct& vma, site s = RW_HERE) {
  return arch().soft_dirty != 0 && (vma.vm_flags.get(s) & VM_SOFTDIRTY) == 0;
}
/// The rights that entries of this area get before anything is stored: what is private is copied first, and
/// what is written back or tracked is to be noticed first.
pgprot_t vm_page_prot(const vm_area_struct& vma);

/// The fault handler that a machine calls: finds the area, checks its rights, resolves the fault. Takes
/// locks; may sleep.
fault_result do_user_addr_fault(mm_context& context, vaddr_t addr, fault_flags flags);

/// Makes the page at `addr` present with the access that `flags` asks for, which the area grants. Caller
/// holds the area's vm_lock (FAULT_FLAG_VMA_LOCK) or the region's mmap_lock for reading; fault_result::retry,
/// which FAULT_FLAG_ALLOW_RETRY permits: not any more.
fault_result handle_mm_fault(vm_area_struct& vma, vaddr_t addr, fault_flags flags);

/// Maps a page of a device's memory where nothing is mapped; where it is, grants what the fault asks for.
/// Takes no reference. Locks as above.
fault_result vmf_insert_mixed(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pfn_t pfn,
                              fault_flags flags);

/// Whether the mm of an area whose entry maps `page` may store to it rather than to a copy: nobody else sees
/// it, or has a reference and may come to. Makes it exclusively the mm's then. Caller holds the lock of the
/// entry.
[[nodiscard]] bool wp_can_reuse_anon_page(const vm_area_struct& vma, page* page);

/// The area that holds `addr`, with its vm_lock held for reading; null if that takes the mmap_lock to find
/// out.
vm_area_struct* lock_vma(mm_struct& mm, vaddr_t addr) NO_THREAD_SAFETY_ANALYSIS;

/// A range whose areas have been detached. Tables are freed if nothing from `floor` to `ceiling` (exclusive)
/// but the range itself can need them: the end of the area before, and the beginning of the one after.
struct unmap_range {
  vaddr_t start;
  vaddr_t end;
  vaddr_t floor;
  vaddr_t ceiling;
};

/// Takes the range's pages and tables away: unhook, flush, free. Nothing can fault in it meanwhile: its areas
/// are detached and, while tables are freed, the region's mmap_lock keeps new ones out.
/// `fullmm`: nobody will run in the mm again. `detached`: the areas, linked by next_free; those that map
/// files are taken out of their files' trees.
void unmap_region(mm_struct& mm, const unmap_range& range, bool fullmm = false,
                  vm_area_struct* detached = nullptr);

/// Takes an area out of the i_mmap of the file that it maps, if it maps one. No entry of it is left.
void unlink_file_vma(vm_area_struct& vma);

/// The halves of unmap_region(), between tlb_gather_mmu() and tlb_finish_mmu(). `vma`: what maps the range,
/// needed where its ends may cut a huge page, and because an area that stays keeps what markers remember.
void unmap_page_range(mmu_gather& tlb, vaddr_t start, vaddr_t end, const vm_area_struct* vma = nullptr);
void free_pgtables(mmu_gather& tlb, const unmap_range& range);

} // namespace racewalk::inline RACEWALK_BACKEND
