// Taking memory back (Linux's mm/vmscan.c): pages of files whose content is where they came from, or can be
// written there (M18); anonymous ones, and those of files made of memory, that can go to the swap file
// (swapfile.h); and what was freed lazily (M21).
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
//
// Which pages go: a hand goes round the frames and asks of each folio whether it was used since it was there
// last (folio_referenced). How many rounds ago that was is the folio's generation: 0 is the youngest, MAX_AGE
// the oldest. Generations are taken back from the oldest on, and a younger one only when a whole round has
// found nothing in an older. There are no lists: a fault or an allocation does nothing for it, and what a
// frame holds is seen when the hand comes.
//
// Who may come upon any frame takes a reference by folio_try_get(), and the folio lock by folio_trylock()
// only if the flags say that the folio has been set up (isolate_folio()).
#pragma once

#include <stop_token>

#include "mm/fs.h"
#include "mm/mm_types.h"
#include "mm/mmzone.h"
#include "mm/tlbbatch.h"

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

/// What may be done to take memory back.
struct scan_control {
  bool may_writepage = true; ///< dirty pages of files are written
  bool may_swap = true;      ///< what memory alone holds goes to the swap file
};

/// Takes back what it can of `nr` folios, at most SWAP_CLUSTER_MAX, of each of which the caller has a
/// reference and gives it up. Returns how many pages are free now. Caller holds no lock that a look for a
/// folio's entries takes: anon_vma_lock, i_mmap_rwsem, page-table locks. May sleep. `batch`: a flush that is
/// owed already, and is made with the others.
u64 shrink_folio_list(folio* const* folios, unsigned nr, const scan_control& sc = {},
                      tlbflush_unmap_batch batch = {});

/// The generation of what was not used for so many rounds, or more.
inline constexpr u8 MAX_AGE = 3;

/// Takes back `nr` pages, or as many as it can in a round of the hand for each generation. Returns how many.
/// Caller is a CPU, and holds no such lock as above. Natively only.
u64 shrink_node(pglist_data& pgdat, u64 nr);

/// Direct reclaim, for an allocation that finds nothing: true if it may find something now. Locks as above;
/// it does nothing for who is at it already, or is no CPU.
[[nodiscard]] bool try_to_free_pages();

// kswapd: keeps some frames free, so that allocations need not take memory back themselves.

/// From here on frames are short.
void wakeup_kswapd(pglist_data& pgdat);
/// One go: takes memory back until enough frames are free. Whether they are. Caller is a CPU without locks.
bool balance_pgdat(pglist_data& pgdat, const std::stop_token& stop);

/// MADV_PAGEOUT: takes back what it can of the pages in [start, end) that this mm alone maps: what is dirty
/// is written, what is anonymous goes to the swap file. 0, or -ENOMEM if a part is not mapped. Caller holds
/// no lock of the mm.
int madvise_pageout(mm_struct& mm, vaddr_t start, vaddr_t end);

} // namespace racewalk::inline RACEWALK_BACKEND
