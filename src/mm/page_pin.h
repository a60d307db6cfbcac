// Pins: references that say "a device uses this memory" (M34), and who asks about them.
//
// A pin of a small folio adds GUP_PIN_COUNTING_BIAS to its reference count; a large one counts pins exactly, in
// _pincount, and one reference each. So "is it pinned?" never misses a pin, and only for small folios, with as many
// plain references as the bias, says yes without one.
//
// Whether an answer still holds when it arrives is another matter, the one mail 5 is about. The protocol that makes
// it hold is: pin, full barrier, look again at what allowed it | change that, full barrier, look for pins.
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

/// Adds `n` pins, conditionally, as lockless walkers must. What follows a success is ordered after it, as strongly
/// as policy().pin_fence says.
[[nodiscard]] bool folio_try_add_pins(folio* folio, s32 n, site s = RW_HERE);
/// Drops `n` pins.
void folio_put_pins(folio* folio, s32 n, site s = RW_HERE);

/// One attempt to pin by policy().pin_scheme, short of the folio lock: adds, and under the barrier scheme backs off
/// from writeback.
[[nodiscard]] pin_result try_get_page_pin(folio* folio, s32 n, site s = RW_HERE);

/// Pins by policy().pin_scheme and waits for what the scheme waits for; the caller keeps the folio alive. May sleep.
/// `refused` or, if it met writeback once too often, `writeback`.
[[nodiscard]] pin_result get_page_pin(folio* folio, site s = RW_HERE);

/// Waits for the writeback that a pin met.
void pin_wait_for_writeback(folio* folio, site s = RW_HERE);

/// Whether the folio may be pinned. Misses no pin that is ordered before the call.
[[nodiscard]] bool folio_maybe_dma_pinned(folio* folio, site s = RW_HERE);

} // namespace racewalk::inline RACEWALK_BACKEND
