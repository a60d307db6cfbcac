// fork: a second address space that shows what the first one does, until one of them writes (M35).
//
// Both get entries that forbid stores, for the same pages; a store copies its page (do_wp_page()). While
// entries are copied, pages stop being exclusively the parent's. A page that may be pinned cannot: its pin's
// holder and the parent must go on to see the same. So the child gets a copy of it at once.
//
// Lockless walks may pin a page at any moment. Fork makes write_protect_seq odd, full barrier, looks for
// pins; a walk pins, full barrier, looks at the sequence. So a pin that fork does not see is given up by its
// taker.
//
// What the child sees is the parent's memory as it was at one instant, the flush of TLBs at the end: up to
// then stores go to pages that both have. (Pages that were copied at once are as they were a little before.)
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Gives a fresh child the areas of the parent and what they map. 0, or -ENOMEM: then the child has a part of
/// it and is good for exit_mmap() only; the parent is as before but for the rights to store, which it gets
/// back page by page. Caller is a CPU, holds no lock of either mm, and nobody else knows the child.
[[nodiscard]] int dup_mmap(mm_struct& child, mm_struct& parent);

// Its halves. Caller holds the parent's mmap_locks for writing.

/// The areas, and what leads from folios to them. On no explored path.
[[nodiscard]] int dup_areas(mm_struct& child, mm_struct& parent);
/// What the areas map. No other CPU of the parent uses a translation afterwards that lets it store to what is
/// shared, also if memory is short.
[[nodiscard]] int copy_pages(mm_struct& child, mm_struct& parent);

} // namespace racewalk::inline RACEWALK_BACKEND
