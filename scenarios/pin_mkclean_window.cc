// S5.8: a pin and folio_mkclean(); what orders the change of the entry before the look at the pins?
//
// Mail 5, Jan Kara, in the end: no lock and no flag are needed. Slow GUP pins under the page-table lock that
// mkclean takes as well; fast GUP pins before it reads the entry again; writeback looks for pins after
// mkclean. On whether that takes a barrier: "since we take PTL and page lock in page_mkclean(), locks are
// barrier enough", else an smp_rmb(). They are not: store, then load, is what an unlock and a lock let pass
// each other. What orders them is the exchange, where it is a full barrier, or the TLB flush.
//
// Two things more than the thread has. Whoever asks after clear_page_dirty_for_io(), as opposed to right
// after page_mkclean(), is ordered even without them, by the test-and-sets of PG_dirty. And where the flush
// interrupts the CPU that walks, it waits for the end of the walk: there the second look is not needed.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  FAST,      ///< the lockless walk alone pins
  SLOW,      ///< under locks, with faults
  READ_ONLY, ///< as FAST; the entry is read-only and clean, and mkclean has nothing to do
  BEGIN,     ///< as FAST; writeback looks for pins where it begins, not right after mkclean
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = new_disk_file(1);
    map_file(mm_, 0, PAGE_SIZE, f, 0, VM_READ | VM_WRITE | VM_SHARED);
    touch(mm_, 0, shape == READ_ONLY ? FAULT_FLAG_NONE : FAULT_FLAG_WRITE, "p");
    folio_ = page_folio(page_at(mm_, 0));
    load_mm(0, mm_);
    cpu([this, shape] {
      pinned_ = false;
      page* got = nullptr;
      pinned_ = shape == SLOW ? pin_user_pages(mm_, 0, 1, FOLL_WRITE, &got) == 1
                              : pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 1;
    });
    if (shape == BEGIN)
      cpu([this] { decided_ = folio_begin_writeback(folio_); });
    else
      cpu([this] { mkclean_and_look(); });
    finally([this] {
      if (decided_ == writeback_decision::pinned || !pinned_) return;
      // a pin that comes after the decision has made the entry writable, and so the page dirty, again
      VM_BUG_ON(!pte_write(ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0))), "PIN-CLEAN",
                "writeback took the page for unpinned and clean; it is pinned for writing, and nobody will "
                "see it dirtied");
    });
  }

 private:
  void mkclean_and_look() {
    folio_lock(folio_);
    (void)folio_mkclean(folio_);
    decided_ = folio_maybe_dma_pinned(folio_) ? writeback_decision::pinned : writeback_decision::unpinned;
    folio_unlock(folio_);
  }

  mm_struct& mm_ = new_mm();
  folio* folio_;
  bool pinned_ = false;
  writeback_decision decided_ = writeback_decision::pinned;
};

auto without_flush(mkclean_fence_t fence) {
  return [=](settings& s) {
    s.policy.mkclean_flushes = false;
    s.policy.mkclean_fence = fence;
  };
}

/// Lost where the exchange of an entry orders nothing.
expect violation_if_exchange_is_relaxed(const settings& s) {
  return s.model == explore::memory_model::weak && s.arch->xchg_order == order::relaxed ? expect::violation
                                                                                        : expect::safe;
}

auto with_shape(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}

} // namespace

scenario pin_mkclean_window() {
  using enum mkclean_fence_t;
  return {
      .id = "S5.8",
      .name = "pin_mkclean_window",
      .summary = "a file's page is pinned for writing while folio_mkclean() takes the right to store away",
      .source = MAIL_5,
      .threads = {"pin", "writeback"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "fast", "the entry is exchanged and flushed; the walk pins and looks again",
               with_shape(FAST), always_safe},
              {"b", "slow", "both under the page-table lock", with_shape(SLOW), always_safe},
              {"c", "locks_only", "no flush: the lock is released before the pins are looked at",
               without_flush(none), violation_if_exchange_is_relaxed},
              {"d", "rmb", "no flush, smp_rmb()", without_flush(rmb), violation_if_exchange_is_relaxed},
              {"e", "another_lock", "no flush, another lock taken and released", without_flush(lock_pair),
               violation_if_exchange_is_relaxed},
              {"f", "mb", "no flush, smp_mb()", without_flush(mb), always_safe},
              {"g", "no_reread", "the walk does not look at the entry again",
               [](settings& s) { s.policy.gup_recheck_pte = false; }, violation_unless_ipi},
              {"h", "read_only", "the entry is read-only: mkclean passes it by", with_shape(READ_ONLY),
               always_safe},
              {"i", "after_clear_dirty", "no flush; the pins are looked at after clear_page_dirty_for_io()",
               [](settings& s) {
                 without_flush(none)(s);
                 s.shape = BEGIN;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
