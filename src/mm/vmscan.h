// Taking memory back (Linux's mm/vmscan.c) where nothing has to be written for it: pages of files whose
// content is where they came from (M18), and anonymous ones that were freed lazily (M21).
//
// MADV_FREE makes pages clean and not swap-backed: their content may go, as long as nobody stores to them
// again. Who takes such a page back takes its entries out and then looks: if an entry is dirty, or the folio
// is, it was stored to; if somebody else holds a reference, it may be. Then the entry is put back as it was,
// and the folio is as any other. What is kept true: a store that comes after madvise() has returned is never
// lost.
//
// A reference is taken, used for storing, said to have dirtied the page, and dropped, in this order and
// without locks. So the entry goes before the references are counted, and they are counted before the folio
// is asked whether it is dirty.
#pragma once

#include "mm/fs.h"
#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What became of a folio that was to be given up.
enum class reclaim_result : u8 {
  dropped,
  dirty, ///< it is to be written first
  busy,  ///< somebody uses it, or it is being written
};

/// Takes a folio out of its file's cache if nobody but the caller uses it and the disk has its content.
/// Invariant: what is dropped is on the disk. The folio is locked, no entry maps it, and what was flushed
/// late is flushed; the caller has a reference, which afterwards is the last.
[[nodiscard]] reclaim_result remove_mapping(address_space& mapping, folio* folio);

/// Unmaps a folio of a file and gives it up if that loses nothing. The caller has a reference and no lock.
/// May sleep.
reclaim_result reclaim_folio(folio* folio);

/// At most so many folios are taken back with one flush.
inline constexpr unsigned SWAP_CLUSTER_MAX = 32;

/// Takes back what it can of `nr` folios, at most SWAP_CLUSTER_MAX, of each of which the caller has a
/// reference and gives it up. Returns how many pages are free now. Caller holds no lock that a look for a
/// folio's entries takes: folio locks, anon_vma_lock, page-table locks. May sleep.
u64 reclaim_folios(folio* const* folios, unsigned nr);

/// MADV_PAGEOUT: takes back what it can of the pages in [start, end) that this mm alone maps. 0, or -ENOMEM
/// if a part is not mapped. Caller holds no lock of the mm.
int madvise_pageout(mm_struct& mm, vaddr_t start, vaddr_t end);

} // namespace racewalk::inline RACEWALK_BACKEND
