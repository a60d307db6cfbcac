// The number of complete executions of small programs, known in closed form or from other checkers: none is
// visited twice, none is missed.
#include <gtest/gtest.h>

#include <set>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

outcome explore_program(const program& p, memory_model m, search_options o = {}) {
  o.model = m;
  std::set<std::string> seen;
  o.on_execution = [&](const graph& g) {
    std::string key;
    for (unsigned t = 0; t < MAX_THREADS; t++)
      for (unsigned i = 0; i < g.thread_size(t); i++) {
        const event& e = g[g.at(t, i)];
        auto name = [&](eid x) {
          return x >= NONE ? std::string("-") : std::to_string(g[x].thread) + "." + std::to_string(g[x].po);
        };
        key += std::to_string(t) + ":" + name(e.rf) + name(e.co_prev) + ";";
      }
    EXPECT_TRUE(seen.insert(key).second) << "visited twice: " << key;
  };
  return explorer(p, o).run();
}

/// Thread i writes x[i] and reads x[i + 1].
program store_buffering(unsigned n, word_t* x) {
  program p;
  for (unsigned i = 0; i < n; i++)
    p.threads.push_back([=] {
      WRITE_ONCE(x[i], 1);
      READ_ONCE(x[(i + 1) % n]);
    });
  return p;
}

TEST(counts, store_buffering_in_a_ring) {
  word_t x[8];
  for (unsigned n = 2; n <= 7; n++) {
    EXPECT_EQ(explore_program(store_buffering(n, x), memory_model::sc).executions, (1u << n) - 1) << n;
    EXPECT_EQ(explore_program(store_buffering(n, x), memory_model::tso).executions, 1u << n) << n;
    EXPECT_EQ(explore_program(store_buffering(n, x), memory_model::weak).executions, 1u << n) << n;
  }
}

TEST(counts, message_passing_chain) {
  word_t x[8];
  program p;
  for (unsigned i = 0; i < 6; i++)
    p.threads.push_back([&x, i] {
      if (i == 0 || smp_load_acquire(x[i - 1]) == 1) smp_store_release(x[i], 1);
    });
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak})
    EXPECT_EQ(explore_program(p, m).executions, 6u) << to_string(m);
}

TEST(counts, lock_orders) {
  for (unsigned n = 2; n <= 5; n++) {
    spinlock_t l;
    plain<int> data;
    program p;
    for (unsigned i = 0; i < n; i++)
      p.threads.push_back([&] {
        spin_guard g(l);
        data.set(data.get() + 1);
      });
    unsigned factorial = 1;
    for (unsigned i = 2; i <= n; i++)
      factorial *= i;
    for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
      outcome o = explore_program(p, m);
      EXPECT_EQ(o.verdict, verdict::safe) << o.failures.size();
      EXPECT_EQ(o.executions, factorial) << n << to_string(m);
    }
  }
}

/// Nothing that happens under the lock is seen by others: it does not matter who takes it first.
TEST(counts, locks_around_disjoint_data) {
  constexpr unsigned N = 6;
  spinlock_t l;
  rwsem_t sem;
  plain<int> data[N];
  program p;
  for (unsigned i = 0; i < N; i++)
    p.threads.push_back([&, i] {
      {
        spin_guard g(l);
        data[i].set(1);
      }
      read_guard g(sem);
      data[i].set(2);
    });
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    EXPECT_EQ(explore_program(p, m).executions, 1u) << to_string(m);
    search_options ordered;
    ordered.unordered_locks = false;
    ordered.max_executions = 1000;
    EXPECT_GT(explore_program(p, m, ordered).executions, 720u) << to_string(m);
  }
}

/// The lock orders what is around it in the weak model, so there its order is not left out.
TEST(counts, an_empty_section_orders_what_is_around_it) {
  spinlock_t l;
  word_t x, y;
  u64 seen[2] = {};
  program p;
  auto body = [&](word_t& mine, word_t& other, u64& read) {
    WRITE_ONCE(mine, 1);
    { spin_guard g(l); }
    read = READ_ONCE(other);
  };
  p.threads.push_back([&] { body(x, y, seen[0]); });
  p.threads.push_back([&] { body(y, x, seen[1]); });
  p.finally = [&] { VM_BUG_ON(seen[0] == 0 && seen[1] == 0, "SCENARIO", "neither saw the other"); };
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak})
    EXPECT_EQ(explore_program(p, m).verdict, verdict::safe) << to_string(m);
}

TEST(counts, a_lock_that_is_taken_twice_is_a_deadlock) {
  spinlock_t l;
  program p;
  for (unsigned i = 0; i < 2; i++)
    p.threads.push_back([&]() NO_THREAD_SAFETY_ANALYSIS {
      spin_lock(l);
      spin_lock(l);
      spin_unlock(l);
      spin_unlock(l);
    });
  const outcome o = explore_program(p, memory_model::sc);
  ASSERT_EQ(o.verdict, verdict::violation);
  EXPECT_EQ(o.failures.front().invariant, "INV-LIVE");
}

