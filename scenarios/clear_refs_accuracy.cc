// S2.5, S2.6, S2.7: what it takes that no store after clear_refs() goes unnoticed (mail 2).
//
// clear_refs() takes the right to store away from every entry, so that the next store faults and marks its
// entry soft-dirty. A TLB entry that lets stores through never faults, so it has to be flushed before the
// call returns: not to keep data, but to keep the answer right (S2.5). Data is lost if somebody takes an
// entry that forbids stores at its word before that: a fault that copies the page (S2.5b). It asks whether a
// flush is to come; or clear_refs() keeps faults out until it has flushed (29a951dfb3c3). For some years the
// flush was there and did not happen. It was a gather's, begun as if the mm were dying: where such an mm's
// ASID is never used again that flushes nothing, and this mm lives (S2.6). Then gathers came to flush only
// what they had recorded, and this one recorded nothing (S2.7, 0758cd830494); now clear_refs() flushes by
// itself (912efa17e512).
#include "catalogue.h"
#include "mm/task_mmu.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  DIRTY, ///< the entry is dirty, and so may a TLB know it
  CLEAN, ///< it is writable and clean: hardware has a bit to set first
  EXIT,  ///< no clear_refs(): the CPU leaves the mm, then another takes its pages away
  COPY,  ///< a fault finds the entry without the right to store, and copies the page
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(shape == COPY ? 3 : 2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(0, mm_);
    load_mm(1, mm_);
    if (shape == EXIT)
      exit();
    else if (shape == COPY)
      copy();
    else
      clear(shape);
  }

 private:
  void clear(unsigned shape) {
    describe(&returned_, "returned");
    const ptep_t ptep = pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0);
    if (shape == CLEAN) set_pte_at(0, ptep, pte_mkclean(ptep_get(ptep)));
    cpu([this] {
      (void)clear_refs(mm_, clear_refs_t::soft_dirty);
      smp_store_release(returned_, 1); // pairs with the acquire below: what is stored then is stored later
    });
    cpu([this] {
      stored_ = false;
      if (smp_load_acquire(returned_) != 0) stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    finally([this] {
      const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
      VM_BUG_ON(arch().soft_dirty != 0 && stored_ && !pte_soft_dirty(pte), "SOFT-DIRTY",
                "the page was stored to after clear_refs() had returned, and is not soft-dirty");
    });
  }
  void exit() {
    cpu([this] {
      if (smp_load_acquire(returned_) == 0) return;
      mmu_gather tlb(mm_);
      tlb_gather_mmu_fullmm(tlb);
      unmap_page_range(tlb, 0, PAGE_SIZE);
      tlb_finish_mmu(tlb);
    });
    cpu([this] {
      (void)this_cpu().store<u64>(0, 8);
      this_cpu().switch_mm(nullptr);
      smp_store_release(returned_, 1); // pairs with the acquire above: the mm is used before it goes
    });
  }

  void copy() {
    if (idle_without_uffd_wp()) return; // nobody asks there
    if (userfaultfd_register(uffd_, 0, PAGE_SIZE, UFFDIO_REGISTER_MODE_WP) != 0)
      throw setup_violation("SCENARIO", "the page cannot be registered");
    describe(uffd_);
    folio_get(page_folio(page_at(mm_, 0))); // somebody's, for which a fault copies the page
    // what faults is not lost: it is stored when all is over
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
    cpu([this] { (void)clear_refs(mm_, clear_refs_t::soft_dirty); });
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    cpu([this] {
      vm_area_struct& area = *mm_.existing_region(0)->areas.lookup(0);
      read_guard vm_lock(area.vm_lock);
      (void)handle_mm_fault(area, 0, FAULT_FLAG_WRITE);
    });
    finally([this] {
      VM_BUG_ON(stored_ && READ_ONCE(page_words(page_at(mm_, 0))[0]) != 8, "INV-WP",
                "a store is not in the copy of its page");
    });
  }

  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  word_t returned_{0};
  bool stored_ = false;
};

/// The CPUs that begin a store, find the entry read-only when they come to set its dirty bit, and complete
/// it.
void before_shadow_stacks(settings& s) {
  if (s.arch == &x86_64) s.arch = &x86_64_hw_b;
}

/// A fault copies what somebody else has a reference to, and clear_refs() has the mmap_lock for reading; asks
/// the fault whether a flush is to come?
auto copying(bool excluded, bool asks) {
  return [=](settings& s) {
    s.shape = COPY;
    s.policy.cow_reuse = cow_reuse_t::refcount;
    s.policy.gup_unshares = false;
    s.policy.clear_refs_excludes_faults = excluded;
    s.policy.wp_flushes_pending = asks;
  };
}

