// S1.4: may munmap() free a page table under a lockless walk?
//
// Mail 1, Peter Zijlstra: page-table pages are RCU(-like) freed, "the worst case if not getting a struct page
// *", so an extra wait in munmap is superfluous. True, if tables are freed by the rules and the walker holds
// off what they wait for; each departure from either side loses.
//
// And may who unmapped a page trust its count? "only struct page *, and only if it can increment the page
// refcount" is half of it: the walker then has to find the entry unchanged, or it keeps a reference that was
// taken after the count had been looked at. Unless the flush in between is an IPI: then the walk is over.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/mmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  TABLE,        ///< a page and its table go
  COUNTED,      ///< the page goes; who unmaps it holds a reference: does anybody else?
  COUNTED_HUGE, ///< the same with a huge page
  TAKEN,        ///< the table goes with the page in it, as a collapse does it; the same question
  WHOLE,        ///< as TABLE, by munmap() as a whole: the locks, the area and then the page and its table
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    const bool huge = shape == COUNTED_HUGE;
    map_anonymous(mm_, 0, huge ? pmd_size() : PAGE_SIZE, huge ? "h" : "s", huge ? VM_HUGEPAGE : VM_NONE);
    load_mm(0, mm_);
    load_mm(1, mm_);
    mapped_ = page_at(mm_, 0);
    shape == TABLE || shape == WHOLE ? look_at_table(shape) : look_at_count(shape);
  }

 private:
  void look_at_table(unsigned shape) {
    cpu([this] {
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 0) return;
      VM_BUG_ON(got != mapped_, "INV-TYPE", "the walk returned a page that was never mapped there");
      WRITE_ONCE(*page_words(got), 1); // the device writes: the pin keeps the page
      unpin_user_page(got);
    });
    if (shape == TABLE)
      cpu([this] { unmap_region(mm_, whole_table(0)); });
    else
      cpu([this] {
        VM_BUG_ON(vm_munmap(mm_, 0, PAGE_SIZE) != 0, "SCENARIO", "munmap() fails");
        VM_BUG_ON(mm_.existing_region(0)->areas.size() != 0, "SCENARIO", "the area is still there");
      });
  }

  void look_at_count(unsigned shape) {
    folio* own = page_folio(mapped_);
    if (shape != TAKEN) folio_get(own); // who takes the table has the reference that its entry held
    cpu([this] {
      page* got = nullptr;
      kept_ = false;
      kept_ = pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) != 0;
    });
    cpu([this, own, shape] {
      alone_ = false;
      mmu_gather tlb(mm_);
      tlb_gather_mmu(tlb);
      shape == TAKEN ? free_pgtables(tlb, whole_table(0)) : unmap_page_range(tlb, 0, pmd_size());
      tlb_finish_mmu(tlb);
      alone_ = folio_ref_count(own) == 1;
    });
    program.finally = [this] {
      VM_BUG_ON(kept_ && alone_, "INV-REF",
                "the pin was kept, and who unmapped the page found it unreferenced");
    };
  }

  mm_struct& mm_ = new_mm();
  page* mapped_;
  bool kept_ = false;
  bool alone_ = false;
};

void rcu(settings& s) { s.policy.table_free = table_free_t::rcu; }
auto with(shape which) {
  return [which](settings& s) { s.shape = which; };
}

} // namespace

scenario gup_fast_vs_munmap() {
  return {
      .id = "S1.4",
      .name = "gup_fast_vs_munmap",
      .summary = "munmap frees a page table while a lockless walk may be in it",
      .source = "mail 1 (Re: Introduces new count-based method for tracking lockless pagetable walks)",
      .threads = {"gup_fast", "munmap"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "the architecture's own rule for freeing tables", nullptr, always_safe},
              {"b", "call_rcu", "tables are freed after a grace period", rcu, always_safe},
              {"c", "sync_ipi", "no page for a batch: interrupt all CPUs, then free",
               [](settings& s) {
                 rcu(s);
                 s.policy.batch_page_available = false;
               },
               always_safe},
              {"d", "at_once", "free directly after the flush",
               [](settings& s) { s.policy.table_free = table_free_t::at_once; }, violation_unless_ipi},
              {"e", "walk_preemptible",
               "freed after a grace period, walked in a section that nothing waits for",
               [](settings& s) {
                 rcu(s);
                 s.policy.gup_section = gup_section_t::none;
               },
               always_violation},
              {"f", "walk_rcu_only", "walked under rcu_read_lock alone, freed by the interrupt fallback",
               [](settings& s) {
                 s.policy.table_free = table_free_t::sync_ipi;
                 s.policy.gup_section = gup_section_t::rcu;
               },
               always_violation},
              {"g", "ipi_before_unhook",
               "walkers are interrupted before the table is unhooked; after the flush it is freed at once",
               [](settings& s) {
                 s.policy.table_free = table_free_t::at_once;
                 s.policy.serialize_mode = serialize_mode_t::ipi;
                 s.policy.serialize_before_unhook = true;
               },
               violation_unless_ipi},
              {"h", "extra_serialize", "munmap waits for walkers besides",
               [](settings& s) {
                 rcu(s);
                 s.policy.serialize_mode = serialize_mode_t::ipi;
               },
               always_safe},
              {"i", "counted", "who unmapped the page looks at its count", with(COUNTED), always_safe},
              {"j", "counted_no_pte_recheck", "as i, the walk does not read the pte again",
               [](settings& s) {
                 s.shape = COUNTED;
                 s.policy.gup_recheck_pte = false;
               },
               violation_unless_ipi},
              {"k", "counted_no_pmd_recheck", "as i, the walk does not read the pmd again",
               [](settings& s) {
                 s.shape = COUNTED;
                 s.policy.gup_recheck_pmd = false;
               },
               always_safe},
              {"l", "huge_counted", "as i, with a huge page", with(COUNTED_HUGE), always_safe},
              {"m", "huge_counted_no_pmd_recheck", "as l, the walk does not read the pmd again",
               [](settings& s) {
                 s.shape = COUNTED_HUGE;
                 s.policy.gup_recheck_pmd = false;
               },
               violation_unless_ipi},
              {"n", "table_counted",
               "the table goes with the page in it, and then who took it looks at the count", with(TAKEN),
               always_safe},
              {"o", "table_counted_no_pmd_recheck", "as n, the walk does not read the pmd again",
               [](settings& s) {
                 s.shape = TAKEN;
                 s.policy.gup_recheck_pmd = false;
               },
               violation_unless_ipi},
              {"p", "table_counted_no_pte_recheck", "as n, the walk does not read the pte again",
               [](settings& s) {
                 s.shape = TAKEN;
                 s.policy.gup_recheck_pte = false;
               },
               always_safe},
              {"q", "whole", "as a, munmap() as a whole", with(WHOLE), always_safe},
              {"r", "whole_at_once", "as q, the table is freed directly after the flush",
               [](settings& s) {
                 s.shape = WHOLE;
                 s.policy.table_free = table_free_t::at_once;
               },
               violation_unless_ipi},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
