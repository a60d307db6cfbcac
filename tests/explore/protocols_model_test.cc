// The protocols of bench/: as many executions as are known from closed forms and from other checkers.
#include <gtest/gtest.h>

#include "bench/protocols.h"

namespace racewalk::explore {
namespace {

using namespace protocols;

constexpr auto all_models = std::array{memory_model::sc, memory_model::tso, memory_model::weak};

outcome explored(const protocol& p, memory_model m, bool reduced = false) {
  search_options o;
  o.model = m;
  o.symmetry = o.unordered_locks = o.commuting = reduced;
  o.hardware.monotone_translations = true;
  return explorer(p.code, o).run();
}
u64 count(const made& p, memory_model m, bool reduced = false) { return explored(*p, m, reduced).executions; }

TEST(protocols, store_buffering) {
  for (unsigned n : {4u, 7u, 14u}) {
    EXPECT_EQ(count(store_buffering(n), memory_model::sc), (1u << n) - 1);
    EXPECT_EQ(count(store_buffering(n), memory_model::tso), 1u << n);
    EXPECT_EQ(count(store_buffering(n), memory_model::weak), 1u << n);
  }
}

TEST(protocols, message_chain) {
  for (auto m : all_models)
    EXPECT_EQ(count(message_chain(6), m), 6u);
}

TEST(protocols, ticket_lock) {
  for (auto m : all_models) {
    EXPECT_EQ(count(ticket_lock(3, 1), m), 6u);
    EXPECT_EQ(count(ticket_lock(5, 1), m), 120u);
    EXPECT_EQ(count(ticket_lock(6, 1), m), 720u);
    EXPECT_EQ(count(ticket_lock(3, 2), m), 90u);
    const outcome reduced = explored(*ticket_lock(6, 1), m, true);
    EXPECT_EQ(reduced.executions, 1u);
    EXPECT_EQ(reduced.blocked, 0u);
  }
}

TEST(protocols, treiber_stack) { EXPECT_EQ(count(treiber_stack(3), memory_model::sc), 270u); }

TEST(protocols, michael_scott_queue) {
  for (auto m : all_models) {
    EXPECT_EQ(count(michael_scott_queue(2, 1), m), 26u);
    EXPECT_EQ(count(michael_scott_queue(2, 2), m), 158u);
  }
}

TEST(protocols, seqlock) {
  for (auto m : all_models)
    EXPECT_EQ(count(seqlock(1, 2, 1), m), 121u);
  EXPECT_EQ(count(seqlock(2, 2, 1), memory_model::sc), 1'369u);
  EXPECT_EQ(count(seqlock(2, 2, 1), memory_model::weak), 1'521u);
  EXPECT_EQ(count(seqlock(2, 2, 2), memory_model::sc), 21'025u);
  EXPECT_EQ(count(seqlock(2, 2, 2), memory_model::weak), 21'904u);
}

TEST(protocols, pin) {
  for (auto m : all_models) {
    EXPECT_EQ(count(pin(1, 2), m), 12u);
    EXPECT_EQ(count(pin(2, 2), m), 2'516u);
    EXPECT_EQ(count(pin(2, 3), m), 49'482u);
  }
  EXPECT_EQ(count(pin(2, 4), memory_model::weak), 938'800u);
  EXPECT_EQ(count(pin(3, 2), memory_model::sc), 3'810'996u);
}

TEST(protocols, pins_have_no_order) {
  for (auto m : all_models) {
    EXPECT_LE(count(pin(2, 2), m, true), 389u);
    EXPECT_LE(count(pin(2, 3), m, true), 1'245u);
    EXPECT_LE(count(pin(2, 4), m, true), 3'105u);
    EXPECT_LE(count(pin(3, 2), m, true), 35'930u);
  }
}

TEST(protocols, pin_needs_a_full_fence) {
  for (auto m : all_models) {
    EXPECT_EQ(explored(*pin_checked(1, fence_kind::mb), m).verdict, verdict::safe);
    EXPECT_EQ(explored(*pin_checked(1, fence_kind::wmb), m).verdict,
              m == memory_model::weak ? verdict::violation : verdict::safe);
  }
  search_options few;
  few.model = memory_model::weak;
  few.max_executions = 10;
  few.shrink_executions = 0;
  EXPECT_EQ(explorer(pin_checked(1, fence_kind::wmb)->code, few).run().verdict, verdict::violation);
}

TEST(protocols, shootdown) {
  for (auto m : all_models)
    for (unsigned k : {1u, 2u, 3u, 6u})
      EXPECT_EQ(count(shootdown(k), m), (k + 1) * (k + 2) / 2);
}

TEST(protocols, disjoint_locks) {
  for (auto m : all_models) {
    EXPECT_EQ(count(disjoint_locks(5), m), 120u);
    EXPECT_EQ(count(disjoint_locks(5), m, true), 1u);
  }
}

} // namespace
} // namespace racewalk::explore
