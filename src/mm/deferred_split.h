// Huge pages of which a part has been unmapped: they wait to be split, so that the rest of their memory can
// be used (Linux's deferred split queue).
//
// The queue is a list through private_ of the folios' first two tail pages. A folio is in it while it has
// PG_partially_mapped, which changes under the queue's lock. The queue holds no reference: who frees a folio
// takes it out first, so what is found in it under the lock is not free yet. Native only: without
// Machine::thp nothing waits.
#pragma once

#include "machine/page.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct deferred_split_queue {
  spinlock_t lock;
  pfn_t first GUARDED_BY(lock) = 0; ///< 0: none, as frame 0 is no folio's
  pfn_t last GUARDED_BY(lock) = 0;
  u64 length GUARDED_BY(lock) = 0;
};

/// An entry that mapped a page of anonymous memory is gone; its reference is not, yet. If it was the last
/// one, the rest of the folio waits to be split from now on.
void deferred_split_folio(page* page);
/// The folio is about to be freed or split: it does not wait any more.
void folio_unqueue_deferred_split(folio* folio);

/// The folio moves to another: if the one waits, so does the other. The one is frozen, or the caller's alone.
void folio_migrate_deferred_split(folio* from, folio* to);

/// Splits what waits, unless it is in use; that goes on waiting. How many huge pages have been split. Caller
/// is a CPU that holds no lock.
u64 deferred_split_scan();

} // namespace racewalk::inline RACEWALK_BACKEND
