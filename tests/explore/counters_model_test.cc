// Additions whose result nobody reads have no order: fewer executions, the same outcomes.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "bench/protocols.h"

namespace racewalk::explore {
namespace {

struct op {
  enum { load, store, add, mb, read_counter, read_result } what;
  unsigned loc;
};

/// What each thread read, and what is in the variables in the end.
std::set<std::vector<u64>> outcomes(const std::vector<std::vector<op>>& bodies, memory_model m,
                                    bool commuting, outcome* result) {
  word_t x[2];
  atomic_t counters[2];
  std::vector<std::vector<u64>> seen(bodies.size());
  program p;
  for (unsigned t = 0; t < bodies.size(); t++)
    p.threads.push_back([&, t] {
      std::vector<u64>& mine = seen[t];
      mine.assign(bodies[t].size(), 0);
      for (unsigned i = 0; i < bodies[t].size(); i++) {
        const op o = bodies[t][i];
        switch (o.what) {
        case op::load:
          mine[i] = READ_ONCE(x[o.loc]);
          break;
        case op::store:
          WRITE_ONCE(x[o.loc], 1 + t);
          break;
        case op::add:
          atomic_add(counters[o.loc], 1 << (8 * t + i)); // the sum says which were added
          break;
        case op::mb:
          smp_mb();
          break;
        case op::read_counter:
          mine[i] = static_cast<u64>(atomic_read(counters[o.loc]));
          break;
        case op::read_result:
          mine[i] = static_cast<u64>(atomic_add_return(counters[o.loc], 8));
          break;
        }
      }
    });
  std::set<std::vector<u64>> found;
  p.finally = [&] {
    std::vector<u64> all;
    for (const auto& mine : seen)
      all.insert(all.end(), mine.begin(), mine.end());
    for (unsigned i = 0; i < 2; i++) {
      all.push_back(READ_ONCE(x[i]));
      all.push_back(static_cast<u64>(atomic_read(counters[i])));
    }
    found.insert(all);
  };
  search_options o;
  o.model = m;
  o.commuting = commuting;
  *result = explorer(p, o).run();
  return found;
}

TEST(counters, outcomes_are_the_same_without_an_order) {
  std::mt19937 random(11);
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  u64 with = 0;
  u64 without = 0;
  for (unsigned round = 0; round < 400; round++) {
    std::vector<std::vector<op>> bodies(2 + pick(2));
    for (auto& body : bodies)
      for (unsigned n = 2 + pick(bodies.size() == 2 ? 4 : 2); n > 0; n--) {
        const auto what = pick(3) ? op::add : static_cast<decltype(op::what)>(pick(round % 8 == 0 ? 6 : 5));
        body.push_back({what, pick(4) == 0});
      }
    const auto m = std::array{memory_model::sc, memory_model::tso, memory_model::weak}[round % 3];
    outcome reduced;
    outcome full;
    ASSERT_TRUE(outcomes(bodies, m, true, &reduced) == outcomes(bodies, m, false, &full))
        << "round " << round << ", " << to_string(m);
    EXPECT_LE(reduced.executions, full.executions);
    with += reduced.executions;
    without += full.executions;
  }
  EXPECT_LT(with, without / 2);
}

/// Where all that happens is additions and reads of their sums, each outcome is one execution.
TEST(counters, one_execution_for_each_outcome) {
  std::mt19937 random(5);
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  for (unsigned round = 0; round < 300; round++) {
    std::vector<std::vector<op>> bodies(3);
    for (auto& body : bodies)
      for (unsigned n = 1 + pick(4); n > 0; n--)
        body.push_back({std::array{op::add, op::add, op::read_counter, op::mb}[pick(4)], pick(2)});
    const auto m = round % 2 ? memory_model::sc : memory_model::tso;
    outcome reduced;
    EXPECT_EQ(outcomes(bodies, m, true, &reduced).size(), reduced.executions) << "round " << round;
  }
}

TEST(counters, nothing_is_visited_twice) {
  for (auto m : {memory_model::sc, memory_model::tso}) {
    const auto p = protocols::pin(3, 2);
    std::set<std::string> seen;
    search_options o;
    o.model = m;
    o.symmetry = false;
    o.on_execution = [&](const graph& g) {
      std::string told;
      for (unsigned t = 0; t < p->code.threads.size(); t++)
        for (unsigned i = 0; i < g.thread_size(t); i++) {
          const event& e = g[g.at(t, i)];
          const bool orders = e.is_write() && !e.adds;
          if (!e.is_read() && !orders) continue;
          auto tell = [&](eid s) { told += std::to_string(g[s].thread) + "." + std::to_string(g[s].po); };
          told += std::to_string(t) + "." + std::to_string(i) + "=" + std::to_string(e.value) + "/";
          if (e.sums)
            g.for_each_source(e, tell);
          else if (e.is_read() && e.rf < NONE)
            tell(e.rf);
          if (orders && e.co_prev < NONE) tell(e.co_prev);
          told += ";";
        }
      EXPECT_TRUE(seen.insert(told).second) << told;
    };
    EXPECT_EQ(explorer(p->code, o).run().verdict, verdict::safe);
    EXPECT_GT(seen.size(), 100u);
  }
}

TEST(counters, a_violation_is_told_with_every_step) {
  atomic_t count{1};
  program p;
  for (unsigned i = 0; i < 3; i++)
    p.threads.push_back([&] { atomic_inc(count); });
  p.threads.push_back([&] { VM_BUG_ON(atomic_read(count) == 3, "SCENARIO", "two were first"); });
  search_options o;
  o.model = memory_model::sc;
  const outcome r = explorer(p, o).run();
  ASSERT_EQ(r.verdict, verdict::violation);
  const graph& g = r.failures.front().execution;
  for (eid e = 0; e < g.size(); e++)
    EXPECT_FALSE(g[e].adds || g[e].sums);
}

} // namespace
} // namespace racewalk::explore
