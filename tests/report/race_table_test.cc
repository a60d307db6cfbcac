// What the race table, the verdict table and the JSON lines look like.
#include "report/race_table.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "report/json.h"
#include "report/verdict_table.h"
#include "sample.h"

namespace racewalk::report {
namespace {

TEST(RaceTable, PutsEachStepIntoItsCpusColumn) {
  const std::string table = race_table(sample_violation(), {.width = 100});
  EXPECT_EQ(table, R"(S1.4 munmap_table_free:no_rcu  on arm64 (weak)  INV-UAF

     | CPU0 gup                                      | CPU1 munmap
-----+-----------------------------------------------+----------------------------------------------
   1 | gup_fast()                                    |
     |   IRQ off                          gup.cc:101 |
   2 | gup_fast_pmd_range()                          |
     |   R pmd[0] -> table pfn=3          gup.cc:120 |
   3 |                                               | free_pte_range()
     |                                               |   W pmd[0] = none                memory.cc:77
   4 |                                               | tlb_remove_table()
     |                                               |   free pfn=3                 mmu_gather.cc:58
   5 | gup_fast_pte_range()                          |
     |   R pte[1]                         gup.cc:140 |
     |   <-- the table page was freed in step 4      |

INV-UAF: the lockless walk on CPU0 reads a page table that CPU1 has given back, so it may pin a page
that was never mapped there
)");
}

TEST(RaceTable, KeepsToTheWidth) {
  for (const std::size_t width : {80, 100, 120}) {
    const std::string table = race_table(sample_violation(), {.width = width});
    for (std::size_t at = 0; at < table.size();) {
      const std::size_t end = table.find('\n', at);
      EXPECT_LE(end - at, width) << table.substr(at, end - at);
      at = end + 1;
    }
  }
}

TEST(RaceTable, HasColoursOnlyWhenAsked) {
  EXPECT_EQ(race_table(sample_violation(), {}).find('\033'), std::string::npos);
  EXPECT_NE(race_table(sample_violation(), {.colour = colour::on}).find('\033'), std::string::npos);
}

TEST(VerdictTable, MarksWhatDiffersFromTheExpectedVerdict) {
  result unexpected = sample_safe();
  unexpected.expected = expectation::violation;
  const std::string table = verdict_table({unexpected}, {}, colour::off);
  EXPECT_NE(table.find("safe !"), std::string::npos) << table;
}

TEST(VerdictTable, NamesTheBoundOfAnInconclusiveVerdict) {
  result cut = sample_safe();
  cut.verdict = verdict::inconclusive;
  cut.reason = "--max-executions 10";
  const std::string table = verdict_table({cut}, {}, colour::off);
  EXPECT_NE(table.find("inconclusive: munmap_table_free:call_rcu on arm64: --max-executions 10"),
            std::string::npos)
      << table;
}

TEST(VerdictTable, HasOneColumnAnArchitecture) {
  result x86 = sample_safe();
  x86.arch = "x86-64";
  x86.model = "tso";
  const std::string table = verdict_table({sample_safe(), x86, sample_violation()},
                                          {{"munmap_table_free", "a title"}}, colour::off);
  EXPECT_TRUE(table.starts_with(R"(                arm64      x86-64    executions      time
                (weak)     (tso)

S1.4  munmap_table_free: a title
  a   call_rcu  safe       safe          24,690    0.50 s
  b   no_rcu    VIOLATION  -             12,345    0.25 s
)")) << table;
}

TEST(VerdictTable, HasATableOfItsOwnForWhatIsAboutOtherArchitectures) {
  result pae = sample_violation();
  pae.id = "S3.8";
  pae.scenario = "split_word_pmd";
  pae.arch = "x86-pae";
  pae.model = "tso";
  const std::string table = verdict_table({sample_safe(), sample_violation(), pae}, {}, colour::off);
  EXPECT_TRUE(table.starts_with(R"(                arm64        executions      time
                (weak)

S1.4  munmap_table_free
  a   call_rcu  safe             12,345    0.25 s
  b   no_rcu    VIOLATION        12,345    0.25 s

                x86-pae      executions      time
                (tso)

S3.8  split_word_pmd
  b   no_rcu    VIOLATION        12,345    0.25 s
)")) << table;
}

TEST(Json, HasOneLineWithEveryKey) {
  const std::string line = json_line(sample_violation());
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const nlohmann::json parsed = nlohmann::json::parse(line);
  for (const char* key : {"id", "scenario", "variant", "variant_id", "arch", "model", "verdict", "expected",
                          "executions", "blocked", "seconds", "property", "trace"})
    EXPECT_TRUE(parsed.contains(key)) << key;
  EXPECT_EQ(parsed["verdict"], "violation");
  EXPECT_EQ(parsed["trace"]["steps"].size(), 5U);
}

TEST(Json, HasNoTraceWhereNothingWasLost) {
  EXPECT_TRUE(nlohmann::json::parse(json_line(sample_safe()))["trace"].is_null());
}

TEST(Result, ExpectedVerdicts) {
  result r;
  for (const auto& [found, expected, agrees] : {std::tuple{verdict::safe, expectation::safe, true},
                                                {verdict::safe, expectation::violation, false},
                                                {verdict::safe, expectation::unknown, true},
                                                {verdict::safe, expectation::none, true},
                                                {verdict::violation, expectation::safe, false},
                                                {verdict::violation, expectation::violation, true},
                                                {verdict::violation, expectation::unknown, true},
                                                {verdict::violation, expectation::none, false},
                                                {verdict::inconclusive, expectation::safe, true}}) {
    r.verdict = found;
    r.expected = expected;
    EXPECT_EQ(r.as_expected(), agrees) << to_string(found) << " where " << to_string(expected);
  }
}

} // namespace
} // namespace racewalk::report