/// With N departures at most, more and more is visited, and nothing but what there is; in the end all of it.
TEST(counts, a_bound_on_departures_says_what_it_cut_off) {
  word_t x[4];
  const program p = store_buffering(4, x);
  u64 before = 0;
  for (unsigned n = 0; n <= 4; n++) {
    search_options o;
    o.departures = n;
    const outcome r = explore_program(p, memory_model::tso, o);
    EXPECT_GT(r.executions, before) << n;
    before = r.executions;
    EXPECT_EQ(r.verdict, r.executions == 16 ? verdict::safe : verdict::inconclusive);
    EXPECT_EQ(r.reason.empty(), r.executions == 16) << r.reason;
    if (n == 0) {
      EXPECT_EQ(r.executions, 1u);
    }
  }
  EXPECT_EQ(before, 16u);
}

TEST(counts, lock_twice_each) {
  spinlock_t l;
  plain<int> data;
  program p;
  for (unsigned i = 0; i < 3; i++)
    p.threads.push_back([&] {
      for (int k = 0; k < 2; k++) {
        spin_guard g(l);
        data.set(data.get() + 1);
      }
    });
  EXPECT_EQ(explore_program(p, memory_model::sc).executions, 90u);
  EXPECT_EQ(explore_program(p, memory_model::weak).executions, 90u);
}

TEST(counts, adders) {
  for (unsigned n = 2; n <= 5; n++) {
    atomic_t a;
    program p;
    for (unsigned i = 0; i < n; i++)
      p.threads.push_back([&] { atomic_inc_return(a); });
    unsigned factorial = 1;
    for (unsigned i = 2; i <= n; i++)
      factorial *= i;
    EXPECT_EQ(explore_program(p, memory_model::sc).executions, factorial);
    EXPECT_EQ(explore_program(p, memory_model::weak).executions, factorial);
  }
}

TEST(counts, writers_and_a_reader) {
  word_t x;
  program p;
  for (unsigned i = 0; i < 3; i++)
    p.threads.push_back([&x, i] { WRITE_ONCE(x, i + 1); });
  p.threads.push_back([&] { READ_ONCE(x); });
  EXPECT_EQ(explore_program(p, memory_model::sc).executions, 24u); // 3! orders, 4 places to read
}

/// K accesses through a translation race one shootdown.
TEST(counts, accesses_against_a_shootdown) {
  for (unsigned k : {1u, 2u, 3u, 6u}) {
    word_t pte{1};
    program p;
    p.threads.push_back([&] {
      for (unsigned i = 0; i < k; i++) {
        translation_read(pte, {1, 0, 0, [](u64) { return true; }});
        user_access_end();
      }
    });
    p.threads.push_back([&] {
      WRITE_ONCE(pte, 2);
      smp_mb();
      tlb_broadcast(1, {1, 0, 4096, 1});
    });
    search_options o;
    o.hardware.monotone_translations = true;
    for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak})
      EXPECT_EQ(explore_program(p, m, o).executions, (k + 1) * (k + 2) / 2) << k << to_string(m);
  }
}

/// How many executions there are; fails if one is visited twice.
u64 visited_once(const program& p, memory_model m) {
  std::vector<u64> visited; // those of the last search are at the end: it may begin anew
  search_options o;
  o.on_execution = [&](const graph& g) { visited.push_back(fingerprint_of(g)); };
  o.model = m;
  const u64 n = explorer(p, o).run().executions;
  const std::set<u64> different(visited.end() - static_cast<std::ptrdiff_t>(n), visited.end());
  EXPECT_EQ(different.size(), n) << to_string(m);
  return n;
}

/// Waits that the newest value does not end, but older ones do.
TEST(counts, two_waits_that_older_values_end) {
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    word_t x{0};
    word_t y{0};
    auto wait = [&] { smp_cond_load_acquire(x, ~u64{0}, 0); };
    program p;
    p.threads = {[&] { WRITE_ONCE(x, 1); }, wait, wait};
    EXPECT_EQ(visited_once(p, m), 1u) << to_string(m);
    // one's wait is over, and lets the other's be over
    p.threads = {[&] { WRITE_ONCE(x, 1); },
                 [&] {
                   wait();
                   WRITE_ONCE(y, 1);
                 },
                 [&] {
                   smp_cond_load_acquire(y, ~u64{0}, 1);
                   wait();
                 },
                 [&] {
                   wait();
                   READ_ONCE(y);
                 }};
    EXPECT_EQ(visited_once(p, m), 2u) << to_string(m);
  }
}

/// A section whose end waits for what follows one of two grace periods: that one began before it.
TEST(counts, two_grace_periods_against_a_section_that_waits) {
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    word_t go{0};
    word_t x{0};
    program p;
    p.threads = {[&] {
                   rcu_guard reader;
                   smp_cond_load_acquire(go, ~u64{0}, 1);
                 },
                 [&] {
                   synchronize_rcu();
                   WRITE_ONCE(go, 1);
                 },
                 [&] {
                   synchronize_rcu();
                   READ_ONCE(x);
                 }};
    EXPECT_EQ(visited_once(p, m), 2u) << to_string(m); // the other came before the section as well, or waited
  }
}

} // namespace
} // namespace racewalk::explore
