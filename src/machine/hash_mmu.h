// The MMU of powerpc64-hash: a TLB that is filled from a hash table, which software fills from the page
// table.
//
// An access that neither has faults; hash_page() looks the address up without a lock, as Linux's low-level
// handler does, and enters a translation. So a second copy of each entry is in use, and whoever changes an
// entry has to remove it, from the hash table first, then from the TLBs (flush_hash_range(), before the
// broadcast in tlbflush.cc).
//
// What is kept true:
//  - A translation is entered only while the entry it was made from is locked by arch_desc::hash_busy, and
//    nobody changes a locked entry (exchange_entry(), update_entry()). So a flush that follows a change finds
//    what was entered before.
//  - That does not hold of an entry in a table that was unhooked: who means to go on using such a table waits
//    until every hash_page() that may have found it is over, then flushes (pmdp_collapse_flush, S1.3d).
//
// Each mm has a hash table of its own, a page of it (mm_context::hash_table), each word an entry; what does
// not find room drives out what is there. Of a huge page one small page is entered at a time.
#pragma once

#include "arch/arch.h"
#include "machine/mm_context.h"
#include "machine/walker.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Looks up an access to `va`, as hardware does. Caller is between tlb_t::walk_begin() and walk_end().
walk_result walk_hash_table(const mm_context& mm, vaddr_t va, bool write, site s = RW_HERE);

/// Enters a translation for the access, if the page table grants it, and records it in the entry there.
/// False: the manager has to be asked. Caller holds no lock; interrupts are off meanwhile, which is what
/// holds back those who take tables away.
bool hash_page(const mm_context& mm, vaddr_t va, bool write, site s = RW_HERE);

/// Removes the translations of [start, end); TLBs may hold them still.
void flush_hash_range(const mm_context& mm, vaddr_t start, vaddr_t end, site s = RW_HERE);

} // namespace racewalk::inline RACEWALK_BACKEND
