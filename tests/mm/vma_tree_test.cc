#include "mm/vma_tree.h"

#include <map>
#include <mutex>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "mm/mm_types.h"

namespace racewalk {
namespace {

struct areas {
  explicit areas(unsigned n) : all(n) {
    for (unsigned i = 0; i < n; ++i) {
      all[i].vm_start.set((u64{2} * i + 1) * PAGE_SIZE);
      all[i].vm_end.set(all[i].vm_start.get() + PAGE_SIZE);
    }
  }
  std::vector<vm_area_struct> all;
};

TEST(VmaTree, IsEmptyAtFirst) {
  vma_tree tree;
  EXPECT_EQ(tree.find_vma(0), nullptr);
  EXPECT_EQ(tree.lookup(0), nullptr);
  EXPECT_EQ(tree.find_vma_prev(~vaddr_t{0}), nullptr);
  EXPECT_EQ(tree.size(), 0u);
}

TEST(VmaTree, AgreesWithAMapUnderRandomChanges) {
  constexpr unsigned N = 3000;
  areas a(N);
  vma_tree tree;
  std::map<vaddr_t, vm_area_struct*> reference; // by end
  std::mt19937 random(7);
  for (int step = 0; step < 40000; ++step) {
    vm_area_struct& vma = a.all[random() % N];
    if (reference.count(vma.vm_end.get()) != 0) {
      tree.erase(vma);
      reference.erase(vma.vm_end.get());
    } else {
      ASSERT_TRUE(tree.preallocate());
      tree.insert(vma);
      reference[vma.vm_end.get()] = &vma;
    }
    const vaddr_t addr = random() % ((2 * N + 2) * PAGE_SIZE);
    const auto after = reference.upper_bound(addr);
    vm_area_struct* expected = after == reference.end() ? nullptr : after->second;
    ASSERT_EQ(tree.find_vma(addr), expected);
    vm_area_struct* before = after == reference.begin() ? nullptr : std::prev(after)->second;
    ASSERT_EQ(tree.find_vma_prev(addr), before);
    ASSERT_EQ(tree.lookup(addr), expected != nullptr && expected->contains(addr) ? expected : before);
    ASSERT_EQ(tree.size(), reference.size());
  }
}

TEST(VmaTree, LookUpsThatRaceWithChangesReturnSomeArea) {
  constexpr unsigned N = 500;
  areas a(N);
  vma_tree tree;
  std::atomic<bool> stop{false};
  std::jthread reader([&] {
    std::mt19937 random(1);
    while (!stop) {
      const vm_area_struct* vma = tree.lookup(random() % ((2 * N + 2) * PAGE_SIZE));
      ASSERT_TRUE(vma == nullptr || (vma >= a.all.data() && vma < a.all.data() + N));
    }
  });
  std::mt19937 random(2);
  std::vector<bool> in(N);
  for (int step = 0; step < 50000; ++step) {
    const unsigned i = random() % N;
    if (in[i]) {
      tree.erase(a.all[i]);
    } else {
      ASSERT_TRUE(tree.preallocate());
      tree.insert(a.all[i]);
    }
    in[i] = !in[i];
  }
  stop = true;
}

// As rmap_walk() looks up: the root is replaced under a lock that it does not hold. Nothing else here orders
// the two threads, so ThreadSanitizer sees what does.
TEST(VmaTree, WhoHoldsTheSecondLockOnlyFindsTheNewRoot) {
  constexpr unsigned N = 500; // for which the root grows three times
  areas a(N);
  vma_tree tree;
  std::mutex second;
  std::atomic<unsigned> prepared{0};
  std::atomic<unsigned> found{0};
  std::jthread reader([&] {
    for (unsigned i = 1; i <= N; ++i) {
      while (prepared.load(std::memory_order_relaxed) < i)
        std::this_thread::yield();
      {
        const std::lock_guard held(second);
        EXPECT_EQ(tree.find_vma(a.all[N / 2].vm_start.get()), i > N / 2 + 1 ? &a.all[N / 2] : nullptr);
      }
      found.store(i, std::memory_order_relaxed);
    }
  });
  for (unsigned i = 0; i < N; ++i) {
    ASSERT_TRUE(tree.preallocate());
    prepared.store(i + 1, std::memory_order_relaxed);
    while (found.load(std::memory_order_relaxed) <= i)
      std::this_thread::yield();
    const std::lock_guard held(second);
    tree.insert(a.all[i]);
  }
}

} // namespace
} // namespace racewalk
