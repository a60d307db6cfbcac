// References to folios (M3).
//
// A count of 0 means free or frozen. A lockless walker takes a reference only conditionally, so it can
// neither revive a freed folio nor get into a frozen one; whoever holds a reference, or a lock that keeps one
// alive, may add without asking.
#pragma once

#include "machine/machine.h"
#include "mm/gup_check.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

inline s32 folio_ref_count(const folio* folio, site s = RW_HERE) {
  return atomic_read(folio->page._refcount, s);
}

/// Caller already holds a reference.
inline void folio_ref_add(folio* folio, s32 n, site s = RW_HERE) { atomic_add(folio->page._refcount, n, s); }
inline void folio_get(folio* folio, site s = RW_HERE) { folio_ref_add(folio, 1, s); }

/// Takes `n` references unless the folio is free, frozen or has too many. Fully ordered if it succeeds.
[[nodiscard]] inline bool folio_try_get(folio* folio, s32 n = 1, site s = RW_HERE) {
  return atomic_add_positive(folio->page._refcount, n, s);
}

/// Gives the folio back to the allocator: its last reference is gone.
void free_unref_folio(folio* folio, site s = RW_HERE);

/// Drops `n` references; the last one frees the folio.
inline void folio_put_refs(folio* folio, s32 n, site s = RW_HERE) {
  // full: all uses through the references dropped here come before the folio is freed, by whoever frees it
  const s32 held = atomic_fetch_add(folio->page._refcount, -n, order::full, s);
  // unsigned: pins can take a count into the sign, where no more are granted, and are dropped from there
  // (S5.5)
  VM_BUG_ON(static_cast<u32>(held) < static_cast<u32>(n), "INV-REF",
            "a reference was dropped that nobody held", s);
  if (held == n) free_unref_folio(folio, s);
}
inline void folio_put(folio* folio, site s = RW_HERE) { folio_put_refs(folio, 1, s); }
/// What get_user_pages() or alloc_page() has given. (Who drops a reference that is an entry's, or a cache's,
/// says folio_put(): the page may be somebody's who has pinned it.)
inline void put_page(page* page, site s = RW_HERE, call_site at = call_site::here()) {
  if (gup_checked()) [[unlikely]]
    gup_check_gives_back(page, gup_kind::reference, at);
  folio_put(page_folio(page, s), s);
}

/// Claims the folio for its owner, who holds all `expected` references: from now on conditional adds fail.
/// False if somebody else holds one. Fully ordered if it succeeds.
[[nodiscard]] inline bool folio_ref_freeze(folio* folio, s32 expected, site s = RW_HERE) {
  return try_cmpxchg(folio->page._refcount, expected, 0, order::full, s);
}
/// Ends it: what the owner changed meanwhile is seen by whoever takes a reference then.
inline void folio_ref_unfreeze(folio* folio, s32 count, site s = RW_HERE) {
  VM_BUG_ON(folio_ref_count(folio, s) != 0, "INV-REF", "somebody holds a reference to a frozen folio", s);
  smp_store_release(folio->page._refcount, count, s);
}

/// Whether the folio has several pages.
inline bool folio_test_large(const folio* folio, site s = RW_HERE) { return folio_test_head(folio, s); }

} // namespace racewalk::inline RACEWALK_BACKEND
