// The list of architectures, and what their descriptions say beyond entries.

#include <set>

#include "entries.h"

namespace racewalk {
namespace {

TEST(AllArchs, AreFoundByTheirNamesAndOnlyByThose) {
  std::set<std::string_view> names;
  for (const arch_desc* a : all_archs) {
    EXPECT_TRUE(names.insert(a->name).second) << a->name;
    EXPECT_EQ(find_arch(a->name), a);
  }
  EXPECT_EQ(names,
            (std::set<std::string_view>{"x86-64", "x86-64-pv", "arm64", "powerpc64", "riscv64", "loongarch64",
                                        "s390x", "sparc64", "arm64-old", "powerpc64-hash", "x86-pae"}));
  for (const char* wrong : {"", "x86", "x86-64-", "X86-64", "all"})
    EXPECT_EQ(find_arch(wrong), nullptr) << wrong;
}

/// What mechanisms M5, M8, M13, M30 and section 0 say of each.
struct expectation {
  const char* name;
  memory_model_t memory_model;
  ad_profile_t ad_profile;
  flush_kind_t flush_kind;
  flush_targets_t flush_targets;
  walk_cache_rule_t walk_cache;
  table_free_rule_t table_free;
  cpumask_rule_t mm_cpumask;
  order xchg_order;
  bool thp_migration = true;
};
constexpr bool no_thp_migration = false;
constexpr expectation expectations[] = {
    {"x86-64", memory_model_t::tso, ad_profile_t::hw_a, flush_kind_t::ipi, flush_targets_t::cpumask,
     walk_cache_rule_t::any_flush, table_free_rule_t::ipi_flush, cpumask_rule_t::clear_on_switch,
     order::full},
    {"x86-64-pv", memory_model_t::tso, ad_profile_t::hw_a, flush_kind_t::broadcast, flush_targets_t::cpumask,
     walk_cache_rule_t::nonleaf_flush, table_free_rule_t::rcu, cpumask_rule_t::clear_on_switch, order::full},
    {"arm64", memory_model_t::weak, ad_profile_t::hw_a, flush_kind_t::broadcast, flush_targets_t::all,
     walk_cache_rule_t::nonleaf_flush, table_free_rule_t::rcu, cpumask_rule_t::set_only, order::relaxed},
    {"powerpc64", memory_model_t::weak, ad_profile_t::sw, flush_kind_t::broadcast, flush_targets_t::all,
     walk_cache_rule_t::nonleaf_flush, table_free_rule_t::rcu, cpumask_rule_t::trimmed, order::relaxed},
    {"riscv64", memory_model_t::weak, ad_profile_t::sw, flush_kind_t::broadcast, flush_targets_t::cpumask,
     walk_cache_rule_t::mm_flush, table_free_rule_t::rcu, cpumask_rule_t::set_only, order::full},
    {"loongarch64", memory_model_t::weak, ad_profile_t::sw, flush_kind_t::ipi, flush_targets_t::cpumask,
     walk_cache_rule_t::any_flush, table_free_rule_t::ipi_flush, cpumask_rule_t::set_only, order::relaxed},
    {"s390x", memory_model_t::tso, ad_profile_t::sw, flush_kind_t::broadcast, flush_targets_t::all,
     walk_cache_rule_t::mm_flush, table_free_rule_t::rcu, cpumask_rule_t::set_only, order::full,
     no_thp_migration},
    {"sparc64", memory_model_t::tso, ad_profile_t::sw, flush_kind_t::broadcast, flush_targets_t::cpumask,
     walk_cache_rule_t::any_flush, table_free_rule_t::rcu, cpumask_rule_t::set_only, order::full,
     no_thp_migration},
    {"arm64-old", memory_model_t::weak, ad_profile_t::hw_a, flush_kind_t::broadcast, flush_targets_t::all,
     walk_cache_rule_t::nonleaf_flush, table_free_rule_t::rcu, cpumask_rule_t::set_only, order::relaxed},
    {"powerpc64-hash", memory_model_t::weak, ad_profile_t::sw, flush_kind_t::broadcast, flush_targets_t::all,
     walk_cache_rule_t::nonleaf_flush, table_free_rule_t::rcu, cpumask_rule_t::set_only, order::relaxed},
    {"x86-pae", memory_model_t::tso, ad_profile_t::hw_a, flush_kind_t::broadcast, flush_targets_t::cpumask,
     walk_cache_rule_t::nonleaf_flush, table_free_rule_t::rcu, cpumask_rule_t::clear_on_switch, order::full,
     no_thp_migration},
};

TEST(AllArchs, BehaveAsTheMechanismsSay) {
  ASSERT_EQ(std::size(expectations), all_archs.size());
  for (const expectation& e : expectations) {
    SCOPED_TRACE(e.name);
    const arch_desc* a = find_arch(e.name);
    ASSERT_NE(a, nullptr);
    EXPECT_EQ(a->memory_model, e.memory_model);
    EXPECT_EQ(a->ad_profile, e.ad_profile);
    EXPECT_EQ(a->flush_kind, e.flush_kind);
    EXPECT_EQ(a->flush_targets, e.flush_targets);
    EXPECT_EQ(a->walk_cache, e.walk_cache);
    EXPECT_EQ(a->table_free, e.table_free);
    EXPECT_EQ(a->mm_cpumask, e.mm_cpumask);
    EXPECT_EQ(a->xchg_order, e.xchg_order);
    EXPECT_EQ(a->thp_migration, e.thp_migration);
  }
}

// GUP-fast walks with interrupts off: that protects it only if tables wait for RCU or the flush waits for it
// (M5).
TEST(AllArchs, GupFastIsProtectedByDefault) {
  for (const arch_desc* a : all_archs)
    EXPECT_TRUE(a->table_free == table_free_rule_t::rcu || a->flush_is_rendezvous()) << a->name;
}

TEST(AllArchs, X86PvSharesTheEntriesOfX86) {
  EXPECT_EQ(x86_64_pv.present, x86_64.present);
  EXPECT_EQ(x86_64_pv.mk_leaf, x86_64.mk_leaf);
  EXPECT_EQ(x86_64_pv.swp_entry, x86_64.swp_entry);
}

TEST(Geometry, IndexAndSizeAgreeWithDivision) {
  for (const geometry_t& g : geometries) {
    u64 size = PAGE_SIZE;
    for (unsigned n = 0; n < g.levels; n++) {
      EXPECT_EQ(g.size(n), size);
      for (const vaddr_t addr : {vaddr_t{0}, size - 1, size, 3 * size + 5, g.address_limit() - 1})
        EXPECT_EQ(g.index(addr, n), addr / size % g.entries()) << addr << " at level " << n;
      EXPECT_EQ(g.level(n).order(), n * g.bits);
      EXPECT_FALSE(g.folded(n));
      size *= g.entries();
    }
    EXPECT_EQ(g.address_limit(), size);
    EXPECT_TRUE(g.folded(g.levels));
    EXPECT_EQ(g.root_level(), g.levels - 1U);
  }
}

class AccessibleEntries : public ArchTest {};
FOR_EVERY_ARCH(AccessibleEntries);

// pte_accessible (M11): a TLB may hold what is valid, and what is PROT_NONE while the flush is still to come.
TEST_P(AccessibleEntries, IncludeProtnoneOnlyWhileAFlushIsPending) {
  const level_t level = geometry_t{}.level(PTE_LEVEL);
  const bool always = a.accessible(0, level, false); // some say yes to everything
  const std::string_view name = a.name;
  EXPECT_EQ(always, name.starts_with("powerpc64") || name == "s390x");
  for (const pfn_t pfn : boundary_pfns(a, level)) {
    EXPECT_TRUE(a.accessible(a.mk_leaf(pfn, PAGE_READONLY, level), level, false));
    EXPECT_TRUE(a.accessible(a.mk_leaf(pfn, PAGE_NONE, level), level, true));
    EXPECT_EQ(a.accessible(a.mk_leaf(pfn, PAGE_NONE, level), level, false), always);
    EXPECT_EQ(a.accessible(a.swp_entry(SWP_MIGRATION_READ, pfn, level), level, true), always);
  }
}

} // namespace
} // namespace racewalk
