// A recorded execution, run again on code that has changed since: the first step that differs is named.
#include <gtest/gtest.h>

#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {
namespace {

/// Message passing, as it was when it was recorded and with one change.
enum class change { none, barrier_before_read, write_before_message, update_for_flag, other_property };

outcome replay_after(change made) {
  word_t message{0};
  word_t flag{0};
  u64 received = 0;
  change now = change::none;
  program p;
  p.threads = {[&] {
                 if (now == change::write_before_message) WRITE_ONCE(message, 1);
                 WRITE_ONCE(message, 2);
                 smp_wmb(); // pairs with the reader's barrier, where it has one
                 if (now == change::update_for_flag)
                   xchg(flag, 1, order::relaxed);
                 else
                   WRITE_ONCE(flag, 1);
               },
               [&] {
                 received = 2;
                 if (!READ_ONCE(flag)) return;
                 if (now == change::barrier_before_read) smp_rmb(); // pairs with smp_wmb() of the writer
                 received = READ_ONCE(message);
               }};
  p.finally = [&] { VM_BUG_ON(received == (now == change::other_property ? 9 : 0), "TEST", "it is lost"); };
  search_options weak;
  weak.model = memory_model::weak;
  const outcome recorded = explorer(p, weak).run();
  EXPECT_EQ(recorded.verdict, verdict::violation);
  now = made;
  return explorer(p, weak).replay(schedule_of(recorded.failures.front()));
}

/// What is said of a replay that does not lose; the file and line are left out.
std::string said_after(change made) {
  const outcome o = replay_after(made);
  EXPECT_EQ(o.verdict, verdict::inconclusive);
  const auto from = o.reason.find(", in scenario()");
  const auto to = o.reason.find(')', from == std::string::npos ? 0 : from + 15);
  return from == std::string::npos ? o.reason : o.reason.substr(0, from) + o.reason.substr(to);
}

TEST(replay, confirms_what_has_not_changed) {
  EXPECT_EQ(replay_after(change::none).verdict, verdict::violation);
}

TEST(replay, names_the_first_step_that_is_another) {
  EXPECT_EQ(said_after(change::barrier_before_read),
            "step 5: CPU1 does something else (barrier) than the recorded read");
  EXPECT_EQ(said_after(change::write_before_message),
            "step 2: CPU0 does something else (write) than the recorded barrier");
  EXPECT_EQ(said_after(change::update_for_flag),
            "step 3: CPU0 does something else (update) than the recorded write");
}

TEST(replay, says_so_if_nothing_is_lost_any_more) {
  EXPECT_EQ(said_after(change::other_property), "the recorded steps were made, and nothing is lost");
}

} // namespace
} // namespace racewalk::explore
