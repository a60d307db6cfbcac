// What the pages, KTAP, JUnit and Graphviz look like, and that odd text cannot break out of them. Whether
// other programs can read them is for tests/report/validate.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "report/dot.h"
#include "report/escape.h"
#include "report/html.h"
#include "report/json.h"
#include "report/junit.h"
#include "report/ktap.h"
#include "report/verdict_table.h"
#include "sample.h"

namespace racewalk::report {
namespace {

result sample_inconclusive() {
  result r = sample_safe();
  r.variant = "endless";
  r.verdict = verdict::inconclusive;
  r.reason = "--max-executions 10";
  return r;
}

result sample_unexpected() {
  result r = sample_violation();
  r.expected = expectation::safe;
  return r;
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

TEST(Ktap, HasASubtestAScenario) {
  result other = sample_safe();
  other.scenario = "pin_barrier";
  EXPECT_EQ(ktap({sample_safe(), sample_violation(), other}, false), R"(KTAP version 1
1..2
  KTAP version 1
  # Subtest: munmap_table_free
  1..2
  ok 1 call_rcu on arm64
  # INV-UAF: the lockless walk on CPU0 reads a page table that CPU1 has given back, so it may pin a page that was never mapped there
  ok 2 no_rcu on arm64
ok 1 munmap_table_free
  KTAP version 1
  # Subtest: pin_barrier
  1..1
  ok 1 call_rcu on arm64
ok 2 pin_barrier
)");
}

TEST(Ktap, IsNotOkIfTheVerdictIsNotTheExpectedOne) {
  const std::string text = ktap({sample_safe(), sample_unexpected()}, false);
  EXPECT_TRUE(has(text, "\n  not ok 2 no_rcu on arm64\nnot ok 1 munmap_table_free\n")) << text;
  EXPECT_TRUE(has(text, "\n  #    2 | gup_fast_pmd_range()")) << text;
  result missed = sample_safe();
  missed.expected = expectation::violation;
  EXPECT_TRUE(has(ktap({missed}, false), "  # violation expected, found safe\n  not ok 1"));
}

TEST(Ktap, SkipsWhatWasNotDecided) {
  const std::string text = ktap({sample_inconclusive()}, false);
  EXPECT_TRUE(has(text, "  ok 1 endless on arm64 # SKIP inconclusive: --max-executions 10\n")) << text;
  EXPECT_TRUE(text.ends_with("\nok 1 munmap_table_free # SKIP nothing was decided\n")) << text;
}

TEST(Summary, SaysWhatWasExpectedOnlyIfAnythingWas) {
  result r = sample_safe();
  r.executions = 1;
  EXPECT_EQ(verdict_summary({r}, 2), "1 verdict: 1 safe, 0 violations, 0 inconclusive; none differs from the "
                                     "expected one; 1 execution in 2.00 s\n");
  r.expected = expectation::none;
  result lost = sample_violation();
  lost.expected = expectation::none;
  lost.executions = 1233;
  EXPECT_EQ(verdict_summary({r, lost}, 2),
            "2 verdicts: 1 safe, 1 violation, 0 inconclusive; 1,234 executions in 2.00 s\n");
  r.expected = expectation::violation;
  EXPECT_TRUE(has(verdict_summary({r, lost}, 2), "; 1 not as expected; "));
}

TEST(Junit, CountsFailuresAndSkips) {
  const std::string xml = junit({sample_safe(), sample_unexpected(), sample_inconclusive()});
  EXPECT_TRUE(has(xml, "<testsuite name=\"munmap_table_free\" tests=\"3\" failures=\"1\" errors=\"0\" "
                       "skipped=\"1\" time=\"0.750000\">"))
      << xml;
  EXPECT_TRUE(has(xml, "<failure type=\"INV-UAF\" message=\"safe expected, found violation\">")) << xml;
  EXPECT_TRUE(has(xml, "<skipped message=\"inconclusive: --max-executions 10\"/>")) << xml;
}

TEST(Dot, HasAClusterACpuAndTheEdgesOfTheExecution) {
  const std::string dot = dot_graph(sample_violation());
  EXPECT_TRUE(has(dot, "subgraph cluster_0 {\n    label=\"CPU0 gup\"")) << dot;
  EXPECT_TRUE(has(dot, "s1 -> s2 [class=\"po\"")) << dot;
  EXPECT_TRUE(has(dot, "init -> s2 [class=\"rf\"")) << dot;
  EXPECT_TRUE(has(dot, "s2 -> s3 [class=\"fr\"")) << dot;
  EXPECT_FALSE(has(dot, "darkorange")) << dot;
}

TEST(Dot, ColoursStaleReads) {
  const std::string dot = dot_graph(sample_stale());
  EXPECT_TRUE(has(dot, "init -> s5 [class=\"rf\", label=\"rf\", constraint=false, color=\"darkorange\""))
      << dot;
  EXPECT_TRUE(has(dot, "s5 -> s3 [class=\"fr\"")) << dot;
}

TEST(Dot, HasCoherenceBetweenWrites) {
  result r = sample_violation();
  r.trace->steps[3].effects = {
      {.kind = effect_kind::writes, .variable = 0, .value = {"table table@0", "", ""}, .source = 3}};
  EXPECT_TRUE(has(dot_graph(r), "s3 -> s4 [class=\"co\""));
}

/// What the page's script reads.
nlohmann::json data_of(const std::string& page) {
  const std::string_view begin = "<script type=\"application/json\" id=\"trace\">";
  const std::size_t at = page.find(begin) + begin.size();
  return nlohmann::json::parse(page.substr(at, page.find("</script>", at) - at));
}

TEST(Page, CarriesTheTraceAndNeedsNothingElse) {
  std::string page = violation_page(sample_violation());
  const nlohmann::json data = data_of(page);
  EXPECT_EQ(data["property"], "INV-UAF");
  EXPECT_EQ(data["columns"].size(), 2U);
  EXPECT_EQ(data["variables"][1]["initial"]["target"], "s");
  EXPECT_EQ(data["variables"][2]["initial"]["detail"], "1 pin + 1");
  EXPECT_EQ(data["steps"][2]["effects"][0]["kind"], "writes");
  EXPECT_EQ(data["steps"][3]["effects"][0]["name"], "table@0");
  EXPECT_TRUE(has(page, "default-src 'none'"));
  EXPECT_FALSE(has(page, "src=\""));
  const std::string_view name_of_svg = "http://www.w3.org/2000/svg"; // a name, not an address
  page.erase(page.find(name_of_svg), name_of_svg.size());
  EXPECT_FALSE(has(page, "://"));
}

TEST(Page, IndexLinksEachViolation) {
  const std::string page = index_page({sample_safe(), sample_unexpected(), sample_inconclusive()},
                                      {{"munmap_table_free", "a <title>"}}, 1);
  EXPECT_TRUE(has(page, "<td class=\"safe\">safe</td>")) << page;
  EXPECT_TRUE(has(page, "<td class=\"unexpected\"><a href=\"munmap_table_free-no_rcu-arm64.html\" "
                        "title=\"INV-UAF\">VIOLATION !</a></td>"))
      << page;
  EXPECT_TRUE(has(page, "<td class=\"inconclusive\">inconclusive</td>")) << page;
  EXPECT_TRUE(has(page, "a &lt;title&gt;")) << page;
  EXPECT_TRUE(has(page, "on arm64: --max-executions 10")) << page;
}

TEST(Page, IsNotBrokenByOddText) {
  const result odd = sample_odd();
  const std::string page = violation_page(odd);
  const nlohmann::json data = data_of(page);
  EXPECT_EQ(data["steps"].size(), 5U);
  EXPECT_TRUE(data["steps"][0]["text"].get<std::string>().starts_with("a<b> & \"c\" 'd' ]]> </script>"));
  EXPECT_FALSE(has(page, "a<b>"));
  EXPECT_TRUE(has(page, "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;"));
  EXPECT_TRUE(has(page, "@style@")) << "text is not taken for a place in the template";
}

TEST(Page, NameIsSafeForAnyFileSystem) {
  EXPECT_EQ(page_name(sample_violation()), "munmap_table_free-no_rcu-arm64");
  for (const char c : page_name(sample_odd()))
    EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.') << c;
  EXPECT_EQ(file_name_part("../../etc"), "_._.._etc");
}

TEST(Escape, XmlHoldsAnyBytes) {
  EXPECT_EQ(xml_escaped("<&>\"'"), "&lt;&amp;&gt;&quot;&#39;");
  EXPECT_EQ(xml_escaped("\xe2\x86\x92 \xf0\x9f\x90\x9b"), "\xe2\x86\x92 \xf0\x9f\x90\x9b");
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(xml_escaped(std::string_view("\0", 1)), bad);
  EXPECT_EQ(xml_escaped("\x1b[1m"), bad + "[1m");
  EXPECT_EQ(xml_escaped("\xff"), bad);
  EXPECT_EQ(xml_escaped("\xe2\x86"), bad + bad) << "cut off";
  EXPECT_EQ(xml_escaped("\xc0\xaf"), bad + bad) << "an overlong /";
  EXPECT_EQ(xml_escaped("\xed\xa0\x80"), bad + bad + bad) << "half a surrogate pair";
}

TEST(Escape, TemplatesAreFilledOnce) {
  const auto value = [](std::string_view word) { return "[@" + std::string(word) + "@]"; };
  EXPECT_EQ(filled("a @b@ c @d@", value), "a [@b@] c [@d@]");
  EXPECT_EQ(filled("mail@home", value), "mail@home");
}

TEST(Json, TellsWhatEachStepDoes) {
  const nlohmann::json trace = nlohmann::json::parse(json_line(sample_stale()))["trace"];
  EXPECT_EQ(trace["variables"][0]["kind"], "entry");
  EXPECT_EQ(trace["steps"][4]["effects"][0]["missed"], 3);
}

} // namespace
} // namespace racewalk::report
