// get_user_pages and pin_user_pages: from addresses to pages, kept alive by a reference or a pin.
//
// The fast path walks the tables without locks (M2). It never hands out an entry or a pointer to one, only
// pages, and only those that it got a reference to and then still found behind the same entry. So tables may
// change under it in any way; all it needs is that they are not freed while it walks: lockless_walk.
//
// What a caller gets: each page was mapped at its address, with the access asked for, at some instant of the
// call; and who takes the mapping away and then, after a full barrier, looks at the page's count, accounts
// for it (P-ref). Not that the page is still mapped when the call returns.
//
// Who pins gets more: a page of anonymous memory that is exclusively the mm's, also to read it, and that no
// fork shares while the pin lasts (P-excl). What the mm writes and what the pin's holder sees stay the same.
#pragma once

#include "mm/gup_check.h"
#include "mm/mm_types.h"
#include "mm/page_pin.h"
#include "mm/pgtable.h"

namespace racewalk::inline RACEWALK_BACKEND {

enum gup_flags : u32 {
  FOLL_NONE = 0,
  FOLL_WRITE = 1u << 0,    ///< the page is to be written
  FOLL_FORCE = 1u << 3,    ///< also where the area only lets read, if what is written stays private (ptrace)
  FOLL_LONGTERM = 1u << 8, ///< for longer than a transfer takes: a device keeps it
};

constexpr gup_flags operator|(gup_flags a, gup_flags b) { return gup_flags(u32(a) | u32(b)); }

/// A section in which page tables are not freed, and in which the mm knows, if it counts them, of this walk.
///
/// begin: count++; MB; interrupts off   end: MB; interrupts on; count--
class lockless_walk {
 public:
  explicit lockless_walk(mm_struct& mm);
  ~lockless_walk();
  lockless_walk(const lockless_walk&) = delete;
  lockless_walk& operator=(const lockless_walk&) = delete;

 private:
  mm_struct& counted_; ///< whose count
};

// All of these take `nr_pages` pages from the one that holds `start` on, and write them to `pages`. They
// return how many they got, which is fewer if an address is not mapped or forbids the access, or a negative
// errno if there is none: -EFAULT, -EINVAL for addresses that cannot be, -ENOMEM, -EAGAIN.

/// Pins (FOLL_PIN): for devices and others that access the content. Give back with unpin_user_page(s).
long pin_user_pages_fast(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                         call_site at = call_site::here());
/// Takes references (FOLL_GET): for those that only look at struct page. Give back with put_page().
long get_user_pages_fast(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                         call_site at = call_site::here());
/// The same under locks, faulting pages in (M4). Caller holds no lock of the mm.
long pin_user_pages(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                    call_site at = call_site::here());

/// The fast path alone: what the lockless walk got, without falling back.
u64 pin_user_pages_fast_only(mm_struct& mm, vaddr_t start, u64 nr_pages, gup_flags flags, page** pages,
                             call_site at = call_site::here());

/// The folio that is mapped at `addr` by this PMD entry or its table, with a reference that folio_put() gives
/// back; null if there is none, or it is a device's. Faults nothing in. Caller holds the mmap_lock.
folio* get_mapped_folio(const pmdp_t& pmdp, vaddr_t addr);

/// Pins of the page of zeros are not counted.
inline void unpin_user_page(page* page, site s = RW_HERE, call_site at = call_site::here()) {
  if (gup_checked()) [[unlikely]]
    gup_check_gives_back(page, gup_kind::pin, at);
  if (!is_zero_page(page)) folio_put_pins(page_folio(page, s), 1, s);
}
/// Drops one pin of each page; neighbours in one folio together.
void unpin_user_pages(page* const* pages, u64 nr_pages, call_site at = call_site::here());
/// The same for pages that a device has stored to: they are dirty afterwards. May sleep.
void unpin_user_pages_dirty_lock(page* const* pages, u64 nr_pages, call_site at = call_site::here());

} // namespace racewalk::inline RACEWALK_BACKEND
