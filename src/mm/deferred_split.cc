#include "mm/deferred_split.h"

#include "mm/huge_memory.h"
#include "mm/page_lock.h"
#include "mm/page_ref.h"
#include "mm/thp.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the queue -------------------------------------------------------------------------------------------

namespace {

plain<u64>& next_of(pfn_t pfn) { return pfn_to_page(pfn + 1)->private_; }
plain<u64>& prev_of(pfn_t pfn) { return pfn_to_page(pfn + 2)->private_; }

void link_last(deferred_split_queue& queue, pfn_t pfn) REQUIRES(queue.lock) {
  next_of(pfn).set(0);
  prev_of(pfn).set(queue.last);
  if (queue.last == 0)
    queue.first = pfn;
  else
    next_of(queue.last).set(pfn);
  queue.last = pfn;
  ++queue.length;
}

void unlink(deferred_split_queue& queue, pfn_t pfn) REQUIRES(queue.lock) {
  const pfn_t next = next_of(pfn).get();
  const pfn_t prev = prev_of(pfn).get();
  if (prev == 0)
    queue.first = next;
  else
    next_of(prev).set(next);
  if (next == 0)
    queue.last = prev;
  else
    prev_of(next).set(prev);
  --queue.length;
  next_of(pfn).set(0); // what page tables expect of the frames that they get
  prev_of(pfn).set(0);
}

} // namespace

namespace {

void queue_folio(deferred_split_queue& queue, folio* folio) {
  spin_guard guard(queue.lock);
  if (folio_test_set_partially_mapped(folio)) return;
  link_last(queue, folio_pfn(folio));
}

} // namespace

void deferred_split_folio(page* page) {
  transparent_hugepage* thp = machine().thp;
  if (thp == nullptr) return;
  folio* folio = page_folio(page);
  if (!folio_test_large(folio) || folio_test_partially_mapped(folio)) return;
  if (atomic_read(page->_mapcount) >= 0 || atomic_read(folio->page._entire_mapcount) >= 0) return;
  queue_folio(thp->deferred_split, folio);
  count_vm_event(THP_DEFERRED_SPLIT_PAGE);
}

void folio_unqueue_deferred_split(folio* folio) {
  transparent_hugepage* thp = machine().thp;
  if (thp == nullptr || !folio_test_partially_mapped(folio)) return;
  deferred_split_queue& queue = thp->deferred_split;
  spin_guard guard(queue.lock);
  if (folio_test_clear_partially_mapped(folio)) unlink(queue, folio_pfn(folio));
}

void folio_migrate_deferred_split(folio* from, folio* to) {
  if (machine().thp == nullptr || !folio_test_partially_mapped(from)) return;
  folio_unqueue_deferred_split(from);
  queue_folio(machine().thp->deferred_split, to);
}

// ---- splitting what waits --------------------------------------------------------------------------------

namespace {

/// The one that has waited longest, which goes to the end of the queue, with a reference; null if it is about
/// to be freed, or there is none.
folio* take_turn(deferred_split_queue& queue) {
  spin_guard guard(queue.lock);
  const pfn_t pfn = queue.first;
  if (pfn == 0) return nullptr;
  unlink(queue, pfn);
  link_last(queue, pfn);
  folio* folio = page_folio(pfn_to_page(pfn));
  return folio_try_get(folio) ? folio : nullptr;
}

u64 queue_length(deferred_split_queue& queue) {
  spin_guard guard(queue.lock);
  return queue.length;
}

bool try_split(folio* folio) {
  if (!folio_trylock(folio)) return false;
  const bool split = folio_test_large(folio) && split_huge_page(folio) == 0;
  folio_unlock(folio);
  return split;
}

} // namespace

u64 deferred_split_scan() {
  transparent_hugepage* thp = machine().thp;
  if (thp == nullptr) return 0;
  u64 done = 0;
  for (u64 turns = queue_length(thp->deferred_split); turns > 0; --turns) {
    folio* folio = take_turn(thp->deferred_split);
    if (folio == nullptr) continue;
    if (try_split(folio)) ++done;
    folio_put(folio);
  }
  return done;
}

} // namespace racewalk::inline RACEWALK_BACKEND
