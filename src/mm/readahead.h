// Read-ahead: pages that will be wanted soon are read together with the one that is wanted now.
//
// Who reads in order gets a window that doubles each time it has been used up; who touches a mapping gets the
// pages around, unless that has been of no use so far. All the pages of a window go to the host in few
// transfers. What is remembered of an opening is a guess, and nobody locks it.
//
// Who finds nothing waits for his window. One of its pages has a mark (PG_readahead): who comes upon that
// reads in order, and has the next window read while he goes on. Its pages are in the cache, locked until
// they are there; who wants one waits for its lock as ever, and reads it himself if that has failed. So
// nobody who has the lock of a folio is in the way of those that are in flight: whoever takes a file's pages
// away waits for each, holding the invalidate_lock against new ones (M42).
//
// Natively only: elsewhere address_space::ra_pages is 0.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct address_space;
struct file;
enum vm_flags_t : u32;

/// What is remembered of an opening, in pages. Those who use it together disturb each other's guesses only.
struct file_ra_state {
  shared<u64> start{0};            ///< where the last window began
  shared<u32> size{0};             ///< how long it was
  shared<u32> async_size{0};       ///< its mark is so long before its end
  shared<u32> mmap_miss{0};        ///< how much more often a fault has found its page missing than present
  shared<u64> prev_index{~u64{0}}; ///< what read() has used last
};

/// Who wants a page, and what for.
struct ra_request {
  u64 wanted = 1;        ///< by read(): how many pages from the first one on
  vm_flags_t vm_flags{}; ///< by a fault: of its area
  bool mapped = false;   ///< by a fault
};

/// Reads pages that are not in the cache at `index` and around it, as far as it is worth it. What cannot be
/// read is left to who wants it. May sleep. Caller holds the invalidate_lock and no folio lock.
void page_cache_sync_ra(file& f, u64 index, const ra_request& request);
/// Before a page is taken from the cache: if it has the mark, the next pages begin to be read. May sleep.
/// Caller holds no lock of the file.
void page_cache_async_ra(file& f, u64 index, const ra_request& request);
/// A fault has found its page in the cache.
void filemap_fault_hit(file& f);
/// MADV_WILLNEED: [index, index + nr) begins to be read, whatever has been of use. Caller holds no lock of
/// the file.
void force_page_cache_ra(address_space& mapping, u64 index, u64 nr);

} // namespace racewalk::inline RACEWALK_BACKEND
