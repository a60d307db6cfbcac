#include "mm/vmscan.h"

#include "mm/filemap.h"
#include "mm/rmap.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// The count is frozen at 0 if nobody else holds the folio and it is clean.
reclaim_result freeze_if_clean(folio* folio, s32 expected) {
  if (!policy().drop_freezes_first) {
    // Whoever dirties it and lets go in between is not seen by either question (M18).
    if (folio_test_dirty(folio)) return reclaim_result::dirty;
    return folio_ref_freeze(folio, expected) ? reclaim_result::dropped : reclaim_result::busy;
  }
  // References, then dirtiness: whoever had a reference has dirtied the folio before he dropped it, and a
  // freeze that succeeds comes after that. Pairs with folio_put().
  if (!folio_ref_freeze(folio, expected)) return reclaim_result::busy;
  if (!folio_test_dirty(folio)) return reclaim_result::dropped;
  folio_ref_unfreeze(folio, expected);
  return reclaim_result::dirty;
}

} // namespace

reclaim_result remove_mapping(address_space& mapping, folio* folio) {
  const u64 nr = folio_test_large(folio) ? folio_nr_pages(folio) : 1;
  spin_guard xa_lock(mapping.i_pages.xa_lock);
  const reclaim_result result = freeze_if_clean(folio, static_cast<s32>(nr) + 1);
  if (result != reclaim_result::dropped) return result;
  for (u64 i = 0; i < nr; ++i)
    mapping.i_pages.store(folio_index(folio) + i, {});
  folio->page.mapping.set(0);
  atomic_sub(mapping.nrpages, static_cast<s64>(nr));
  folio_ref_unfreeze(folio, 1);
  return result;
}

reclaim_result reclaim_folio(folio* folio) {
  if (!folio_trylock(folio)) return reclaim_result::busy;
  reclaim_result result = reclaim_result::busy;
  address_space* mapping = folio_mapping(folio);
  // what memory alone holds has nowhere to go
  if (mapping != nullptr && mapping->tracks_dirty && !folio_test_writeback(folio)) {
    tlbflush_unmap_batch batch;
    try_to_unmap(folio, batch);
    try_to_unmap_flush(batch); // no CPU reads or writes the page any more
    result = remove_mapping(*mapping, folio);
  }
  folio_unlock(folio);
  return result;
}

} // namespace racewalk::inline RACEWALK_BACKEND
