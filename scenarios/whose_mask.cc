// S1.8: a page that several address spaces map; whose mask, whose count?
//
// Mail 1, Peter Zijlstra, on using mm_cpumask(): "Also, I suppose that is buggered vs file backed THP." Not
// for taking a table away: what is freed belongs to one address space, only walks of that one reach it, and
// so its own mask or count is what has to be asked. Asking those of the mm that happens to be loaded is what
// loses, as khugepaged and other kernel threads do not run the mm that they change. What concerns all who map
// the page, the split of the compound page itself, is none of the mask's business: the folio's count is
// frozen for it, and whoever comes late fails to take a reference, or finds the entry changed.
//
// Page s of a file is mapped by mm A and mm B. Nothing but the serialization keeps a table under a walk:
// tables are freed at once, and the TLB is flushed afterwards.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/page_ref.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  TABLE, ///< B's table goes
  SPLIT, ///< the page is unmapped everywhere and frozen
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(3) {
    file& f = new_file(1);
    for (mm_struct* mm : {&a_, &b_}) {
      map_file(*mm, 0, PAGE_SIZE, f, 0, VM_READ | VM_WRITE | VM_SHARED);
      touch(*mm, 0, FAULT_FLAG_WRITE, "s");
    }
    shared_ = page_folio(page_at(a_, 0));
    load_mm(0, a_);
    load_mm(1, b_);
    load_mm(2, a_); // not the mm that it changes
    shape == SPLIT ? split() : remove_table();
  }

 private:
  static void walk(mm_struct& mm) {
    page* got = nullptr;
    if (pin_user_pages_fast_only(mm, 0, 1, FOLL_WRITE, &got) != 0) unpin_user_page(got);
  }

  void remove_table() {
    cpu([this] { walk(a_); });
    cpu([this] { walk(b_); });
    cpu([this] { unmap_region(b_, whole_table(0)); });
  }

  static void unmap_page(mm_struct& mm) {
    mmu_gather tlb(mm);
    tlb_gather_mmu(tlb);
    unmap_page_range(tlb, 0, PAGE_SIZE);
    tlb_finish_mmu(tlb);
  }

  void split() {
    folio_get(shared_); // the splitter's own reference
    cpu([this] {
      page* got = nullptr;
      kept_ = false;
      kept_ = pin_user_pages_fast_only(a_, 0, 1, FOLL_WRITE, &got) != 0;
    });
    cpu([] {});
    cpu([this] {
      frozen_ = false;
      unmap_page(a_);
      unmap_page(b_);
      if (!folio_ref_freeze(shared_, 2)) return; // the page cache's, and the splitter's
      frozen_ = true;
      folio_ref_unfreeze(shared_, 2);
    });
    program.finally = [this] {
      VM_BUG_ON(kept_ && frozen_, "INV-REF", "a page was split that the walker of another mm had pinned");
    };
  }

  mm_struct& a_ = new_mm();
  mm_struct& b_ = new_mm();
  folio* shared_ = nullptr;
  bool kept_ = false;
  bool frozen_ = false;
};

void asks_mask(settings& s, whose_mm_t whose) {
  s.policy.serialize_mode = serialize_mode_t::ipi;
  s.policy.serialize_mm = whose;
  s.policy.table_free = table_free_t::at_once;
  s.policy.gather_flush_before_free = false;
}

void asks_count(settings& s, whose_mm_t whose) {
  asks_mask(s, whose);
  s.policy.serialize_mode = serialize_mode_t::ipi_if_count;
  s.policy.walk_tracking = walk_tracking_t::count;
}

} // namespace

scenario whose_mask() {
  return {
      .id = "S1.8",
      .name = "whose_mask",
      .summary = "a table of one of two mms that map a page is freed by a thread that runs the other",
      .source = "mail 1 (Re: Introduces new count-based method for tracking lockless pagetable walks)",
      .threads = {"gup_fast in A", "gup_fast in B", "unmap in B"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "own_mask", "IPI to the CPUs of the mm whose table goes",
               [](settings& s) { asks_mask(s, whose_mm_t::own); }, always_safe},
              {"b", "current_mask", "IPI to the CPUs of the mm that is loaded",
               [](settings& s) { asks_mask(s, whose_mm_t::current); }, always_violation},
              {"c", "own_count", "the IPI is skipped if the mm whose table goes counts no walkers",
               [](settings& s) { asks_count(s, whose_mm_t::own); }, always_safe},
              {"d", "current_count", "the IPI is skipped if the mm that is loaded counts no walkers",
               [](settings& s) { asks_count(s, whose_mm_t::current); }, always_violation},
              {"e", "compound_split",
               "the page is unmapped in both mms, then its count is frozen; no mask is asked",
               [](settings& s) { s.shape = SPLIT; }, always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
