// A search that is split over processes visits what it visits alone.
#include <gtest/gtest.h>
#include <unistd.h>

#include <unordered_set>
#include <utility>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

/// Threads that each write their own variable and read two others.
struct ring {
  static constexpr unsigned N = 6;
  word_t x[N];
  program p;
  ring() {
    for (unsigned i = 0; i < N; i++)
      p.threads.push_back([this, i] {
        WRITE_ONCE(x[i], 1);
        READ_ONCE(x[(i + 1) % N]);
        READ_ONCE(x[(i + 2) % N]);
      });
  }
};

/// `extra` more processes, once, after a few executions.
outcome explore_split(const program& p, memory_model m, unsigned extra, search_options o = {}) {
  o.model = m;
  o.split_after = 50;
  o.fingerprint = true;
  if (extra) o.more_workers = [left = extra]() mutable { return std::exchange(left, 0U); };
  return explorer(p, o).run();
}

TEST(split, visits_the_same_executions) {
  ring r;
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    const outcome alone = explore_split(r.p, m, 0);
    EXPECT_GT(alone.executions, 1000u);
    for (unsigned extra : {1u, 3u}) {
      const outcome shared = explore_split(r.p, m, extra);
      EXPECT_EQ(shared.verdict, verdict::safe) << shared.reason;
      EXPECT_EQ(shared.executions, alone.executions) << to_string(m);
      EXPECT_EQ(shared.blocked, alone.blocked);
      EXPECT_EQ(shared.fingerprint, alone.fingerprint);
    }
  }
}

/// Identical threads are told apart once an execution is not sequentially consistent, which here only the
/// first thread's reads make one, late: the search begins again. A worker that comes at once uses the graphs
/// that are left of the one before it, which knew twins.
TEST(split, twins_of_a_search_given_up_are_none) {
  word_t quiet, data, flag;
  program p;
  p.threads.push_back([&] {
    if (READ_ONCE(flag) == 1) READ_ONCE(data);
  });
  for (int i = 1; i <= 6; i++)
    p.threads.push_back([&] {
      READ_ONCE(data);
      READ_ONCE(flag);
    });
  p.threads.push_back([&] { WRITE_ONCE(quiet, 1); });
  p.threads.push_back([&] {
    if (READ_ONCE(quiet) == 1) return; // the first execution revisits nothing
    WRITE_ONCE(data, 1);
    WRITE_ONCE(flag, 1);
  });
  p.twins = {-1, -1, 1, 2, 3, 4, 5, -1, -1};
  const outcome alone = explore_split(p, memory_model::weak, 0);
  EXPECT_EQ(alone.executions, 1 + 3u * 4 * 4 * 4 * 4 * 4 * 4);

  std::unordered_set<u64> seen;
  bool again = false;
  unsigned extra = 3;
  search_options o;
  o.model = memory_model::weak;
  o.fingerprint = true;
  o.split_after = 1;
  o.on_execution = [&](const graph& g) { again |= !seen.insert(fingerprint_of(g)).second; };
  o.more_workers = [&] { return again ? std::exchange(extra, 0U) : 0U; };
  const outcome shared = explorer(p, o).run();
  EXPECT_EQ(extra, 0u);
  EXPECT_EQ(shared.executions, alone.executions);
  EXPECT_EQ(shared.fingerprint, alone.fingerprint);
}

TEST(split, read_modify_writes_locks_and_ipis) {
  spinlock_t l;
  plain<int> data;
  atomic_t tickets, noticed;
  program p;
  for (unsigned i = 0; i < 4; i++)
    p.threads.push_back([&, i] {
      atomic_fetch_add(tickets, 1);
      {
        spin_guard g(l);
        data.set(data.get() + 1);
      }
      if (i == 0)
        smp_call_function_many(
            2, [](unsigned, const void* arg) { atomic_inc(**static_cast<atomic_t* const*>(arg)); },
            std::array{&noticed}.data(), sizeof(atomic_t*));
    });
  const outcome alone = explore_split(p, memory_model::weak, 0);
  const outcome shared = explore_split(p, memory_model::weak, 2);
  EXPECT_EQ(alone.verdict, verdict::safe);
  EXPECT_EQ(shared.verdict, verdict::safe) << shared.reason;
  EXPECT_GT(alone.executions, 500u);
  EXPECT_EQ(shared.executions, alone.executions);
  EXPECT_EQ(shared.fingerprint, alone.fingerprint);
}

TEST(split, a_violation_comes_back_whole) {
  ring r;
  unsigned seen = 0;
  r.p.finally = [&] {
    bool stale = false;
    for (word_t& x : r.x)
      stale |= READ_ONCE(x) == 0;
    VM_BUG_ON(!stale && ++seen > 300, "SCENARIO", "enough of it");
  };
  const outcome o = explore_split(r.p, memory_model::weak, 1);
  EXPECT_EQ(o.verdict, verdict::violation);
  ASSERT_EQ(o.failures.size(), 1u);
  EXPECT_EQ(o.failures[0].text, "enough of it");
  EXPECT_EQ(o.failures[0].execution.size(), 18u);
  EXPECT_TRUE(consistent(memory_model::weak, o.failures[0].execution));
}

/// What a thread does only when it reads a certain value is learned late, by one worker.
TEST(split, what_one_learns_all_know) {
  ring r;
  word_t late{0};
  const auto body = r.p.threads[0];
  r.p.threads[0] = [&] {
    body();
    if (READ_ONCE(r.x[3]) == 1 && READ_ONCE(r.x[4]) == 0 && READ_ONCE(r.x[5]) == 1) WRITE_ONCE(late, 1);
  };
  const auto other = r.p.threads[5];
  r.p.threads[5] = [&] {
    other();
    if (READ_ONCE(r.x[2]) == 0 && READ_ONCE(r.x[1]) == 0) READ_ONCE(late);
  };
  const outcome alone = explore_split(r.p, memory_model::tso, 0);
  const outcome shared = explore_split(r.p, memory_model::tso, 2);
  EXPECT_EQ(shared.executions, alone.executions);
  EXPECT_EQ(shared.fingerprint, alone.fingerprint);
}

TEST(split, a_bound_and_a_dead_worker_are_said) {
  ring r;
  search_options bounded;
  bounded.max_executions = 2000;
  const outcome cut = explore_split(r.p, memory_model::weak, 1, bounded);
  EXPECT_EQ(cut.verdict, verdict::inconclusive);
  EXPECT_NE(cut.reason.find("2000"), std::string::npos) << cut.reason;

  const pid_t broker = getpid();
  search_options dying;
  dying.on_execution = [n = 0, broker](const graph&) mutable {
    if (++n > 200 && getpid() != broker) _exit(7);
  };
  const outcome lost = explore_split(r.p, memory_model::weak, 1, dying);
  EXPECT_EQ(lost.verdict, verdict::inconclusive);
  EXPECT_NE(lost.reason.find("worker"), std::string::npos) << lost.reason;
}

} // namespace
} // namespace racewalk::explore
