// S5.7: a pin and the start of writeback must not miss each other.
//
// Mail 5, Jerome Glisse: "This is text book memory barrier. Either get_page_pin() see racing
// test_set_page_writeback() or test_set_page_writeback() see racing GUP." His pinner has smp_wmb() between
// adding the pin and testing PageWriteback: store buffering, which takes a full barrier on both sides.
#include "catalogue.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    cpu([this] {
      kept_ = false;
      kept_ = try_get_page_pin(folio_, 1) == pin_result::pinned;
    });
    cpu([this] { decided_ = folio_test_set_writeback_pinned(folio_); });
    program.finally = [this] {
      VM_BUG_ON(kept_ && decided_ == writeback_decision::unpinned, "PIN-STABLE",
                "the pin was kept, and writeback was told that the page is not pinned");
    };
  }

 private:
  folio* folio_ = page_folio(new_page(0, "p"));
  bool kept_ = false;
  writeback_decision decided_ = writeback_decision::pinned;
};

void barrier_scheme(settings& s, pin_fence_t pin, wb_fence_t wb) {
  s.policy.pin_scheme = pin_scheme_t::barrier;
  s.policy.pin_fence = pin;
  s.policy.wb_barrier = wb;
}

} // namespace

scenario pin_barrier() {
  auto with = [](pin_fence_t pin, wb_fence_t wb) { return [=](settings& s) { barrier_scheme(s, pin, wb); }; };
  return {
      .id = "S5.7",
      .name = "pin_barrier",
      .summary = "a pin and the start of writeback look for each other",
      .source = "mail 5 (Re: mm: introduce put_user_page*(), placeholder versions)",
      .threads = {"pin", "writeback"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "value_returning", "the add is a fully ordered atomic",
               with(pin_fence_t::value_returning, wb_fence_t::mb), always_safe},
              {"b", "wmb", "smp_wmb() after the add, as the mail writes it",
               with(pin_fence_t::wmb, wb_fence_t::mb), violation_if_weak},
              {"c", "mb", "smp_mb() after the add", with(pin_fence_t::mb, wb_fence_t::mb), always_safe},
              {"d", "after_atomic", "smp_mb__after_atomic() after the add",
               with(pin_fence_t::after_atomic, wb_fence_t::mb), always_safe},
              {"e", "mb_and_wmb",
               "the follow-up mail: smp_mb() in the pin, smp_wmb() after TestSetPageWriteback",
               with(pin_fence_t::mb, wb_fence_t::wmb), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
