// The state machine of writeback (M17), as far as it decides about pinned pages (mail 5).
//
// A page that is pinned may be written by a device at any time, so its content must not be taken for stable.
// Who begins writeback therefore asks whether it is pinned; a pin that begins later must either see
// PG_writeback and wait or find the entry write-protected.
#pragma once

#include "mm/page_ref.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What the writer was told when writeback began.
enum class writeback_decision : u8 {
  unpinned, ///< no pin exists until writeback ends
  pinned,   ///< bounce: write from a copy
};

/// lock; mkclean; clear dirty; set writeback; unlock, with the check for pins where policy().pin_scheme has
/// it. The caller holds a reference. May sleep.
[[nodiscard]] writeback_decision folio_begin_writeback(folio* folio);

/// test_set_page_writeback() as mail 5 has it: sets PG_writeback, then looks for pins.
[[nodiscard]] writeback_decision folio_test_set_writeback_pinned(folio* folio);

/// The content is on disk: ends writeback and wakes who waits for it.
void folio_end_writeback(folio* folio);

} // namespace racewalk::inline RACEWALK_BACKEND