/// Lost wherever there is something to lose: Linux has soft-dirty on some architectures only.
expect violation_if_tracked(const settings& s) {
  return s.arch->soft_dirty == 0 ? expect::safe : expect::violation;
}
/// The same where there is a userfaultfd's protection, too, for which a fault asks.
expect violation_if_copied(const settings& s) {
  return s.arch->uffd_wp == 0 ? expect::safe : violation_if_tracked(s);
}
/// Lost where the flush of a dying mm flushes nothing.
expect violation_if_fullmm_skips(const settings& s) {
  return s.arch->fullmm_skips_flush ? violation_if_tracked(s) : expect::safe;
}
/// Lost where hardware sets a dirty bit that it does not have to fault for.
expect violation_if_hw_b(const settings& s) {
  return s.arch->ad_profile == ad_profile_t::hw_b ? expect::violation : expect::safe;
}

} // namespace

scenario clear_refs_accuracy() {
  return {
      .id = "S2.5",
      .name = "clear_refs_accuracy",
      .summary = "a store after clear_refs() has returned is seen as soft-dirty",
      .source = "mail 2; 912efa17e512",
      .threads = {"clear_refs", "store", "fault"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "clear_refs() flushes before it returns", nullptr, always_safe},
              {"a-N", "no_flush", "it does not",
               [](settings& s) { s.policy.clear_refs_flush = clear_refs_flush_t::none; },
               violation_if_tracked},
              {"a-C", "no_flush_clean", "it does not, and the TLB entry has its dirty bit still to set",
               [](settings& s) {
                 s.shape = CLEAN;
                 s.policy.clear_refs_flush = clear_refs_flush_t::none;
               },
               always_safe},
              {"a-B", "no_flush_clean_hw_b", "the same on CPUs that set it in a read-only entry, too",
               [](settings& s) {
                 before_shadow_stacks(s);
                 s.shape = CLEAN;
                 s.policy.clear_refs_flush = clear_refs_flush_t::none;
               },
               violation_if_hw_b},
              {"a-F", "flush_clean_hw_b", "on such CPUs, with the flush",
               [](settings& s) {
                 before_shadow_stacks(s);
                 s.shape = CLEAN;
               },
               always_safe},
              {"b", "copied", "a fault copies the page meanwhile: it asks whether a flush is to come",
               copying(false, true), always_safe},
              {"b-N", "copied_no_test", "as b, it does not ask", copying(false, false), violation_if_copied},
              {"b-X", "copied_excluded", "as b-N, clear_refs() keeps faults out until it has flushed",
               copying(true, false), always_safe},
          },
  };
}

scenario fullmm_gather_of_live_mm() {
  return {
      .id = "S2.6",
      .name = "fullmm_gather_of_live_mm",
      .summary = "clear_refs() by a gather that says the mm is dying",
      .source = "mail 2",
      .threads = {"clear_refs", "store"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "fullmm", "every change recorded, the mm said to be dying",
               [](settings& s) { s.policy.clear_refs_flush = clear_refs_flush_t::gather_fullmm; },
               violation_if_fullmm_skips},
              {"b", "range", "every change recorded, in a gather of a range",
               [](settings& s) { s.policy.clear_refs_flush = clear_refs_flush_t::gather; }, always_safe},
              {"d", "exit", "the mm is dying: no CPU runs in it again", [](settings& s) { s.shape = EXIT; },
               always_safe},
          },
  };
}

scenario unrecorded_gather() {
  return {
      .id = "S2.7",
      .name = "unrecorded_gather",
      .summary = "clear_refs() by a gather that it does not tell what it changes",
      .source = "mail 2; 0758cd830494, 912efa17e512",
      .threads = {"clear_refs", "store"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "flushed_unasked", "a gather of all flushes all (before 0758cd830494)",
               [](settings& s) {
                 s.policy.clear_refs_flush = clear_refs_flush_t::gather_fullmm;
                 s.policy.clear_refs_records = false;
                 s.policy.gather_flushes_unrecorded = true;
               },
               violation_if_fullmm_skips},
              {"b", "unrecorded", "a gather flushes what it has recorded (before 912efa17e512)",
               [](settings& s) {
                 s.policy.clear_refs_flush = clear_refs_flush_t::gather_fullmm;
                 s.policy.clear_refs_records = false;
               },
               violation_if_tracked},
              {"c", "shipped", "clear_refs() counts and flushes by itself", nullptr, always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
