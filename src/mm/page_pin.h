// Pins: references that say "a device uses this memory" (M34), and who asks about them.
//
// A pin of a small folio adds GUP_PIN_COUNTING_BIAS to its reference count; a large one counts pins exactly,
// in _pincount, and one reference each. So "is it pinned?" never misses a pin, and only for small folios,
// with as many plain references as the bias, says yes without one.
//
// Whether an answer still holds when it arrives is another matter, the one mail 5 is about. The protocol that
// makes it hold is: pin, full barrier, look again at what allowed it | change that, full barrier, look for
// pins.
#pragma once

#include "mm/page_ref.h"
#include "mm/policy.h"

namespace racewalk::inline RACEWALK_BACKEND {

inline constexpr s32 GUP_PIN_COUNTING_BIAS = 1024;

/// Why a pin was or was not taken.
enum class pin_result : u8 {
  pinned,
  refused,   ///< the folio is free or frozen, or has too many references
  writeback, ///< it is under writeback, and the scheme backs off
};

namespace detail {

/// Adds to a reference count as policy() says: only if it is positive, or come what may.
inline bool add_pin_refs(atomic_t& count, s32 n, site s) {
  if (!policy().pin_conditional) {
    atomic_fetch_add(count, n, order::full, s); // nobody looks whether it overflowed
    return true;
  }
  // A capacity of 22 bits of pins takes the sign for a digit: only 0 is refused (S5.5).
  if (policy().pin_counter_bits > 21) return atomic_add_unless(count, n, 0, s);
  return atomic_add_positive(count, n, s);
}

/// What `n` pins add to the reference count.
inline s32 pin_refs(bool large, s32 n) { return large ? n : n * GUP_PIN_COUNTING_BIAS; }

/// Adds the pins to a positive count, ordering nothing.
bool try_add_pins_relaxed(folio* folio, bool large, s32 n);
/// Adds the pins with void atomics and orders them by the fence that policy().pin_fence names.
void add_pins_then_fence(folio* folio, bool large, s32 n);

} // namespace detail

/// Adds `n` pins, conditionally, as lockless walkers must. What follows a success is ordered after it, as
/// strongly as policy().pin_fence says. `large`: folio_test_large(), which who holds no reference yet asks
/// again afterwards.
[[nodiscard]] inline bool folio_try_add_pins(folio* folio, s32 n, bool large, site s = RW_HERE) {
  if (policy().pin_fence == pin_fence_t::relaxed) return detail::try_add_pins_relaxed(folio, large, n);
  if (policy().pin_fence != pin_fence_t::value_returning) {
    detail::add_pins_then_fence(folio, large, n);
    return true;
  }
  // Pin, barrier, look again (at the entry, or at PG_writeback): pairs with the barrier between changing that
  // and looking for pins, which is in folio_mkclean() and folio_begin_writeback(). The add is a full barrier
  // itself.
  if (!detail::add_pin_refs(folio->page._refcount, detail::pin_refs(large, n), s)) return false;
  if (large) atomic_add_return(folio->page._pincount, n, order::full, s);
  return true;
}
[[nodiscard]] inline bool folio_try_add_pins(folio* folio, s32 n, site s = RW_HERE) {
  return folio_try_add_pins(folio, n, folio_test_large(folio, s), s);
}

/// Drops `n` pins, which were added as those of a large folio or a small one.
inline void folio_put_pins(folio* folio, s32 n, bool large, site s = RW_HERE) {
  if (large) {
    const s32 left = atomic_sub_return(folio->page._pincount, n, order::full, s);
    VM_BUG_ON(left < 0, "INV-REF", "a pin was dropped that nobody held", s);
  }
  folio_put_refs(folio, detail::pin_refs(large, n), s);
}
inline void folio_put_pins(folio* folio, s32 n, site s = RW_HERE) {
  folio_put_pins(folio, n, folio_test_large(folio, s), s);
}

/// One attempt to pin by policy().pin_scheme, short of the folio lock: adds, and under the barrier scheme
/// backs off from writeback.
[[nodiscard]] inline pin_result try_get_page_pin(folio* folio, s32 n, bool large, site s = RW_HERE) {
  if (!folio_try_add_pins(folio, n, large, s)) return pin_result::refused;
  // Either this sees the writeback that began, or that sees this pin: the pin above is ordered before this
  // read, and pairs with test-and-set; barrier; folio_maybe_dma_pinned() in folio_begin_writeback() (S5.7).
  if (policy().pin_scheme == pin_scheme_t::barrier && folio_test_writeback(folio, s)) {
    folio_put_pins(folio, n, large, s);
    return pin_result::writeback;
  }
  return pin_result::pinned;
}

[[nodiscard]] inline pin_result try_get_page_pin(folio* folio, s32 n, site s = RW_HERE) {
  return try_get_page_pin(folio, n, folio_test_large(folio, s), s);
}

/// Pins by policy().pin_scheme and waits for what the scheme waits for; the caller keeps the folio alive. May
/// sleep. `refused` or, if it met writeback once too often, `writeback`.
[[nodiscard]] pin_result get_page_pin(folio* folio);

/// Waits for the writeback that a pin met.
void pin_wait_for_writeback(folio* folio);

/// Whether the folio may be pinned. Misses no pin that is ordered before the call.
[[nodiscard]] bool folio_maybe_dma_pinned(folio* folio);

} // namespace racewalk::inline RACEWALK_BACKEND
