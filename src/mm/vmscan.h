// Giving up pages of files whose content is where they came from (M18).
#pragma once

#include "mm/fs.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What became of a folio that was to be given up.
enum class reclaim_result : u8 {
  dropped,
  dirty, ///< it is to be written first
  busy,  ///< somebody uses it, or it is being written
};

/// Takes a folio out of its file's cache if nobody but the caller uses it and the disk has its content.
/// Invariant: what is dropped is on the disk. The folio is locked, no entry maps it, and what was flushed
/// late is flushed; the caller has a reference, which afterwards is the last.
[[nodiscard]] reclaim_result remove_mapping(address_space& mapping, folio* folio);

/// Unmaps a folio of a file and gives it up if that loses nothing. The caller has a reference and no lock.
/// May sleep.
reclaim_result reclaim_folio(folio* folio);

} // namespace racewalk::inline RACEWALK_BACKEND
