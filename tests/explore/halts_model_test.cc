// Bodies are run only to find out what is not known of them (halts.h): as few times as that takes, and with
// the same result.
#include <gtest/gtest.h>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

outcome explored(const program& p, memory_model m) {
  search_options o;
  o.model = m;
  return explorer(p, o).run();
}

/// Writers of a value each, and a reader of them all, whose body counts how often it ends.
struct readings {
  static constexpr unsigned WRITERS = 6;
  word_t x[WRITERS];
  unsigned ends = 0;
  u64 read[WRITERS] = {};
  program code;

  readings() {
    for (unsigned i = 0; i < WRITERS; i++)
      code.threads.push_back([this, i] {
        WRITE_ONCE(x[i], 1);
        WRITE_ONCE(x[i], 2);
      });
    code.threads.push_back([this] {
      for (unsigned i = 0; i < WRITERS; i++)
        read[i] = READ_ONCE(x[i]);
      ends++;
    });
    code.threads.push_back([this] { // whose reads the other one's body has no part in
      READ_ONCE(x[0]);
      READ_ONCE(x[1]);
    });
  }
  static constexpr unsigned READINGS = 729; // 3^6
};

TEST(halts, a_body_runs_once_for_each_way_through_it) {
  readings r;
  EXPECT_EQ(explored(r.code, memory_model::weak).executions, 9 * readings::READINGS);
  EXPECT_EQ(r.ends, readings::READINGS); // of 9 times as many executions
}

TEST(halts, the_property_sees_what_the_bodies_did_in_its_execution) {
  readings r;
  u64 sum = 0;
  r.code.finally = [&] {
    for (u64 v : r.read)
      sum += v;
  };
  const u64 executions = explored(r.code, memory_model::weak).executions;
  EXPECT_EQ(executions, 9 * readings::READINGS);
  EXPECT_EQ(sum, executions * readings::WRITERS); // each of 0, 1 and 2 as often
}

TEST(halts, a_body_with_more_ways_than_are_kept_is_run_again) {
  constexpr unsigned WRITES = 9;
  constexpr unsigned READS = 8;
  word_t x;
  program p;
  p.threads.push_back([&] {
    for (unsigned i = 1; i <= WRITES; i++)
      WRITE_ONCE(x, i);
  });
  p.threads.push_back([&] {
    for (unsigned i = 0; i < READS; i++)
      READ_ONCE(x);
  });
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak})
    EXPECT_EQ(explored(p, m).executions, 24310u) << to_string(m); // 17! / (8! 9!): the readings do not fall
}

} // namespace
} // namespace racewalk::explore
