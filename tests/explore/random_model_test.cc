// Sampling: what is drawn is an execution of the program, and between them the samples are all of a small
// one.
#include <gtest/gtest.h>

#include <set>

#include "bench/protocols.h"
#include "explore/linear.h"

namespace racewalk::explore {
namespace {

using namespace protocols;

constexpr auto all_models = std::array{memory_model::sc, memory_model::tso, memory_model::weak};

struct visited {
  outcome result;
  std::set<u64> executions;
};

/// All executions, or so many samples.
visited visit(const program& p, memory_model m, std::optional<sampling> random) {
  visited v;
  search_options o;
  o.model = m;
  o.symmetry = o.unordered_locks = o.commuting = false;
  o.random = random;
  o.on_execution = [&](const graph& g) { v.executions.insert(fingerprint_of(g)); };
  explorer e(p, o);
  e.run(); // and learns which variables are shared: until then executions have fewer events
  v.executions.clear();
  v.result = e.run();
  return v;
}

void expect_the_samples_are_all(const made& p, u64 samples) {
  for (auto m : all_models) {
    const visited all = visit(p->code, m, {});
    const visited drawn = visit(p->code, m, sampling{samples, 1});
    EXPECT_EQ(drawn.executions, all.executions) << to_string(m);
    EXPECT_EQ(drawn.result.verdict, verdict::inconclusive);
    const std::string said = std::to_string(samples) + " random executions (seed 1), none loses: " +
                             std::to_string(all.executions.size()) + " different and complete";
    EXPECT_TRUE(drawn.result.reason.starts_with(said)) << drawn.result.reason;
  }
}

TEST(random, draws_every_execution_of_a_small_program) {
  expect_the_samples_are_all(store_buffering(3), 2'000);
  expect_the_samples_are_all(message_chain(4), 2'000);
  expect_the_samples_are_all(ticket_lock(3, 1), 2'000);
  expect_the_samples_are_all(pin(1, 2), 5'000);
  expect_the_samples_are_all(disjoint_locks(3), 2'000);
}

TEST(random, draws_stale_translations) { expect_the_samples_are_all(shootdown(3), 3'000); }

TEST(random, draws_nothing_that_the_search_does_not_visit) {
  for (auto m : all_models) {
    const made p = seqlock(2, 2, 1);
    const visited all = visit(p->code, m, {});
    for (u64 execution : visit(p->code, m, sampling{500, 7}).executions)
      EXPECT_TRUE(all.executions.count(execution)) << to_string(m);
  }
}

TEST(random, the_same_seed_draws_the_same) {
  const made p = seqlock(2, 2, 2);
  const visited a = visit(p->code, memory_model::weak, sampling{200, 5});
  const visited b = visit(p->code, memory_model::weak, sampling{200, 5});
  const visited c = visit(p->code, memory_model::weak, sampling{200, 6});
  EXPECT_EQ(a.executions, b.executions);
  EXPECT_EQ(a.result.reason, b.result.reason);
  EXPECT_NE(a.executions, c.executions);
}

TEST(random, says_what_a_sample_is_worth) {
  const visited v = visit(store_buffering(3)->code, memory_model::sc, sampling{8, 1});
  EXPECT_NE(v.result.reason.find("with 3 threads and up to 6 steps"), std::string::npos) << v.result.reason;
  EXPECT_NE(v.result.reason.find("at least 1/3, 1/18, 1/108, 1/648 for d = 1 to 4"), std::string::npos)
      << v.result.reason;
}

TEST(random, a_violation_is_found_and_replays) {
  const made p = pin_checked(1, fence_kind::wmb);
  search_options o;
  o.model = memory_model::weak;
  o.random = sampling{500, 3};
  const outcome found = explorer(p->code, o).run();
  ASSERT_EQ(found.verdict, verdict::violation);
  ASSERT_TRUE(found.learned_from);
  o.random = found.learned_from;
  const outcome again = explorer(p->code, o).replay(schedule_of(found.failures.front()));
  ASSERT_EQ(again.verdict, verdict::violation) << again.reason;
  EXPECT_EQ(again.failures.front().invariant, found.failures.front().invariant);
}

TEST(random, a_deadlock_is_found) {
  spinlock_t a;
  spinlock_t b;
  plain<int> data;
  auto both = [&](spinlock_t& first, spinlock_t& second) {
    spin_lock(first);
    spin_lock(second);
    data.set(data.get() + 1);
    spin_unlock(second);
    spin_unlock(first);
  };
  program p;
  p.threads = {[&] { both(a, b); }, [&] { both(b, a); }};
  const visited v = visit(p, memory_model::weak, sampling{200, 1});
  ASSERT_EQ(v.result.verdict, verdict::violation);
  EXPECT_EQ(v.result.failures.front().invariant, "INV-LIVE");
}

TEST(random, an_execution_that_is_too_long_is_a_sample_that_was_cut) {
  atomic_t x;
  program p;
  for (int i = 0; i < 2; i++)
    p.threads.push_back([&] {
      for (unsigned n = 0; n < MAX_EVENTS; n++)
        atomic_inc(x);
    });
  const visited v = visit(p, memory_model::sc, sampling{10, 1});
  EXPECT_EQ(v.result.verdict, verdict::inconclusive);
  EXPECT_NE(v.result.reason.find("10 cut off as too long"), std::string::npos) << v.result.reason;
}

TEST(random, stops_when_it_is_told_to) {
  const made p = store_buffering(3);
  const std::atomic<bool> stop = true;
  search_options o;
  o.random = sampling{10, 1};
  o.stop = &stop;
  const outcome r = explorer(p->code, o).run();
  EXPECT_TRUE(r.reason.starts_with("stopped: 0 random executions")) << r.reason;
}

} // namespace
} // namespace racewalk::explore
