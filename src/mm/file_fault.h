// Faults in areas that map files (Linux keeps them in memory.c).
//
// An entry for a page of a file is put in while that page's folio lock is held, after the file's size has
// been looked at under it: truncation, which holds the lock when it takes the folio out of the cache, unmaps
// what was put in before, and nothing is put in afterwards (INV-TBL).
#pragma once

#include "mm/memory.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Whether stores to the area's pages are to be noticed: its entries are writable only while their folios are
/// dirty.
bool vma_wants_writenotify(const vm_area_struct& vma);

/// A fault on an entry that is none or a marker. fault_result::retry as handle_mm_fault. Locks as
/// handle_mm_fault.
fault_result do_fault(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, fault_flags flags);

/// A store to what a shared area's entry `seen` maps read-only: it becomes writable. Locks as above.
fault_result wp_page_shared(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, pte_t seen);

/// Puts an entry for a page of the area's file where none or a marker is, with the reference that the caller
/// has. Caller holds the ptl and the folio lock.
void set_file_pte(vm_area_struct& vma, vaddr_t addr, ptep_t ptep, page* page, fault_flags flags);

} // namespace racewalk::inline RACEWALK_BACKEND
