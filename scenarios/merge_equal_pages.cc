// S2.9: may two equal pages become one while a CPU can still store to one of them? (b3a81d0841a9)
//
// KSM makes a page read-only, compares it, and then lets its entry map the page that stands for the content.
// It flushes if the entry lets stores through, or tells of one. An entry that does neither may owe its looks
// to two others who have not flushed yet: MADV_FREE has made it clean, clear_refs has made it read-only, and
// a CPU goes on storing by a TLB entry that is neither. So whoever has not flushed says so
// (mm->tlb_flush_pending), and KSM asks. It does not matter that clear_refs said nothing: MADV_FREE has, or
// has flushed.
//
// Since there are exclusive pages (6c287605fd56), the question has a second answer: KSM also flushes for a
// page that is the mm's alone, and one that is not had its stores flushed when it was shared. In this system
// the losing page is always exclusive, so either test is enough, and it takes a departure from both to lose.
//
// Who takes references without locks looks at the entry again; so the entry goes before references are
// counted.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/ksm.h"
#include "mm/madvise.h"
#include "mm/task_mmu.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  STORE,     ///< a CPU stores while MADV_FREE is under way; the merger runs clear_refs first
  REFERENCE, ///< a lockless walk takes a reference, to store through
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(shape == STORE ? 3 : 2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    page_ = page_at(mm_, 0);
    kpage_ = page_folio(new_page(0, "k")); // all zeros, as p
    folio_set_anon(kpage_);
    folio_set_ksm(kpage_);
    folio_get(page_folio(page_)); // the merger's
    shape == STORE ? store() : reference();
  }

 private:
  vm_area_struct& area() { return *mm_.existing_region(0)->areas.lookup(0); }
  pte_t entry() { return ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0)); }
  void merge() {
    read_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
    (void)try_to_merge_with_ksm_page(area(), 0, page_, kpage_);
  }

  void store() {
    load_mm(0, mm_);
    // A store that faults is refused, and who holds the mmap_lock for reading does not exclude the others:
    // some steps less.
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    cpu([this] { (void)madvise_free_single_vma(area(), 0, PAGE_SIZE); });
    cpu([this] {
      (void)clear_refs(mm_, clear_refs_t::soft_dirty);
      merge();
    });
    finally([this] {
      VM_BUG_ON(READ_ONCE(page_words(&kpage_->page)[0]) != 0, "INV-WP",
                "a store went to the page that stands for others");
      VM_BUG_ON(stored_ && READ_ONCE(pfn_words(pte_pfn(entry()))[0]) != 8, "INV-DIRTY",
                "a store went to the old page after it was compared");
    });
  }
  void reference() {
    cpu([this] {
      got_ = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got_) != 1) got_ = nullptr;
    });
    cpu([this] { merge(); });
    finally([this] {
      VM_BUG_ON(got_ != nullptr && pte_pfn(entry()) != page_to_pfn(got_), "INV-EXCL",
                "a page was pinned to be stored to, and another one is in its place");
    });
  }

  mm_struct& mm_ = new_mm();
  page* page_ = nullptr;
  folio* kpage_ = nullptr;
  page* got_ = nullptr;
  bool stored_ = false;
};

/// clear_refs() as it was: with the mmap_lock for reading, neither flushing in time nor saying so.
void silent_clear_refs(settings& s) {
  s.policy.clear_refs_excludes_faults = false;
  s.policy.clear_refs_pending = false;
  s.policy.clear_refs_flush = clear_refs_flush_t::none;
}
auto with_silent_clear_refs(bool pending, bool exclusive) {
  return [=](settings& s) {
    silent_clear_refs(s);
    s.policy.ksm_tests_flush_pending = pending;
    s.policy.ksm_tests_exclusive = exclusive;
  };
}
/// Lost where there is soft-dirty: elsewhere nobody has made the entry read-only.
expect violation_if_tracked(const settings& s) {
  return s.arch->soft_dirty == 0 ? expect::safe : expect::violation;
}
auto counting(bool first, bool exclusive) {
  return [=](settings& s) {
    s.shape = REFERENCE;
    s.policy.ksm_flushes_first = !first;
    s.policy.ksm_tests_exclusive = exclusive;
  };
}

} // namespace

scenario merge_equal_pages() {
  return {
      .id = "S2.9",
      .name = "merge_equal_pages",
      .summary = "two equal pages become one while a CPU or a device may store to one of them",
      .source = "mail 2; b3a81d0841a9",
      .threads = {"store", "madvise_free", "merge"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"b", "shipped", "KSM asks whether a flush is pending, and whether the page is exclusive",
               silent_clear_refs, always_safe},
              {"a", "no_test", "it asks neither", with_silent_clear_refs(false, false), violation_if_tracked},
              {"c", "pending_only", "it asks for a pending flush: MADV_FREE's",
               with_silent_clear_refs(true, false), always_safe},
              {"d", "exclusive_only", "it asks whether the page is exclusive",
               with_silent_clear_refs(false, true), always_safe},
              {"e", "flush_then_count", "a device pins the page: the entry goes, then references are counted",
               counting(false, false), always_safe},
              {"f", "count_then_flush", "references are counted, then the entry goes", counting(true, false),
               always_violation},
              {"g", "count_then_flush_pins", "the same, and pins are looked for after the entry is gone",
               counting(true, true), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
