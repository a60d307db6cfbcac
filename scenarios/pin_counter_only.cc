// S5.1: what a count of pins says without a protocol around it.
//
// Mail 5, Jerome Glisse: "the refcount snap-shot does not include the second GUP and we can have a false
// negative [...] only either lock or memory ordering with barrier can guarantee that we do not miss GUP".
// Right: the answer is true when it is given and stale when it is used. One page, pinned; CPU1 drops that
// pin, CPU2 takes another, and writeback asks in between.
#include "catalogue.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(3) {
    if (!folio_try_add_pins(folio_, 1)) throw setup_violation{"SCENARIO", "a new page cannot be pinned"};
    cpu([this] {
      decided_ = folio_begin_writeback(folio_);
      folio_end_writeback(folio_);
    });
    cpu([this] { folio_put_pins(folio_, 1); });
    cpu([this] {
      pinned_in_writeback_ = false;
      if (get_page_pin(folio_) != pin_result::pinned) return;
      pinned_in_writeback_ = folio_test_writeback(folio_);
    });
    program.finally = [this] {
      VM_BUG_ON(pinned_in_writeback_ && decided_ == writeback_decision::unpinned, "PIN-STABLE",
                "the page is pinned and under writeback, and writeback was told that it is not pinned");
    };
  }

 private:
  folio* folio_ = page_folio(new_page(0, "p"));
  writeback_decision decided_ = writeback_decision::pinned;
  bool pinned_in_writeback_ = false;
};

auto scheme(pin_scheme_t pin) {
  return [=](settings& s) { s.policy.pin_scheme = pin; };
}

} // namespace

scenario pin_counter_only() {
  return {
      .id = "S5.1",
      .name = "pin_counter_only",
      .summary = "writeback asks whether a page is pinned while one pin is dropped and another taken",
      .source = MAIL_5,
      .threads = {"writeback", "unpin", "pin"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "counter", "the counter alone", scheme(pin_scheme_t::counter), always_violation},
              {"b", "page_lock", "pins are taken, and asked for, under the page lock",
               scheme(pin_scheme_t::page_lock), always_safe},
              {"c", "barrier", "a pin looks for writeback, and writeback for pins",
               scheme(pin_scheme_t::barrier), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
