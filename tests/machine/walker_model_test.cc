// The walker on every architecture: which entries it goes through, and what it records. Runs the model
// backend without an engine, where each access walks and reads memory as it is.
#include <array>
#include <span>

#include <gtest/gtest.h>

#include "arch/all.h"
#include "test_mm.h"

namespace racewalk {
namespace {

constexpr vaddr_t A = 0x3000;

class walker : public testing::TestWithParam<const arch_desc*> {
 protected:
  walker() {
    current_setting<arch_desc> = GetParam();
    current_setting<geometry_t> = &GEOMETRY;
    run_context = &machine_;
    mm_ = std::make_unique<test_mm>(machine_);
    cpu().switch_mm(&mm_->context);
  }
  ~walker() override {
    cpu().switch_mm(nullptr);
    run_context = nullptr;
    current_setting<geometry_t> = nullptr;
    current_setting<arch_desc> = nullptr;
  }

  Cpu& cpu() { return machine_.cpu(0); }
  u64 entry(unsigned level = PTE_LEVEL) { return READ_ONCE(mm_->slot(A, level)); }
  void set(u64 e, unsigned level = PTE_LEVEL) { WRITE_ONCE(mm_->slot(A, level), e); }
  u64 leaf(pgprot_t prot, unsigned level = PTE_LEVEL) { return arch().mk_leaf(16, prot, level_of(level)); }
  const level_t PTE = level_of(PTE_LEVEL);
  const level_t PMD = level_of(PMD_LEVEL);
  bool load() { return cpu().load<u64>(A).ok(); }
  bool store() { return cpu().store<u64>(A, 1).ok(); }

  static constexpr geometry_t GEOMETRY{.levels = 2, .bits = 2};
  Machine machine_{1 << 20, 1};
  std::unique_ptr<test_mm> mm_;
};

TEST_P(walker, goes_through_leaves_that_grant_the_access) {
  set(arch().mkdirty(leaf(PAGE_SHARED), PTE));
  EXPECT_TRUE(store());
  EXPECT_TRUE(load());
  EXPECT_EQ(READ_ONCE(mm_->words(16)[0]), 1U);
}

TEST_P(walker, gathers_what_loads_would_have_loaded) {
  set(arch().mkdirty(leaf(PAGE_SHARED), PTE));
  EXPECT_TRUE(store());
  std::array<u64, 3> got{7, 7, 7};
  EXPECT_TRUE(cpu().gather<u64>(std::array{A, A + 8}, std::span(got).first(2)).ok());
  EXPECT_EQ(got, (std::array<u64, 3>{1, 0, 7}));
  const std::array<vaddr_t, 3> beyond{A, A + 0x1000, A};
  EXPECT_EQ(cpu().gather<u64>(beyond, got).error(), fault_result::sigsegv);
  EXPECT_EQ(got, (std::array<u64, 3>{1, 0, 7}));
}

TEST_P(walker, goes_through_huge_leaves_with_the_offset_in_them) {
  set(arch().mkdirty(leaf(PAGE_SHARED, PMD_LEVEL), PMD), PMD_LEVEL);
  EXPECT_TRUE(store());
  EXPECT_EQ(READ_ONCE(mm_->words(16 + 3)[0]), 1U); // A is the fourth page of the huge one
}

TEST_P(walker, refuses_what_grants_nothing) {
  const u64 refused[] = {
      0,
      leaf(PAGE_NONE),
      arch().swp_entry(1, 16, PTE),
  };
  for (u64 e : refused) {
    set(e);
    EXPECT_FALSE(load()) << std::hex << e;
    EXPECT_FALSE(store()) << std::hex << e;
    EXPECT_EQ(entry(), e);
  }
  set(leaf(PAGE_READONLY));
  EXPECT_TRUE(load());
  EXPECT_FALSE(store());
}

TEST_P(walker, refuses_an_invalidated_huge_leaf) {
  const u64 e = arch().mkinvalid(arch().mkdirty(leaf(PAGE_SHARED, PMD_LEVEL), PMD), PMD);
  set(e, PMD_LEVEL);
  EXPECT_FALSE(load());
  EXPECT_FALSE(store());
  EXPECT_EQ(entry(PMD_LEVEL), e);
}

TEST_P(walker, records_stores_in_the_entry_or_faults) {
  set(arch().mkold(arch().mkclean(leaf(PAGE_SHARED), PTE), PTE));
  if (arch().hw_sets_ad() || arch().hash_mmu()) { // there the low-level fault does
    EXPECT_TRUE(load());
    EXPECT_TRUE(arch().young(entry(), PTE));
    EXPECT_FALSE(arch().dirty(entry(), PTE));
    EXPECT_TRUE(store());
    EXPECT_TRUE(arch().dirty(entry(), PTE));
    EXPECT_TRUE(arch().write(entry(), PTE));
  } else {
    EXPECT_FALSE(store());
    EXPECT_FALSE(arch().dirty(entry(), PTE));
  }
}

INSTANTIATE_TEST_SUITE_P(archs, walker, testing::ValuesIn(all_archs.begin(), all_archs.end()),
                         [](const auto& param) {
                           std::string name = param.param->name;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

} // namespace
} // namespace racewalk
