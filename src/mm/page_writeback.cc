#include "mm/page_writeback.h"

#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/rmap.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

writeback_decision decision(bool pinned) {
  return pinned ? writeback_decision::pinned : writeback_decision::unpinned;
}

/// Moves the dirtiness of the entries to the folio, where it is cleared: what is stored from now on dirties
/// it again.
void folio_clear_dirty_for_io(folio* folio) {
  if (folio_mkclean(folio)) folio_set_dirty(folio);
}

} // namespace

writeback_decision folio_test_set_writeback_pinned(folio* folio) {
  const bool already = folio_test_set_writeback(folio);
  VM_BUG_ON(already, "INV-DIRTY", "writeback began twice");
  // Either this sees the pin, or the pin sees writeback: pairs with the barrier between adding the pin and
  // reading PG_writeback in try_get_page_pin() (S5.7). The test-and-set is a full barrier by itself.
  switch (policy().wb_barrier) {
  case wb_fence_t::none:
    break;
  case wb_fence_t::wmb:
    smp_wmb();
    break;
  case wb_fence_t::mb:
    smp_mb();
    break;
  }
  return decision(folio_maybe_dma_pinned(folio));
}

writeback_decision folio_begin_writeback(folio* folio) {
  folio_lock(folio);
  folio_clear_dirty_for_io(folio);
  writeback_decision result;
  if (policy().pin_scheme == pin_scheme_t::barrier) {
    folio_test_clear_dirty(folio);
    result = folio_test_set_writeback_pinned(folio);
  } else {
    // after mkclean: a pin by a lockless walk is seen here, or that walk sees the entry changed (S5.8)
    result = decision(folio_maybe_dma_pinned(folio));
    folio_test_clear_dirty(folio);
    const bool already = folio_test_set_writeback(folio);
    VM_BUG_ON(already, "INV-DIRTY", "writeback began twice");
  }
  folio_unlock(folio);
  return result;
}

void folio_end_writeback(folio* folio) {
  const bool was_set = folio_test_clear_writeback(folio);
  VM_BUG_ON(!was_set, "INV-DIRTY", "writeback ended that had not begun");
  wake_up_all(folio->page.flags);
}

} // namespace racewalk::inline RACEWALK_BACKEND
