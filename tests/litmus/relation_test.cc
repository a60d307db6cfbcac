// Relational algebra, each operator against its definition, on random relations of both widths.
#include <random>

#include <gtest/gtest.h>

#include "litmus/relation.h"

namespace racewalk::litmus {
namespace {

template <class T> class relations : public testing::Test {};
using widths = testing::Types<std::integral_constant<std::size_t, 1>, std::integral_constant<std::size_t, 4>>;
TYPED_TEST_SUITE(relations, widths);

template <std::size_t Words>
relation<Words> random_relation(std::size_t events, unsigned one_in, std::mt19937& random) {
  relation<Words> r(events);
  for (std::size_t a = 0; a < events; a++)
    for (std::size_t b = 0; b < events; b++)
      if (random() % one_in == 0) r.insert(a, b);
  return r;
}

TYPED_TEST(relations, operators_are_what_they_are_defined_as) {
  constexpr std::size_t Words = TypeParam::value;
  std::mt19937 random(1);
  for (const std::size_t events : {1, 7, 64, Words == 1 ? 64 : 100}) {
    const auto a = random_relation<Words>(events, 6, random), b = random_relation<Words>(events, 6, random);
    const auto composed = a * b, either = a | b, both = a & b, without = a - b, back = inverse(a),
               once = maybe(a);
    for (std::size_t x = 0; x < events; x++) {
      for (std::size_t y = 0; y < events; y++) {
        bool through = false;
        for (std::size_t m = 0; m < events; m++)
          through = through || (a.contains(x, m) && b.contains(m, y));
        EXPECT_EQ(composed.contains(x, y), through);
        EXPECT_EQ(either.contains(x, y), a.contains(x, y) || b.contains(x, y));
        EXPECT_EQ(both.contains(x, y), a.contains(x, y) && b.contains(x, y));
        EXPECT_EQ(without.contains(x, y), a.contains(x, y) && !b.contains(x, y));
        EXPECT_EQ(back.contains(x, y), a.contains(y, x));
        EXPECT_EQ(once.contains(x, y), x == y || a.contains(x, y));
      }
    }
  }
}

TYPED_TEST(relations, closure_is_the_least_transitive_one) {
  constexpr std::size_t Words = TypeParam::value;
  std::mt19937 random(2);
  for (unsigned round = 0; round < 20; round++) {
    const auto a = random_relation<Words>(30, 40, random);
    auto grown = a;
    for (auto next = grown | grown * a; !(next == grown); next = grown | grown * a)
      grown = next;
    EXPECT_TRUE(closure(a) == grown);
    EXPECT_EQ(a.acyclic(), grown.irreflexive());
  }
}

TYPED_TEST(relations, restriction_keeps_the_ends_that_it_names) {
  constexpr std::size_t Words = TypeParam::value;
  std::mt19937 random(3);
  const auto a = random_relation<Words>(40, 3, random);
  event_set<Words> even;
  for (std::size_t e = 0; e < 40; e += 2)
    even.insert(e);
  const auto from = even * a, to = a * even;
  for (std::size_t x = 0; x < 40; x++) {
    for (std::size_t y = 0; y < 40; y++) {
      EXPECT_EQ(from.contains(x, y), x % 2 == 0 && a.contains(x, y));
      EXPECT_EQ(to.contains(x, y), y % 2 == 0 && a.contains(x, y));
    }
  }
}

} // namespace
} // namespace racewalk::litmus
