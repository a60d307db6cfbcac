// H7: an unmap that has not flushed yet, and who promises that no store or load goes the old way any more.
//
// Reclaim and migration take entries out and flush them later, many at once. mprotect() and munmap() find
// such an entry gone and have nothing to change, so nothing to flush; but they promise that after their
// return no CPU uses what the entry granted. So they flush for whoever took it out (3ea277194daa). What says
// that there is something to flush must not be lost: a flag that is cleared after the flush loses what comes
// meanwhile under another page-table lock (5ee2fa2f0636), and one that is set before the entry is gone can be
// cleared by a flush that comes in between. And it takes a flush: where the invalidation has been sent to all
// CPUs already, waiting for the own CPU's does not wait for that one (4b634918384c).
#include "catalogue.h"
#include "mm/madvise.h"
#include "mm/migrate.h"
#include "mm/mprotect.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PROTECT,       ///< one CPU makes the page read-only and stores to it
  GIVE_BACK,     ///< one CPU gives the page's memory back and reads it
  PROTECT_THREE, ///< as PROTECT, and another CPU flushes for an earlier unmap, under another ptl
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(shape == PROTECT_THREE ? 3 : 2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(1, mm_); // reclaim and migration run in kernel threads
    moving_ = page_folio(page_at(mm_, 0));
    folio_get(moving_);
    (void)folio_trylock(moving_);
    cpu([this, shape] { unmap(shape == PROTECT_THREE ? flush::after_all : flush::now); });
    if (shape == GIVE_BACK) {
      mm_.existing_region(0)->areas.lookup(0)->vm_flags.set(
          VM_NONE); // a fault gives no new page: one step less
      cpu([this] { give_back(); });
    } else {
      cpu([this] { protect(); });
    }
    if (shape != PROTECT_THREE) return;
    map_anonymous(mm_, pmd_size(), PAGE_SIZE, "q"); // in another table
    atomic_set(mm_.tlb_flush_batched, 1);
    cpu([this] { flush_for_others(); });
  }

 private:
  enum class flush : bool { now, after_all };
  /// As migration does it, up to where it would copy; it may take until everything else is over.
  void unmap(flush when) {
    tlbflush_unmap_batch batch;
    try_to_migrate(moving_, split_entry::no, batch);
    if (when == flush::now) try_to_unmap_flush(batch);
  }
  /// As who is about to change entries of another table.
  void flush_for_others() {
    pte_map_lock other(pmd_alloc(mm_, pmd_size()).pmdp);
    flush_tlb_batched_pending(mm_);
  }
  void protect() {
    mmap_region& region = *mm_.existing_region(0);
    vm_area_struct& vma = *region.areas.lookup(0);
    {
      write_guard mmap_lock(region.mmap_lock);
      mprotect_fixup(vma, VM_READ);
    }
    VM_BUG_ON(this_cpu().store<u64>(0, 8).ok(), "INV-WP",
              "a store went through after mprotect() had returned");
  }
  void give_back() {
    (void)madvise_dontneed(mm_, 0, PAGE_SIZE);
    VM_BUG_ON(this_cpu().load<u64>(0).ok(), "INV-TLB", "memory that was given back can still be read");
  }

  mm_struct& mm_ = new_mm();
  folio* moving_ = nullptr;
};

} // namespace

scenario batched_unmap_vs_change() {
  return {
      .id = "H7",
      .name = "batched_unmap_vs_change",
      .summary = "a page is unmapped, to be flushed later, when its rights change or it is given back",
      .source = "3ea277194daa, 5ee2fa2f0636, 4b634918384c, 383c4613c67c",
      .threads = {"unmap", "change", "flush_other"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "who finds the entry gone flushes for who took it out", nullptr, always_safe},
              {"a-0", "mprotect_no_flush", "mprotect() does not (before 3ea277194daa)",
               [](settings& s) { s.policy.mprotect_flushes_batched = false; }, always_violation},
              {"a-D", "barrier", "it waits for its own invalidations only (before 4b634918384c)",
               [](settings& s) { s.policy.batched_flush = batched_flush_t::barrier; }, violation_unless_ipi},
              {"b", "flag", "a flag says so; it is cleared after the flush (before 5ee2fa2f0636)",
               [](settings& s) {
                 s.shape = PROTECT_THREE;
                 s.policy.batched_pending_counts = false;
               },
               always_violation},
              {"b-C", "counter", "two counts say so, and the flush advances one if the other has not moved",
               [](settings& s) { s.shape = PROTECT_THREE; }, always_safe},
              {"c", "dontneed_no_flush", "MADV_DONTNEED does not",
               [](settings& s) {
                 s.shape = GIVE_BACK;
                 s.policy.zap_flushes_batched = false;
               },
               always_violation},
              {"c-F", "dontneed", "MADV_DONTNEED does", [](settings& s) { s.shape = GIVE_BACK; },
               always_safe},
              {"d", "counted_before_clear", "counted before the entry is gone",
               [](settings& s) {
                 s.shape = PROTECT_THREE;
                 s.policy.batched_pending_after_clear = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
