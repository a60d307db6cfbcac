// Pages from the frames of a machine.
//
// A page that alloc_pages() returns has one reference, no mapping and no flags; it goes back when its last
// reference is dropped (folio_put), at which time nothing may map, pin or lock it (INV-REF).
#pragma once

#include <memory>

#include "machine/machine.h"
#include "mm/huge_zero_page.h"
#include "mm/page_ref.h"
#include "mm/zone.h"

namespace racewalk::inline RACEWALK_BACKEND {

enum gfp_t : u32 {
  GFP_KERNEL = 0,
  GFP_ZERO = 1u << 0,   ///< the content is zeros
  GFP_NOWAIT = 1u << 1, ///< rather nothing than to wait for tables that are on their way back, or for reclaim
};
constexpr gfp_t operator|(gfp_t a, gfp_t b) { return gfp_t(u32(a) | u32(b)); }

/// Puts a machine's frames into the hands of the allocator while it lives. Frame 0 stays out: it is the
/// page of zeros (ZERO_PFN).
class page_allocator {
 public:
  /// `explored_slots`: blocks set aside for allocations by explored threads.
  explicit page_allocator(Machine& machine, unsigned explored_slots = 0);
  ~page_allocator();
  page_allocator(const page_allocator&) = delete;
  page_allocator& operator=(const page_allocator&) = delete;

  zone& frames() { return zone_; }
  const zone& frames() const { return zone_; }

 private:
  Machine& machine_;
  zone zone_;
  huge_zero_page huge_zero_;
};

/// 2^order pages, as one folio if there are several. Null when there are none. Unless GFP_NOWAIT it may sleep
/// and, for a single page, take memory back (vmscan.h): the caller holds no spinlock, no anon_vma_lock and no
/// i_mmap_rwsem. Folio locks and what a fault holds it may hold.
page* alloc_pages(unsigned order, gfp_t gfp, site s = RW_HERE);
inline page* alloc_page(gfp_t gfp, site s = RW_HERE) { return alloc_pages(0, gfp, s); }

// A page table has all entries none when it is allocated and when it is freed. Its count is 0 all the while,
// as if frozen: no lockless walker can get a reference to it, whatever stale entry it follows.

page* pagetable_alloc(gfp_t gfp, site s = RW_HERE);
void pagetable_free(page* table, site s = RW_HERE);

/// A batch of tables begins to wait for a grace period, or has been freed.
void pagetables_deferred();
void pagetables_arrived();

} // namespace racewalk::inline RACEWALK_BACKEND
