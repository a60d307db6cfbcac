// For those who keep a dirty bitmap of a file's pages beside the page tables (M15; Linux's
// mm/mapping_dirty_helpers.c): a driver that shows device memory learns what was stored to since it last
// asked, without the page cache's own accounting.
//
// Few entries change, so there is no gather: an area's entries change under their page-table locks, and are
// flushed when they all have. In between a CPU may store through an entry of its TLB that knows the page as
// dirty, while the page table says that it is clean: who judges by the page table asks whether a flush is
// under way (mm_tlb_flush_pending).
#pragma once

#include "mm/fs.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Takes the right to store to pages [first, first + nr) of the file from all shared mappings, so that the
/// next store faults. Returns how many entries had it. May sleep.
u64 wp_shared_mapping_range(address_space& mapping, u64 first, u64 nr);

/// Makes the entries for pages [first, first + nr) clean in all shared mappings, and sets a bit of `bitmap`
/// for each page that one of them said was stored to: bit 0 stands for page `first`. Returns how many entries
/// were dirty. No store through an entry of this range is unrecorded when this has been called after it. May
/// sleep.
u64 clean_record_shared_mapping_range(address_space& mapping, u64 first, u64 nr, word_t* bitmap);

} // namespace racewalk::inline RACEWALK_BACKEND
