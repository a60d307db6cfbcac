#include "mm/vma_tree.h"

#include <map>
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

TEST(VmaTree, KeepsItsOrderWhenAnAreaGrowsDownwards) {
  areas a(100);
  vma_tree tree;
  for (vm_area_struct& vma : a.all) {
    ASSERT_TRUE(tree.preallocate());
    tree.insert(vma);
  }
  for (vm_area_struct& vma : a.all) {
    tree.move_start(vma, vma.vm_start.get() - PAGE_SIZE);
    vma.vm_start.set(vma.vm_start.get() - PAGE_SIZE);
    EXPECT_EQ(tree.lookup(vma.vm_start.get()), &vma);
    EXPECT_EQ(tree.find_vma(vma.vm_start.get()), &vma);
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

} // namespace
} // namespace racewalk
