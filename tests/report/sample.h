// Results that the tests of the renderers and of the command agree on.
#pragma once

#include "report/result.h"

namespace racewalk::report {

inline result sample_safe() {
  result r;
  r.id = "S1.4";
  r.scenario = "munmap_table_free";
  r.variant = "call_rcu";
  r.variant_id = "a";
  r.arch = "arm64";
  r.model = "weak";
  r.verdict = verdict::safe;
  r.expected = expectation::safe;
  r.executions = 12345;
  r.seconds = 0.25;
  return r;
}

inline result sample_violation() {
  result r = sample_safe();
  r.variant = "no_rcu";
  r.variant_id = "b";
  r.verdict = verdict::violation;
  r.expected = expectation::violation;
  r.property = "INV-UAF";
  r.trace = race_trace{
      .columns = {"CPU0 gup", "CPU1 munmap"},
      .steps = {{1, 0, "gup_fast", "src/mm/gup.cc", 101, "IRQ off"},
                {2, 0, "gup_fast_pmd_range", "src/mm/gup.cc", 120, "R pmd[0] -> table pfn=3"},
                {3, 1, "free_pte_range", "src/mm/memory.cc", 77, "W pmd[0] = none"},
                {4, 1, "tlb_remove_table", "src/mm/mmu_gather.cc", 58, "free pfn=3"},
                {5, 0, "gup_fast_pte_range", "src/mm/gup.cc", 140, "R pte[1]", step_mark::violating,
                 "the table page was freed in step 4"}},
      .lost =
          "the lockless walk on CPU0 reads a page table that CPU1 has given back, so it may pin a page that "
          "was never mapped there",
      .schedule = {"0", "0 rf init", "1", "1", "0 rf 3"}};
  return r;
}

} // namespace racewalk::report
