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
      .variables = {{"pmd[0]", place_kind::entry, "root", "pmd[0]", {"table table@0", "table@0", ""}},
                    {"pte[1]", place_kind::entry, "table@0", "pte[1]", {"leaf s W", "s", ""}},
                    {"s.refcount", place_kind::page, "s", "refcount", {"1025", "", "1 pin + 1"}}},
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
  std::vector<trace_step>& steps = r.trace->steps;
  steps[0].effects = {{.kind = effect_kind::enters, .column = 0, .name = "interrupts off"}};
  steps[1].effects = {{.kind = effect_kind::reads, .variable = 0, .value = {"table table@0", "table@0", ""}}};
  steps[2].effects = {{.kind = effect_kind::writes, .variable = 0, .value = {"none", "", ""}}};
  steps[3].effects = {{.kind = effect_kind::frees, .column = 1, .name = "table@0"}};
  steps[4].effects = {{.kind = effect_kind::reads, .variable = 1, .value = {"leaf s W", "s", ""}}};
  return r;
}

/// A step that reads what step 3 had overwritten.
inline result sample_stale() {
  result r = sample_violation();
  trace_step& read = r.trace->steps[4];
  read.text = "R pmd[0] -> table table@0";
  read.mark = step_mark::stale;
  read.effects = {
      {.kind = effect_kind::reads, .variable = 0, .value = {"table table@0", "table@0", ""}, .missed = 3}};
  return r;
}

/// What a user's own scenario may be called and say: everything that some format treats as its own.
inline const char* const odd_text =
    "a<b> & \"c\" 'd' ]]> </script><!-- # \\l \x01\x7f\xff {}@style@ \n ok 1 - \xe2\x86\x92 {";

inline result sample_odd() {
  result r = sample_stale();
  r.scenario = odd_text;
  r.variant = std::string("../") + odd_text;
  r.property = odd_text;
  r.trace->lost = odd_text + std::string(3000, 'x') + odd_text;
  r.trace->columns[0] = odd_text;
  for (trace_step& s : r.trace->steps) {
    s.text = s.function = s.note = odd_text;
    s.file = std::string("src/") + odd_text;
    for (trace_effect& e : s.effects)
      e.value.text = e.name = odd_text;
  }
  for (trace_variable& v : r.trace->variables)
    v.name = v.object = v.field = v.initial.text = odd_text;
  return r;
}

} // namespace racewalk::report
