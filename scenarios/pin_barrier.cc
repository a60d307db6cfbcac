// S5.7: a pin and the start of writeback must not miss each other.
//
// Mail 5, Jerome Glisse: "This is text book memory barrier. Either get_page_pin() see racing
// test_set_page_writeback() or test_set_page_writeback() see racing GUP." His pinner has smp_wmb() between
// adding the pin and testing PageWriteback: store buffering, which takes a full barrier on both sides.
#include "catalogue.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Who does how much.
enum class shape : unsigned {
  one_try,      ///< one attempt to pin; writeback begins and does not end
  until_pinned, ///< a pin that met writeback waits and tries again; writeback ends
  two_pins,     ///< the same from two CPUs
};

class world : public testbed {
 public:
  explicit world(shape what) : testbed(what == shape::two_pins ? 3 : 2) {
    what == shape::one_try ? try_once() : retry(what == shape::two_pins ? 2 : 1);
  }

 private:
  void try_once() {
    cpu([this] {
      kept_[0] = false;
      kept_[0] = try_get_page_pin(folio_, 1) == pin_result::pinned;
    });
    cpu([this] { decided_ = folio_test_set_writeback_pinned(folio_); });
    program.finally = [this] {
      VM_BUG_ON(kept_[0] && decided_ == writeback_decision::unpinned, "PIN-STABLE",
                "the pin was kept, and writeback was told that the page is not pinned");
    };
  }

  void retry(unsigned pinners) {
    cpu([this] { pin(kept_[0]); });
    cpu([this] {
      decided_ = folio_test_set_writeback_pinned(folio_);
      folio_end_writeback(folio_);
    });
    if (pinners == 2) cpu([this] { pin(kept_[1]); }, 0);
    program.finally = [this] {
      VM_BUG_ON((kept_[0] || kept_[1]) && decided_ == writeback_decision::unpinned, "PIN-STABLE",
                "the page is pinned and under writeback, and writeback was told that it is not pinned");
    };
  }

  /// Pins; `in_writeback`: the page was under writeback then.
  void pin(bool& in_writeback) {
    in_writeback = false;
    if (get_page_pin(folio_) != pin_result::pinned) return;
    in_writeback = folio_test_writeback(folio_);
  }

  folio* folio_ = page_folio(new_page(0, "p"));
  bool kept_[2] = {false, false}; ///< by each pinner; in retry() if writeback was on then
  writeback_decision decided_ = writeback_decision::pinned;
};

void barrier_scheme(settings& s, pin_fence_t pin, wb_fence_t wb) {
  s.policy.pin_scheme = pin_scheme_t::barrier;
  s.policy.pin_fence = pin;
  s.policy.wb_barrier = wb;
}

auto until_pinned(shape what, pin_backoff_t wait) {
  return [=](settings& s) {
    barrier_scheme(s, pin_fence_t::value_returning, wb_fence_t::mb);
    s.policy.pin_backoff_wait = wait;
    s.shape = static_cast<unsigned>(what);
  };
}

} // namespace

scenario pin_barrier() {
  auto with = [](pin_fence_t pin, wb_fence_t wb) { return [=](settings& s) { barrier_scheme(s, pin, wb); }; };
  return {
      .id = "S5.7",
      .name = "pin_barrier",
      .summary = "a pin and the start of writeback look for each other",
      .source = MAIL_5,
      .threads = {"pin", "writeback", "pin"},
      .set_up = [](const settings& s) { return std::make_unique<world>(static_cast<shape>(s.shape)); },
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
              {"f", "backoff_irqs_off", "waits for writeback with interrupts off, then tries again",
               until_pinned(shape::until_pinned, pin_backoff_t::irqs_off), always_violation},
              {"g", "backoff_irqs_on", "waits for writeback with interrupts on, then tries again",
               until_pinned(shape::until_pinned, pin_backoff_t::irqs_on), always_safe},
              {"h", "two_pinners", "two CPUs pin, each waits with interrupts on and tries again",
               until_pinned(shape::two_pins, pin_backoff_t::irqs_on), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
