// H10: a page is copied for a fault while a TLB still lets stores through.
//
// A userfaultfd protects a page: the entry is changed under its lock, and flushed after that. Before it is,
// another of its threads takes the protection back; the entry stays read-only and says nothing of the
// userfaultfd any more. A store of another CPU faults there, finds that the page is not the mm's alone, and
// copies it; the store that a third CPU makes meanwhile through its TLB is not in the copy. So who copies
// asks whether a flush is to come, and flushes by itself (6ce64428d620). It mattered while a reference of
// anybody's made a fault copy (09854ba94c6a): a page that is exclusively the mm's is kept, not copied.
#include "catalogue.h"
#include "mm/mprotect.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(0, mm_);
    load_mm(1, mm_);
    if (idle_without_uffd_wp()) return;
    if (userfaultfd_register(uffd_, 0, PAGE_SIZE, UFFDIO_REGISTER_MODE_WP) != 0)
      throw setup_violation("SCENARIO", "the page cannot be registered");
    describe(uffd_);
    folio_get(page_folio(page_at(mm_, 0))); // somebody's, who reads it
    vma_tree& areas = mm_.region(0)->areas;
    vm_area_struct& area = *areas.lookup(0);
    areas.erase(area); // the store goes through the TLB, or is refused
    cpu([this, &area] { protect_unprotect_fault(area); });
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, STORED).ok();
    });
    finally([this] {
      VM_BUG_ON(stored_ && READ_ONCE(page_words(page_at(mm_, 0))[0]) != STORED, "INV-WP",
                "a store is not in the copy of its page");
    });
  }

 private:
  static constexpr u64 STORED = 7;

  /// What three CPUs do, in the order that matters: each changes the entry, or faults at it, before the one
  /// that came first has flushed.
  void protect_unprotect_fault(vm_area_struct& area) {
    read_guard vm_lock(area.vm_lock);
    mmu_gather protect(mm_);
    tlb_gather_mmu(protect);
    (void)change_protection(protect, 0, PAGE_SIZE, {}, cp_flags::uffd_wp);
    mmu_gather unprotect(mm_);
    tlb_gather_mmu(unprotect);
    (void)change_protection(unprotect, 0, PAGE_SIZE, {}, cp_flags::uffd_wp_resolve);
    (void)handle_mm_fault(area, 0, FAULT_FLAG_WRITE);
    tlb_finish_mmu(unprotect);
    tlb_finish_mmu(protect);
  }

  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  bool stored_ = false;
};

void references_count(settings& s) {
  s.policy.cow_reuse = cow_reuse_t::refcount;
  s.policy.gup_unshares = false;
}

} // namespace

scenario wp_fault_vs_unprotect() {
  return {
      .id = "H10",
      .name = "wp_fault_vs_unprotect",
      .summary = "a page is copied whose protection by a userfaultfd is neither flushed nor there any more",
      .source = "6ce64428d620",
      .threads = {"userfaultfd", "store"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "a page of the mm's own is kept", nullptr, always_safe},
              {"b", "refcount_no_test", "a reference makes it be copied, and nothing is asked",
               [](settings& s) {
                 references_count(s);
                 s.policy.wp_flushes_pending = false;
               },
               violation_if_uffd_wp},
              {"c", "refcount", "as b, who copies flushes if a flush is to come", references_count,
               always_safe},
              {"d", "no_test", "as a, and nothing is asked",
               [](settings& s) { s.policy.wp_flushes_pending = false; }, always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
