// S5.5: more pins than the count has room for.
//
// Mail 5, Jan Kara: the bias "still gives us 22-bits for page pins which should be plenty (but we should
// check for that and bail with error if it would overflow)". The count is signed: 21 bits, and the 22nd is
// its sign. Who takes the sign for a digit, or does not look at all, gets a count that comes round to where
// it began: with 2^22 pins the page cache's reference seems to be the only one, and dropping it frees the
// page under all of them.
#include "catalogue.h"
#include "mm/page_pin.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

constexpr s32 PINS_PER_WRAP = 1 << 22;

class world : public testbed {
 public:
  world() : testbed(2) {
    pin_in_a_loop();
    cpu([this] {
      (void)get_page_pin(folio_);
      folio_put(folio_); // truncated: the page cache drops its reference
    });
    cpu([this] { WRITE_ONCE(*page_words(&folio_->page), 1); });
  }

 private:
  /// A device has pinned the page; then a loop pins it until it is refused, or one pin short of a wrap.
  void pin_in_a_loop() {
    constexpr s32 AT_ONCE = PINS_PER_WRAP / 4;
    for (s32 pins = AT_ONCE; pins < PINS_PER_WRAP; pins += AT_ONCE)
      if (!folio_try_add_pins(folio_, AT_ONCE)) return;
    (void)folio_try_add_pins(folio_, AT_ONCE - 1);
  }

  folio* folio_ = page_folio(new_page(0, "p"));
};

} // namespace

scenario pin_overflow() {
  return {
      .id = "S5.5",
      .name = "pin_overflow",
      .summary = "a page is pinned in a loop, and then leaves the page cache, while a device writes to it",
      .source = MAIL_5,
      .threads = {"gup_loop", "device"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "unconditional", "every pin is added",
               [](settings& s) { s.policy.pin_conditional = false; }, always_violation},
              {"b", "conditional", "no pin is added to a count that is not positive", nullptr, always_safe},
              {"c", "bits_22", "22 bits for pins: only a count of 0 is refused",
               [](settings& s) { s.policy.pin_counter_bits = 22; }, always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
