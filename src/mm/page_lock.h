// The folio lock, and waiting for writeback (M17).
//
// Both are bits of the folio's flags that sleepers wait for; neither may be waited for with interrupts off or
// under a spinlock, since whoever clears the bit may have to run here (M42).
#pragma once

#include "machine/machine.h"
#include "mm/policy.h"

namespace racewalk::inline RACEWALK_BACKEND {

[[nodiscard]] inline bool folio_trylock(folio* folio, site s = RW_HERE) {
  return !test_and_set_bit_lock(PG_locked, folio->page.flags, s);
}
inline void folio_lock(folio* folio, site s = RW_HERE) {
  while (!folio_trylock(folio, s))
    wait_while(folio->page.flags, BIT(PG_locked), BIT(PG_locked), s);
}
inline void folio_unlock(folio* folio, site s = RW_HERE) {
  const u64 flags = atomic_fetch_and(folio->page.flags, ~BIT(PG_locked), order::release, s);
  VM_BUG_ON((flags & BIT(PG_locked)) == 0, "INV-REF", "a folio was unlocked that nobody had locked", s);
  wake_up_all(folio->page.flags, s);
}

/// Waits until the folio is not under writeback.
inline void folio_wait_writeback(folio* folio, site s = RW_HERE) {
  wait_while(folio->page.flags, BIT(PG_writeback), BIT(PG_writeback), s);
}
/// Waits until its content may change: at once, unless what it belongs to needs stable pages under writeback.
inline void folio_wait_stable(folio* folio, site s = RW_HERE) {
  if (policy().mapping_needs_stable) folio_wait_writeback(folio, s);
}

} // namespace racewalk::inline RACEWALK_BACKEND
