// S5.9: what a pin that meets writeback waits for.
//
// Mail 5, John Hubbard: "using PageWriteback for synchronization may rule out using wait_for_stable_page()",
// which does not wait where the page need not be stable; Jerome Glisse: wait_for_stable_page(), then, if
// PageWriteback is still set, wait for that. A page is under writeback and not pinned when the pin comes.
#include "catalogue.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    if (folio_begin_writeback(folio_) == writeback_decision::pinned)
      throw setup_violation{"SCENARIO", "a new page is pinned"};
    cpu([this] {
      pinned_in_writeback_ = false;
      if (get_page_pin(folio_) != pin_result::pinned) return;
      pinned_in_writeback_ = folio_test_writeback(folio_);
    });
    cpu([this] { folio_end_writeback(folio_); });
    program.finally = [this] {
      VM_BUG_ON(pinned_in_writeback_, "PIN-STABLE",
                "the page is pinned and under writeback, and writeback was told that it is not pinned");
    };
  }

 private:
  folio* folio_ = page_folio(new_page(0, "p"));
  bool pinned_in_writeback_ = false;
};

auto wait_for(stable_wait_t what, bool mapping_needs_stable) {
  return [=](settings& s) {
    s.policy.pin_scheme = pin_scheme_t::barrier;
    s.policy.stable_wait = what;
    s.policy.mapping_needs_stable = mapping_needs_stable;
  };
}

} // namespace

scenario pin_stable_wait() {
  using enum stable_wait_t;
  return {
      .id = "S5.9",
      .name = "pin_stable_wait",
      .summary = "a pin meets writeback of a page that need not be stable",
      .source = MAIL_5,
      .threads = {"pin", "writeback"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "stable_then_writeback", "wait_for_stable_page(), then for writeback if it is still on",
               wait_for(stable_then_writeback, false), always_safe},
              {"b", "stable_only", "wait_for_stable_page() alone, taken at its word",
               wait_for(stable_only, false), always_violation},
              {"c", "stable_only_needed", "the same where pages must be stable: it waits",
               wait_for(stable_only, true), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
