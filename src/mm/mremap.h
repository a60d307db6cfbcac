// Moving what is mapped to other addresses (M37): mremap's work on the page table. mmap.h has the call.
//
// Pages stay where they are, entries move: one by one, a table of them in one step where both addresses allow
// it, or a huge one. Whoever looks at both places must find an entry in at least one of them, and whoever
// finds it at the new place must not be passed by an access at the old one: so an entry leaves and arrives
// under the locks of both tables, and the TLBs have lost the old address before those are dropped.
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Moves the entries of [old_addr, old_addr + len), in old_vma, to new_addr and above, in new_vma, where none
/// are. Returns how many bytes are done: fewer than `len` if memory for a table, or to link the new region to
/// the anon_vmas of the old one, was short; what is done can be moved back, which allocates nothing. Caller
/// holds the mmap_lock of both areas' regions and both vm_locks, all for writing.
u64 move_page_tables(vm_area_struct& old_vma, vaddr_t old_addr, vm_area_struct& new_vma, vaddr_t new_addr,
                     u64 len);

} // namespace racewalk::inline RACEWALK_BACKEND
