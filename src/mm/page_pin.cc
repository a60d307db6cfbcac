#include "mm/page_pin.h"

#include "mm/page_lock.h"

namespace racewalk::inline RACEWALK_BACKEND {

bool detail::try_add_pins_relaxed(folio* folio, bool large, s32 n) {
  s32 count = folio_ref_count(folio);
  do
    if (count <= 0) return false;
  while (!try_cmpxchg(folio->page._refcount, count, count + pin_refs(large, n), order::relaxed));
  if (large) atomic_add(folio->page._pincount, n);
  return true;
}

void detail::add_pins_then_fence(folio* folio, bool large, s32 n) {
  atomic_add(folio->page._refcount, pin_refs(large, n));
  if (large) atomic_add(folio->page._pincount, n);
  // pairs as in folio_try_add_pins()
  switch (policy().pin_fence) {
  case pin_fence_t::value_returning:
  case pin_fence_t::relaxed:
    break;
  case pin_fence_t::after_atomic:
    smp_mb__after_atomic();
    break;
  case pin_fence_t::mb:
    smp_mb(); // pairs with the test-and-set in folio_test_set_writeback_pinned()
    break;
  case pin_fence_t::wmb:
    smp_wmb(); // as the mail has it: pairs with nothing, the look at PG_writeback passes it (S5.7)
    break;
  }
}

void pin_wait_for_writeback(folio* folio) {
  folio_wait_stable(folio);
  // a folio whose owner needs no stable pages may still be under writeback (S5.9)
  if (policy().stable_wait == stable_wait_t::stable_then_writeback && folio_test_writeback(folio))
    folio_wait_writeback(folio);
}

namespace {

/// lock_page; wait_for_stable_page; add; unlock_page: the check for pins is made under the same lock.
pin_result get_page_pin_locked(folio* folio) {
  folio_lock(folio);
  folio_wait_stable(folio);
  const bool added = folio_try_add_pins(folio, 1);
  folio_unlock(folio);
  return added ? pin_result::pinned : pin_result::refused;
}

} // namespace

pin_result get_page_pin(folio* folio) {
  if (policy().pin_scheme == pin_scheme_t::page_lock) return get_page_pin_locked(folio);
  for (unsigned retry = 0;; ++retry) {
    const pin_result result = try_get_page_pin(folio, 1);
    if (result != pin_result::writeback || retry == policy().pin_retries) return result;
    if (policy().pin_backoff_wait == pin_backoff_t::irqs_off) {
      irq_guard irqs_off;
      pin_wait_for_writeback(folio);
    } else {
      pin_wait_for_writeback(folio);
    }
    // stable_only takes wait_for_stable_page() at its word: the folio may change now (S5.9)
    if (policy().stable_wait == stable_wait_t::stable_only)
      return folio_try_add_pins(folio, 1) ? pin_result::pinned : pin_result::refused;
  }
}

bool folio_maybe_dma_pinned(folio* folio) {
  if (policy().pin_subtract_mapcount == pin_subtract_t::no && folio_test_large(folio))
    return atomic_read(folio->page._pincount) > 0;
  s32 count = 0;
  s32 mapped = 0;
  switch (policy().pin_subtract_mapcount) {
  case pin_subtract_t::no:
    count = folio_ref_count(folio);
    break;
  case pin_subtract_t::count_then_map:
    count = folio_ref_count(folio);
    mapped = atomic_read(folio->page._mapcount) + 1;
    break;
  case pin_subtract_t::map_then_count:
    mapped = atomic_read(folio->page._mapcount) + 1;
    count = folio_ref_count(folio);
    break;
  }
  // unsigned: a count that overflowed into the sign is one with very many pins
  const auto references = static_cast<u32>(count - mapped);
  return policy().pin_threshold == pin_threshold_t::ge ? references >= u32{GUP_PIN_COUNTING_BIAS}
                                                       : references > u32{GUP_PIN_COUNTING_BIAS};
}

} // namespace racewalk::inline RACEWALK_BACKEND
