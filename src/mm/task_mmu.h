// What a program can learn and reset about its pages: /proc/PID/clear_refs, pagemap (M14).
//
// Soft-dirty: after clear_refs() the pages that are stored to become soft-dirty, and pagemap_read() tells
// which they are. So that a store is noticed, clear_refs() takes the right to store away from the entries;
// the fault that gives it back marks the entry. Two promises, which are not the same:
//   accuracy  each store after clear_refs() has returned is seen as soft-dirty. That needs the flush: a TLB
//             entry that lets stores through never faults.
//   data      no store is lost, also those that go through such a TLB entry before the flush. That needs that
//             everybody who concludes something from an entry without the right to store asks whether a flush
//             is under way (mm_tlb_flush_pending).
// An area that was mapped, or grown, since the last clear_refs() is soft-dirty as a whole (VM_SOFTDIRTY).
#pragma once

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Linux's numbers, as they are written to /proc/PID/clear_refs.
enum class clear_refs_t : u8 {
  all = 1,        ///< forgets which pages were used: the entries' and the folios' referenced bits
  soft_dirty = 4, ///< begins to note which pages are stored to
};

/// 0; -EOPNOTSUPP for soft_dirty where entries have no bit for it. Caller is a CPU and holds no lock of the
/// mm.
int clear_refs(mm_struct& mm, clear_refs_t what);

// Bits of a word of pagemap; the lowest 55 are the frame's number if the page is present, and for a swap
// entry its type in the lowest 5 and above them its offset.
inline constexpr u64 PM_PFRAME = (u64{1} << 55) - 1;
inline constexpr u64 PM_SOFT_DIRTY = u64{1} << 55;
inline constexpr u64 PM_MMAP_EXCLUSIVE = u64{1} << 56; ///< mapped by this entry alone
inline constexpr u64 PM_UFFD_WP = u64{1} << 57;        ///< write-protected by userfaultfd
inline constexpr u64 PM_FILE = u64{1} << 61;           ///< not anonymous memory
inline constexpr u64 PM_SWAP = u64{1} << 62;           ///< swapped, or on the move
inline constexpr u64 PM_PRESENT = u64{1} << 63;

/// Writes a word for each of the `nr` pages from `start` on. 0, or -EINVAL for addresses that cannot be. What
/// is not mapped is 0. Each word is right at some time during the call. Caller holds no lock of the mm.
int pagemap_read(mm_struct& mm, vaddr_t start, u64 nr, u64* words);

} // namespace racewalk::inline RACEWALK_BACKEND
