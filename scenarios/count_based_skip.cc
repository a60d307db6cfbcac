// S1.9: may the IPI be left out when the mm counts no lockless walks?
//
// Mail 1, the patch series that it answers: walkers count themselves in the mm, and
// serialize_against_pte_lookup() interrupts nobody if the count is 0. Its barriers were said to keep the walk
// inside the region with interrupts off, which no barrier does; but the count needs them. "Count, then read
// the entry" against "change the entry, then read the count" is store buffering: a full barrier on both
// sides. And the walk must be over before the count says so.
//
// What the count says must also be about those who walk: a walker of another mm than its CPU's counts in the
// mm that it walks, and then no IPI to that mm's mask reaches it.
//
// Nothing but the count keeps a table under a walk: tables are freed at once, and the TLB is flushed
// afterwards.
#include "catalogue.h"
#include "mm/gup.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  OWN_WALKER,     ///< the walker's CPU runs the mm that it walks
  FOREIGN_WALKER, ///< it runs another one
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    load_mm(0, shape == FOREIGN_WALKER ? new_mm() : mm_);
    load_mm(1, mm_);
    cpu([this] {
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) != 0) unpin_user_page(got);
    });
    cpu([this] { unmap_region(mm_, whole_table(0)); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

void counted(settings& s, serialize_mode_t mode = serialize_mode_t::ipi_if_count) {
  s.policy.walk_tracking = walk_tracking_t::count;
  s.policy.serialize_mode = mode;
  s.policy.table_free = table_free_t::at_once;
  s.policy.gather_flush_before_free = false;
}

void foreign(settings& s, whose_mm_t counted_in, serialize_mode_t mode = serialize_mode_t::ipi_if_count) {
  counted(s, mode);
  s.shape = FOREIGN_WALKER;
  s.policy.walker_count_mm = counted_in;
}

} // namespace

scenario count_based_skip() {
  return {
      .id = "S1.9",
      .name = "count_based_skip",
      .summary = "a table is freed without an IPI if no walker is counted",
      .source = "mail 1 (Re: Introduces new count-based method for tracking lockless pagetable walks)",
      .threads = {"gup_fast", "unmap"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "both_mb", "smp_mb() after the count goes up and before it goes down",
               [](settings& s) { counted(s); }, always_safe},
              {"b", "no_mb_after_inc", "no barrier between counting and the walk",
               [](settings& s) {
                 counted(s);
                 s.policy.walker_count_inc_barrier = false;
               },
               violation_if_weak},
              {"c", "no_mb_before_dec", "no barrier between the walk and counting down",
               [](settings& s) {
                 counted(s);
                 s.policy.walker_count_dec_barrier = false;
               },
               violation_if_weak},
              {"d", "counted_in_current", "a walker of another mm counts itself in the mm of its CPU",
               [](settings& s) { foreign(s, whose_mm_t::current); }, always_violation},
              {"e", "wait_for_zero", "instead of an IPI, wait until the count is 0",
               [](settings& s) { counted(s, serialize_mode_t::wait_count); }, always_safe},
              {"f", "no_mb_before_count", "the count is read with no barrier after changing the entry",
               [](settings& s) {
                 counted(s);
                 s.policy.serialize_barrier = false;
               },
               violation_unless_sc},
              {"g", "foreign_walker", "as d, counted in the mm that it walks; the IPI goes to that mm's CPUs",
               [](settings& s) { foreign(s, whose_mm_t::own); }, always_violation},
              {"h", "foreign_wait_for_zero", "as g, with e's wait instead of the IPI",
               [](settings& s) { foreign(s, whose_mm_t::own, serialize_mode_t::wait_count); }, always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
