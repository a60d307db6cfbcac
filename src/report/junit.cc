#include "report/junit.h"

#include <algorithm>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/race_table.h"

namespace racewalk::report {
namespace {

/// What a suite, and the whole, adds up to.
struct totals {
  std::size_t tests = 0;
  std::size_t failures = 0;
  std::size_t skipped = 0;
  double seconds = 0;

  void add(const result& r) {
    tests++;
    failures += !r.as_expected();
    skipped += r.verdict == verdict::inconclusive;
    seconds += r.seconds;
  }
  [[nodiscard]] std::string attributes() const {
    return fmt::format("tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.6f}\"", tests,
                       failures, skipped, seconds);
  }
};

std::string body_of(const result& r) {
  const std::string table = r.trace ? xml_escaped(race_table(r, {})) : "";
  if (r.verdict == verdict::inconclusive)
    return fmt::format("      <skipped message=\"inconclusive: {}\"/>\n", xml_escaped(one_line(r.reason)));
  if (!r.as_expected())
    return fmt::format("      <failure type=\"{}\" message=\"{} expected, found {}\">{}</failure>\n",
                       xml_escaped(r.property.empty() ? "verdict" : r.property), to_string(r.expected),
                       to_string(r.verdict), table);
  return r.trace ? fmt::format("      <system-out>{}</system-out>\n", table) : "";
}

std::string case_of(const result& r) {
  return fmt::format(
      "    <testcase classname=\"racewalk.{}\" name=\"{}\" time=\"{:.6f}\">\n{}    </testcase>\n",
      xml_escaped(r.scenario), xml_escaped(fmt::format("{} on {}", r.variant, r.arch)), r.seconds,
      body_of(r));
}

} // namespace

std::string junit(const std::vector<result>& results) {
  std::string suites;
  totals all;
  for (auto begin = results.begin(); begin != results.end();) {
    totals suite;
    std::string cases;
    auto end = begin;
    for (; end != results.end() && end->scenario == begin->scenario; ++end) {
      suite.add(*end);
      all.add(*end);
      cases += case_of(*end);
    }
    suites += fmt::format("  <testsuite name=\"{}\" {}>\n{}  </testsuite>\n", xml_escaped(begin->scenario),
                          suite.attributes(), cases);
    begin = end;
  }
  return fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"racewalk\" {}>\n{}"
                     "</testsuites>\n",
                     all.attributes(), suites);
}

} // namespace racewalk::report
