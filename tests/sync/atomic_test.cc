// What is found through a published word is as it was when it was published.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "sync/sync.h"

namespace racewalk {
namespace {

// In a build for ThreadSanitizer also: the tool is told of the barrier and of the dependency, and takes what
// was filled for no race.
TEST(publication, a_dependency_finds_what_the_barrier_ordered) {
  constexpr std::size_t ROUNDS = 1000;
  struct table {
    u64 content = 0;
  };
  std::array<table, ROUNDS> tables;
  std::array<shared<table*>, ROUNDS> slots;
  u64 found = 0;
  std::thread walker([&] {
    for (auto& slot : slots) {
      table* at = nullptr;
      while ((at = read_dep(slot).value) == nullptr)
        cpu_relax();
      found += at->content;
    }
  });
  for (std::size_t i = 0; i < ROUNDS; ++i) {
    tables[i].content = i;
    smp_wmb(); // pairs with the walker's address dependency
    WRITE_ONCE(slots[i], &tables[i]);
  }
  walker.join();
  EXPECT_EQ(found, ROUNDS * (ROUNDS - 1) / 2);
}

} // namespace
} // namespace racewalk
