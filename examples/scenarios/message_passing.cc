// Message passing: who sees the flag has to see the message.
//
//   racewalk check examples/scenarios/message_passing.cc
//
// Code of one's own on the primitives alone. The shape is a choice of the scenario's own; a variant makes it.
#include "racewalk/testbed.h"

using namespace racewalk;

namespace {

enum shape : unsigned { BOTH_BARRIERS, NO_RMB };

struct mailbox : testbed {
  word_t message{0};
  word_t flag{0};
  u64 received = 0;

  explicit mailbox(const settings& s) : testbed(2) {
    describe(&message, "message");
    describe(&flag, "flag");
    cpu([this] {
      WRITE_ONCE(message, 42);
      smp_wmb(); // the message before the flag; pairs with smp_rmb() in the other body
      WRITE_ONCE(flag, 1);
    });
    cpu([this, with_rmb = s.shape != NO_RMB] {
      received = 42; // nothing has been seen yet, so nothing is wrong
      if (!READ_ONCE(flag)) return;
      if (with_rmb) smp_rmb(); // the flag before the message; pairs with smp_wmb() in the other body
      received = READ_ONCE(message);
    });
    finally([this] { VM_BUG_ON(received != 42, "MESSAGE", "the flag was seen, and the message was not"); });
  }
};

const declare_scenario message_passing{{
    .name = "message_passing",
    .summary = "who sees the flag sees the message",
    .threads = {"send", "receive"},
    .set_up = make<mailbox>,
    .variants = {{.name = "barriers", .summary = "a barrier on either side"},
                 {.name = "no_rmb",
                  .summary = "the receiver has none",
                  .depart = [](settings& s) { s.shape = NO_RMB; }}},
}};

} // namespace
