// Who may map a folio of anonymous memory.
//
// fork makes a folio one of several address spaces, each of which may unmap it, copy it or fork again. To
// find them all from the folio (rmap.h), it points to an anon_vma: that of the region (mm_types.h) in which
// it was first mapped. A fork links the child's region to every anon_vma that the parent's is linked to, so
// an anon_vma knows each region that may map a folio of its own; folios that are first mapped after the fork
// have the child's own anon_vma and are looked for nowhere else.
//
// Linux has an anon_vma for each area; here it is one for each region of an mm. Regions are what has a
// mmap_lock and page tables of its own, and there are few of them: no fault allocates an anon_vma, and areas
// are cut and joined without touching any. What it costs is that a walk looks the area up in each region's
// trees: by the folio's index, which mremap does not change.
//
// Invariants: an anon_vma is linked to every region that maps one of its folios, and to the parent's before
// the child's: a walk, which goes in that order, sees an entry that fork copies meanwhile either where it
// comes from or where it goes to. The same with a region that mremap moves pages from, and the one that it
// moves them to: what a walk has passed comes to where it is still going. anon_vmas are type-stable: their
// memory becomes another anon_vma, never anything else. So who follows a folio that nobody maps any more
// finds regions that do not map it, or none.
//
// Locks: anon_vma::rwsem is outside the anon_vma_locks of the regions it is linked to.
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A region is linked to an anon_vma. In two lists: the anon_vma's under its rwsem, the region's under its
/// mm's locks.
struct anon_vma_chain {
  struct anon_vma* anon = nullptr;
  mmap_region* region = nullptr;
  anon_vma_chain* prev = nullptr; ///< in the anon_vma's list
  anon_vma_chain* next = nullptr;
  u64 turn = 0; ///< grows along the anon_vma's list; changes under the locks of both lists
  anon_vma_chain* next_of_region = nullptr;
};

struct anon_vma {
  rwsem_t rwsem;                   ///< guards what follows
  anon_vma_chain* first = nullptr; ///< the regions, in the order in which they were linked
  anon_vma_chain* last = nullptr;
  u64 last_turn = 0;
  unsigned owners = 0;           ///< regions whose own it is
  anon_vma* next_free = nullptr; ///< while it is nobody's
};

/// Gives a new region an anon_vma of its own. False when memory is short.
[[nodiscard]] bool anon_vma_prepare(mmap_region& region);
/// Links a region that fork has just made to all that the parent's is linked to. False when memory is short;
/// then it is linked to some of them. Caller holds the parent's mmap_lock.
[[nodiscard]] bool anon_vma_fork(mmap_region& child, const mmap_region& parent);
/// Pages are about to be moved from one region of an mm to another: links that one to all that the first is
/// linked to, after it. False when memory is short, which it is not if the regions have been linked already;
/// then it is linked to some of them. Caller holds the mmap_locks of both for writing.
[[nodiscard]] bool anon_vma_clone(mmap_region& to, const mmap_region& from);
/// The region goes away; it maps nothing any more.
void unlink_anon_vmas(mmap_region& region);

} // namespace racewalk::inline RACEWALK_BACKEND
