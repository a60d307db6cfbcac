// A bound on context switches: all executions that take no more are visited.
#include <gtest/gtest.h>

#include "bench/protocols.h"
#include "explore/switches.h"

namespace racewalk::explore {
namespace {

using namespace protocols;

/// Is visited with at most `bound` switches allowed, and takes no more.
u64 within(const protocol& p, memory_model m, unsigned counted, std::optional<unsigned> bound,
           outcome* result = nullptr) {
  u64 n = 0;
  search_options o;
  o.model = m;
  o.switches = bound;
  o.hardware.monotone_translations = true;
  o.on_execution = [&](const graph& g) {
    n += fewest_switches(g, whole(g), m == memory_model::sc, counted) <= counted;
  };
  const outcome r = explorer(p.code, o).run();
  if (result) *result = r;
  return n;
}

void expect_all_within_bounds(const char* what, const protocol& p) {
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    outcome all;
    within(p, m, 0, std::nullopt, &all);
    ASSERT_NE(all.verdict, verdict::inconclusive);
    for (unsigned bound = 0; bound <= 5; bound++) {
      outcome bounded;
      const u64 found = within(p, m, bound, bound, &bounded);
      EXPECT_EQ(found, within(p, m, bound, std::nullopt)) << what << ' ' << to_string(m) << ' ' << bound;
      EXPECT_LE(bounded.executions, all.executions);
      if (bounded.executions < all.executions) {
        EXPECT_NE(bounded.verdict, verdict::safe) << what;
      }
    }
  }
}

TEST(switches, what_takes_no_more_is_visited) {
  expect_all_within_bounds("store buffering", *store_buffering(4));
  expect_all_within_bounds("message chain", *message_chain(4));
  expect_all_within_bounds("ticket lock", *ticket_lock(3, 1));
  expect_all_within_bounds("seqlock", *seqlock(2, 2, 1));
  expect_all_within_bounds("pin", *pin(2, 2));
  expect_all_within_bounds("treiber stack", *treiber_stack(2)); // some of its waits last for ever
  expect_all_within_bounds("shootdown", *shootdown(3));
}

TEST(switches, much_is_left_out_and_said) {
  outcome all;
  outcome few;
  within(*seqlock(2, 2, 2), memory_model::sc, 0, std::nullopt, &all);
  within(*seqlock(2, 2, 2), memory_model::sc, 0, 4, &few);
  EXPECT_EQ(all.verdict, verdict::safe);
  EXPECT_EQ(few.verdict, verdict::inconclusive);
  EXPECT_LT(few.executions * 4, all.executions);
  EXPECT_TRUE(few.reason.starts_with("the bound of 4 context switches: all executions that take no more were "
                                     "visited (among " +
                                     std::to_string(few.executions) + " in all); "))
      << few.reason;
}

/// Two CPUs that take turns: with one switch each reads what the other wrote last, or nothing.
TEST(switches, the_fewest_are_counted) {
  auto p = std::make_unique<protocol>();
  p->words.resize(1);
  p->thread([&x = p->words[0]] {
    WRITE_ONCE(x, 1);
    smp_cond_load_acquire(x, ~u64{0}, 2);
    WRITE_ONCE(x, 3);
  });
  p->thread([&x = p->words[0]] {
    smp_cond_load_acquire(x, ~u64{0}, 1);
    WRITE_ONCE(x, 2);
    smp_cond_load_acquire(x, ~u64{0}, 3);
  });
  search_options o;
  o.model = memory_model::sc;
  unsigned executions = 0;
  o.on_execution = [&](const graph& g) {
    executions++;
    EXPECT_EQ(fewest_switches(g, whole(g), true, 10), 3u);
    EXPECT_EQ(fewest_switches(g, whole(g), true, 1), 2u); // more than the limit
    EXPECT_EQ(fewest_switches(g, clock(), true, 10), 0u);
  };
  EXPECT_EQ(explorer(p->code, o).run().verdict, verdict::safe);
  EXPECT_EQ(executions, 1u);
}

/// A violation is one, whatever was left out.
TEST(switches, a_violation_is_found_with_as_many_as_it_takes) {
  const auto broken = pin_checked(1, fence_kind::wmb);
  search_options o;
  o.model = memory_model::weak;
  o.switches = 1;
  EXPECT_EQ(explorer(broken->code, o).run().verdict, verdict::violation);
}

} // namespace
} // namespace racewalk::explore
