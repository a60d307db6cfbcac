// Every argument, every variant, every architecture: the verdict is the expected one, a violation can be
// replayed, and each safeguard of the library is one that a scenario misses when it is taken away.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "scenario/decide.h"
#include "scenarios/catalogue.h"

namespace racewalk::inline RACEWALK_BACKEND {
namespace {

const scenario& named(const std::string& name) {
  const auto& all = all_scenarios();
  const auto found = std::find_if(all.begin(), all.end(), [&](const scenario& s) { return s.name == name; });
  if (found == all.end()) throw std::out_of_range(name);
  return *found;
}

const variant& variant_of(const scenario& s, const std::string& name) {
  const auto found =
      std::find_if(s.variants.begin(), s.variants.end(), [&](const variant& v) { return v.name == name; });
  if (found == s.variants.end()) throw std::out_of_range(s.name + ":" + name);
  return *found;
}

decision decide_with(const scenario& s, const variant& v, const arch_desc& arch, explore::memory_model m) {
  explore::search_options options;
  options.model = m;
  return decide(s, v, arch, options);
}

/// What a reader can make nothing of: a variable that has no name, the address of an object.
const std::regex unnamed("variable[0-9]|(^|[^0-9a-fx])[0-9]{10}|0x[57][0-9a-f]{11}($|[^0-9a-f])");

void check_verdict(const scenario& s, const variant& v, const arch_desc& arch, explore::memory_model m) {
  SCOPED_TRACE(s.name + ":" + v.name + " on " + arch.name + " under " + explore::to_string(m));
  const decision d = decide_with(s, v, arch, m);
  ASSERT_NE(d.outcome.verdict, explore::verdict::inconclusive) << d.outcome.reason;
  const expect expected = v.expected(settings_for(v, arch, m));
  if (expected != expect::open) {
    EXPECT_EQ(d.outcome.verdict == explore::verdict::violation, expected == expect::violation);
  }
  if (d.outcome.verdict != explore::verdict::violation) return;
  EXPECT_FALSE(d.story.steps.empty());
  for (const explore::step& step : d.story.steps)
    EXPECT_FALSE(std::regex_search(step.text, unnamed)) << step.text;
  explore::search_options options;
  options.model = m;
  const decision again = replay(s, v, arch, options, d.schedule);
  ASSERT_EQ(again.outcome.verdict, explore::verdict::violation) << again.outcome.reason;
  EXPECT_EQ(again.outcome.failures.front().invariant, d.outcome.failures.front().invariant);
}

TEST(suite, verdicts_are_the_expected_ones_and_violations_replay) {
  for (const scenario& s : all_scenarios())
    for (const variant& v : s.variants)
      for (const arch_desc* arch : archs_of(s))
        check_verdict(s, v, *arch, default_model(*arch));
}

// Most scenarios are not decided there, for what their variants lose may be kept by another safeguard: a
// collapse on powerpc64-hash has waited for walks before it flushes, whatever else it does.
TEST(suite, the_shipped_code_is_safe_where_only_few_scenarios_are_decided) {
  for (const scenario& s : all_scenarios())
    for (const arch_desc* arch : {&powerpc64_hash, &x86_pae}) {
      const variant& shipped = s.variants.front();
      if (shipped.expected(settings_for(shipped, *arch, default_model(*arch))) == expect::safe)
        check_verdict(s, shipped, *arch, default_model(*arch));
    }
}

TEST(suite, reductions_change_no_verdict) {
  u64 with = 0;
  u64 without = 0;
  for (const scenario& s : all_scenarios())
    for (const variant& v : s.variants)
      for (const arch_desc* arch : {&x86_64, &arm64}) {
        explore::search_options all;
        all.model = default_model(*arch);
        all.symmetry = all.unordered_locks = all.commuting = false;
        const decision full = decide(s, v, *arch, all);
        const decision reduced = decide_with(s, v, *arch, all.model);
        EXPECT_EQ(full.outcome.verdict, reduced.outcome.verdict)
            << s.name << ":" << v.name << " " << arch->name;
        if (full.outcome.verdict != explore::verdict::safe) continue;
        EXPECT_LE(reduced.outcome.executions, full.outcome.executions) << s.name << ":" << v.name;
        with += reduced.outcome.executions;
        without += full.outcome.executions;
      }
  EXPECT_LT(with, without);
}

TEST(suite, verdicts_hold_under_every_model) {
  for (const scenario& s : all_scenarios())
    for (const variant& v : s.variants)
      for (auto m : {explore::memory_model::sc, explore::memory_model::tso, explore::memory_model::weak})
        check_verdict(s, v, arm64, m);
}

TEST(suite, samples_contradict_no_verdict_and_replay) {
  unsigned found = 0;
  for (const scenario& s : all_scenarios())
    for (const variant& v : s.variants)
      for (const arch_desc* arch : {&x86_64, &arm64}) {
        SCOPED_TRACE(s.name + ":" + v.name + " on " + arch->name);
        explore::search_options options;
        options.model = default_model(*arch);
        options.shrink_executions = 0;
        options.random = explore::sampling{50, 1};
        const decision d = decide(s, v, *arch, options);
        EXPECT_NE(d.outcome.verdict, explore::verdict::safe);
        if (d.outcome.verdict != explore::verdict::violation) continue;
        found++;
        if (v.expected) {
          EXPECT_NE(v.expected(settings_for(v, *arch, options.model)), expect::safe);
        }
        options.random = d.outcome.learned_from;
        const decision again = replay(s, v, *arch, options, d.schedule);
        ASSERT_EQ(again.outcome.verdict, explore::verdict::violation) << again.outcome.reason;
        EXPECT_EQ(again.outcome.failures.front().invariant, d.outcome.failures.front().invariant);
      }
  EXPECT_GT(found, 0u);
}

TEST(suite, a_schedule_that_the_code_does_not_follow_is_told_from_one_that_it_does) {
  const scenario& s = named("gup_fast_vs_munmap");
  const decision d = decide_with(s, variant_of(s, "at_once"), arm64, explore::memory_model::weak);
  explore::search_options options;
  const decision fixed = replay(s, variant_of(s, "shipped"), arm64, options, d.schedule);
  EXPECT_EQ(fixed.outcome.verdict, explore::verdict::inconclusive);
  EXPECT_NE(fixed.outcome.reason.find("step "), std::string::npos) << fixed.outcome.reason;
}

TEST(suite, the_same_search_finds_the_same_every_time) {
  const scenario& s = named("pin_barrier");
  const variant& v = variant_of(s, "wmb");
  const decision a = decide_with(s, v, arm64, explore::memory_model::weak);
  const decision b = decide_with(s, v, arm64, explore::memory_model::weak);
  EXPECT_EQ(a.outcome.executions, b.outcome.executions);
  ASSERT_EQ(a.story.steps.size(), b.story.steps.size());
  for (std::size_t i = 0; i < a.story.steps.size(); i++)
    EXPECT_EQ(a.story.steps[i].text, b.story.steps[i].text);
}

/// A safeguard of the library: with it a scenario is safe, without it the scenario is lost.
struct safeguard {
  const char* what;
  const char* scenario;
  const char* with;
  const char* without;
  const arch_desc* arch;
};

class removal : public testing::TestWithParam<safeguard> {};

TEST_P(removal, is_noticed) {
  const safeguard& r = GetParam();
  const scenario& s = named(r.scenario);
  const auto m = default_model(*r.arch);
  EXPECT_EQ(decide_with(s, variant_of(s, r.with), *r.arch, m).outcome.verdict, explore::verdict::safe);
  EXPECT_EQ(decide_with(s, variant_of(s, r.without), *r.arch, m).outcome.verdict,
            explore::verdict::violation);
}

INSTANTIATE_TEST_SUITE_P(
    safeguards, removal,
    testing::Values(
        safeguard{"pmd_recheck", "gup_fast_vs_munmap", "table_counted", "table_counted_no_pmd_recheck",
                  &arm64},
        safeguard{"pte_recheck", "gup_fast_vs_munmap", "counted", "counted_no_pte_recheck", &arm64},
        safeguard{"wait_in_collapse", "gup_fast_vs_collapse", "shipped_freed", "recheck_only_freed", &arm64},
        safeguard{"wmb_in_split", "gup_fast_vs_pmd_split", "recycled", "no_wmb", &arm64},
        safeguard{"folio_recheck", "gup_fast_vs_pmd_split", "folio_small", "folio_no_recheck", &arm64},
        safeguard{"flush_before_table", "gup_fast_vs_pmd_split", "translate", "direct_translate", &x86_64},
        safeguard{"migration_pmd_untouched", "split_migration_pmd", "classify_fixed", "classify", &powerpc64},
        safeguard{"invalid_refused", "pin_invalidated_pmd", "shipped", "arch_test", &riscv64},
        safeguard{"never_none", "dontneed_vs_change_pmd", "shipped", "transient_none", &x86_64},
        safeguard{"slot_not_reloaded", "slot_walk_vs_reuse", "shipped", "reload", &x86_64},
        safeguard{"lazy_cpus_flushed", "lazy_walk_vs_table_free", "shipped", "flush_as_for_pages", &x86_64},
        safeguard{"flush_generations", "lazy_walk_vs_table_free", "two_flushes", "two_flushes_partial",
                  &x86_64},
        safeguard{"irqs_off", "gup_fast_vs_munmap", "shipped", "walk_preemptible", &x86_64},
        safeguard{"rcu_in_table_freeing", "gup_fast_vs_munmap", "shipped", "at_once", &riscv64},
        safeguard{"barrier_before_cpumask", "serialize_before_mask", "mb", "no_mb", &x86_64},
        safeguard{"full_barrier_of_the_pin", "pin_barrier", "mb", "wmb", &powerpc64},
        safeguard{"address_of_the_locked_area", "fault_vs_unmap", "reused", "reused_attached", &arm64},
        safeguard{"detached_areas_are_marked", "fault_vs_unmap", "shipped", "not_marked", &x86_64},
        safeguard{"no_fault_by_old_flags", "store_vs_mprotect", "untouched", "untouched_unlocked", &arm64},
        safeguard{"flush_before_free", "access_vs_munmap", "shipped", "no_flush_before_free", &x86_64}),
    [](const auto& p) { return std::string(p.param.what); });

} // namespace
} // namespace racewalk::inline RACEWALK_BACKEND
