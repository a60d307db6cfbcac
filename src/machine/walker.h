// The hardware page-table walker: what a CPU does when its TLB does not have the page.
//
// It reads each level once, top down, by translation_read(): what it sees may be as old as the last flush
// allows. It stops at the first entry that hardware does not accept. Accessed and dirty bits are set by the
// architecture's profile (arch_desc::ad_profile): in the entry, atomically; or not at all, and the access
// faults.
#pragma once

#include "arch/arch.h"
#include "machine/mm_context.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What a walk ended with.
struct walk_result {
  bool found;  ///< else: fault
  mapping map; ///< of the page that holds the address
};

/// Walks mm's table for an access to `va`. Caller is between tlb_t::walk_begin() and walk_end(). `stepwise`:
/// the TLB of a walker whose invalidations wait for the step under way only, not for the whole walk; else
/// null.
walk_result walk_page_table(const mm_context& mm, vaddr_t va, bool write, site s = RW_HERE,
                            tlb_t* stepwise = nullptr);

/// What is behind a CPU's TLB: the walker, or the hash table (hash_mmu.h). Otherwise as above.
walk_result mmu_walk(const mm_context& mm, vaddr_t va, bool write, site s = RW_HERE);

} // namespace racewalk::inline RACEWALK_BACKEND
