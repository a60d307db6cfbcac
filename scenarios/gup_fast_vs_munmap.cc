// S1.4: may munmap() free a page table under a lockless walk?
//
// Mail 1, Peter Zijlstra: page-table pages are RCU(-like) freed, "the worst case if not getting a struct page
// *", so an extra wait in munmap is superfluous. True, if tables are freed by the rules and the walker holds
// off what they wait for; each departure from either side loses.
#include "catalogue.h"
#include "mm/gup.h"
#include "testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    load_mm(0, mm_);
    load_mm(1, mm_);
    mapped_ = page_at(mm_, 0);
    cpu([this] {
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 0) return;
      VM_BUG_ON(got != mapped_, "INV-TYPE", "the walk returned a page that was never mapped there");
      WRITE_ONCE(*page_words(got), 1); // the device writes: the pin keeps the page
      unpin_user_page(got);
    });
    cpu([this] { unmap_region(mm_, whole_table(0)); });
  }

 private:
  mm_struct& mm_ = new_mm();
  page* mapped_;
};

void rcu(settings& s) { s.policy.table_free = table_free_t::rcu; }

} // namespace

scenario gup_fast_vs_munmap() {
  return {
      .id = "S1.4",
      .name = "gup_fast_vs_munmap",
      .summary = "munmap frees a page table while a lockless walk may be in it",
      .source = "mail 1 (Re: Introduces new count-based method for tracking lockless pagetable walks)",
      .threads = {"gup_fast", "munmap"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
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
              {"h", "extra_serialize", "munmap waits for walkers besides",
               [](settings& s) {
                 rcu(s);
                 s.policy.serialize_mode = serialize_mode_t::ipi;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
