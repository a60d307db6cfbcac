// Symmetry between identical threads: of the executions that differ only in their names one is visited, and
// none is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

struct op {
  enum { load, store, add, exchange, mb } what;
  unsigned loc;
  order ord;
};

std::vector<op> random_body(std::mt19937& random, unsigned longest) {
  auto pick = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  std::vector<op> body(1 + pick(longest));
  for (op& o : body) {
    o = {static_cast<decltype(o.what)>(pick(5)), pick(2), order::relaxed};
    if (pick(3) == 0)
      o.ord = o.what == op::load ? order::acquire : o.what == op::store ? order::release : order::full;
  }
  return body;
}

void run(const std::vector<op>& body, word_t* x, u64 stored) {
  for (const op& o : body)
    switch (o.what) {
    case op::load:
      o.ord == order::acquire ? smp_load_acquire(x[o.loc]) : READ_ONCE(x[o.loc]);
      break;
    case op::store:
      if (o.ord == order::release)
        smp_store_release(x[o.loc], stored);
      else
        WRITE_ONCE(x[o.loc], stored);
      break;
    case op::add:
      atomic_fetch_add(x[o.loc], 1, o.ord);
      break;
    case op::exchange:
      xchg(x[o.loc], stored, o.ord);
      break;
    case op::mb:
      smp_mb();
      break;
    }
}

/// What happened, if thread t is called name[t].
std::string told(const graph& g, const std::vector<unsigned>& name) {
  std::vector<std::string> by_name(name.size());
  auto event_name = [&](eid e) {
    return e >= NONE ? std::string("-") : std::to_string(name[g[e].thread]) + "." + std::to_string(g[e].po);
  };
  for (unsigned t = 0; t < name.size(); t++)
    for (unsigned i = 0; i < g.thread_size(t); i++) {
      const event& e = g[g.at(t, i)];
      if (e.kind != event_kind::fence)
        by_name[name[t]] += event_name(e.rf) + "," + event_name(e.co_prev) + ";";
    }
  std::string all;
  for (const std::string& s : by_name)
    all += s + "|";
  return all;
}

/// The smallest of what may be told when the first `identical` threads swap names.
std::string orbit(const graph& g, unsigned identical, unsigned threads) {
  std::vector<unsigned> name(threads);
  for (unsigned i = 0; i < threads; i++)
    name[i] = i;
  std::string least = told(g, name);
  while (std::next_permutation(name.begin(), name.begin() + identical))
    least = std::min(least, told(g, name));
  return least;
}

TEST(symmetry, one_of_each_orbit_is_visited) {
  std::mt19937 random(7);
  u64 with = 0;
  u64 without = 0;
  for (unsigned round = 0; round < 180; round++) {
    word_t x[2];
    const unsigned identical = 2 + round % 2;
    const std::vector<op> body = random_body(random, identical == 2 ? 4 : 3);
    const std::vector<op> other = random_body(random, 3);
    program p;
    for (unsigned i = 0; i < identical; i++) {
      p.threads.push_back([&] { run(body, x, 1); });
      p.twins.push_back(static_cast<int>(i) - 1);
    }
    p.threads.push_back([&] { run(other, x, 2); });
    p.twins.push_back(-1);
    const auto m = std::array{memory_model::sc, memory_model::tso, memory_model::weak}[round % 3];
    auto orbits = [&](bool symmetry, u64* executions) {
      std::set<std::string> seen;
      search_options o;
      o.model = m;
      o.symmetry = symmetry;
      o.on_execution = [&](const graph& g) { seen.insert(orbit(g, identical, identical + 1)); };
      *executions += explorer(p, o).run().executions;
      return seen;
    };
    ASSERT_TRUE(orbits(true, &with) == orbits(false, &without)) << "round " << round << ", " << to_string(m);
  }
  EXPECT_LT(with, without * 3 / 4);
}

/// Coherence order names the twins, and here a cycle goes through it: only weak memory allows that.
TEST(symmetry, is_given_up_where_the_order_of_names_would_forbid_something) {
  word_t x[2];
  const std::vector<op> body = {
      {op::add, 0, order::relaxed}, {op::add, 1, order::relaxed}, {op::add, 0, order::relaxed}};
  program p;
  for (unsigned i = 0; i < 3; i++) {
    p.threads.push_back([&] { run(body, x, 1); });
    p.twins.push_back(static_cast<int>(i) - 1);
  }
  p.threads.push_back([&] { WRITE_ONCE(x[0], 2); });
  p.twins.push_back(-1);
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    auto orbits = [&](bool symmetry) {
      std::set<std::string> seen;
      search_options o;
      o.model = m;
      o.symmetry = symmetry;
      o.on_execution = [&](const graph& g) { seen.insert(orbit(g, 3, 4)); };
      explorer(p, o).run();
      return seen;
    };
    EXPECT_TRUE(orbits(true) == orbits(false)) << to_string(m);
  }
}

TEST(symmetry, identical_threads_of_a_ticket_lock_have_one_order) {
  word_t next, owner;
  plain<int> data;
  program p;
  for (unsigned i = 0; i < 6; i++) {
    p.threads.push_back([&] {
      const u64 mine = atomic_fetch_add(next, 1, order::relaxed);
      smp_cond_load_acquire(owner, ~u64{0}, mine);
      data.set(data.get() + 1);
      smp_store_release(owner, mine + 1);
    });
    p.twins.push_back(static_cast<int>(i) - 1);
  }
  search_options o;
  o.model = memory_model::weak;
  const outcome r = explorer(p, o).run();
  EXPECT_EQ(r.verdict, verdict::safe);
  EXPECT_EQ(r.executions, 1u);
  EXPECT_EQ(r.blocked, 0u);
}

} // namespace
} // namespace racewalk::explore
