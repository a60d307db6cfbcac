// S2.1, S2.2: does writeback see every store to a shared mapping whose entries two drivers change? (mail 2)
//
// folio_mkclean() passes an entry by that is read-only and clean: nobody can have stored through it since the
// folio was last written. Two helpers for drivers make that untrue for a while. One takes dirty bits away,
// the other the right to store, and both flush when they have dropped the page-table lock. In between the
// entry says read-only and clean, and a TLB lets stores through that set no bit. So who judges by the entry
// asks whether somebody has a flush to come, under the lock that the helpers held: tlb_flush_pending.
//
// One helper alone does no harm (S2.3, S2.4). Both run on one CPU here, the one that protects in the middle
// of the one that cleans, as when a thread is preempted between its change and its flush.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/mapping_dirty_helpers.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  ONE_PAGE,  ///< both helpers change the entry
  NEIGHBOUR, ///< a third change, of another page's entry, ends before theirs
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(3) {
    map_file(mm_, 0, (shape == NEIGHBOUR ? 2 : 1) * PAGE_SIZE, file_, 0, VM_READ | VM_WRITE | VM_SHARED);
    touch(mm_, 0, FAULT_FLAG_WRITE, "p");
    page_ = page_at(mm_, 0);
    folio_ = page_folio(page_);
    (void)folio_trylock(folio_); // writeback's
    load_mm(0, mm_);
    describe(&bitmap_, "bitmap");
    // what faults is not lost: it is stored when all is over
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
    cpu([this] { stored_ = this_cpu().store<u64>(0, 8).ok(); });
    cpu([this] {
      (void)folio_mkclean(folio_);
      written_ = READ_ONCE(page_words(page_)[0]);
    });
    cpu([this, shape] {
      wp_walk cleaning(mm_, 0, PAGE_SIZE);
      cleaning.clean_record(&bitmap_, 0);
      wp_walk protecting(mm_, 0, PAGE_SIZE);
      protecting.wp();
      if (shape == NEIGHBOUR) wp_shared_mapping_range(file_.mapping(), 1, 1);
    });
    finally([this] {
      const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
      VM_BUG_ON(stored_ && written_ != 8 && !pte_dirty(pte), "INV-DIRTY",
                "the page was stored to after it was written, and its entry says that it is clean");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  file& file_ = new_disk_file(2);
  page* page_ = nullptr;
  folio* folio_ = nullptr;
  word_t bitmap_{0};
  bool stored_ = false;
  u64 written_ = 0; ///< to the disk
};

auto testing(mkclean_pending_t when) {
  return [=](settings& s) { s.policy.mkclean_tests_flush_pending = when; };
}

} // namespace

scenario dirty_vs_writeback() {
  return {
      .id = "S2.1",
      .name = "dirty_vs_writeback",
      .summary = "a page is stored to and written back while drivers clean and write-protect its entry",
      .source = "mail 2, example 1 and 2a",
      .threads = {"store", "writeback", "drivers"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"b", "shipped", "writeback asks under the page-table lock whether a flush is to come (S2.2)",
               nullptr, always_safe},
              {"a", "no_test", "it does not ask", testing(mkclean_pending_t::no), always_violation},
              {"c", "test_before_ptl", "it asks before it takes the lock",
               testing(mkclean_pending_t::before_ptl), always_violation},
              {"c-O", "other_lock", "it asks under another lock, where it has read the entry",
               testing(mkclean_pending_t::other_lock), violation_if_weak},
              {"d", "flag", "the flush to come is a flag, which the first who is done clears",
               [](settings& s) {
                 s.shape = NEIGHBOUR;
                 s.policy.flush_pending_counts = false;
               },
               always_violation},
              {"e", "flush_under_ptl", "it does not ask; the helpers flush under the page-table lock",
               [](settings& s) {
                 testing(mkclean_pending_t::no)(s);
                 s.policy.dirty_helpers_flush_locked = true;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
