// A .race file reads back what was written, and is refused when anything about it is not as it was written.
#include "report/race_file.h"

#include <gtest/gtest.h>

#include "sample.h"

namespace racewalk::report {
namespace {

/// The line with which `text` is refused, or nothing.
std::string refusal(const std::string& text) {
  try {
    read_race_file(text);
  } catch (const bad_race_file& e) {
    return e.what();
  }
  return "";
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(RaceFile, ReadsBackWhatWasWritten) {
  const result r = sample_violation();
  const race_file file = read_race_file(write_race_file(r));
  EXPECT_EQ(file.scenario, r.scenario);
  EXPECT_EQ(file.variant, r.variant);
  EXPECT_EQ(file.arch, r.arch);
  EXPECT_EQ(file.model, r.model);
  EXPECT_EQ(file.property, r.property);
  EXPECT_EQ(file.schedule, r.trace->schedule);
}

TEST(RaceFile, ShowsTheTableToAReader) {
  EXPECT_NE(write_race_file(sample_violation()).find("R pmd[0] -> table pfn=3"), std::string::npos);
}

TEST(RaceFile, IsRefusedWhenTruncatedAnywhere) {
  const std::string whole = write_race_file(sample_violation());
  for (std::size_t size = 0; size < whole.size(); size++)
    EXPECT_NE(refusal(whole.substr(0, size)), "") << "the first " << size << " bytes were accepted";
}

TEST(RaceFile, IsRefusedWhenAnyByteWasEdited) {
  const std::string whole = write_race_file(sample_violation());
  for (std::size_t at = 0; at < whole.size(); at++) {
    std::string edited = whole;
    edited[at] ^= 1;
    EXPECT_NE(refusal(edited), "") << "byte " << at << " was changed and accepted";
  }
}

TEST(RaceFile, SaysWhatIsWrong) {
  const std::string whole = write_race_file(sample_violation());
  EXPECT_NE(refusal("hello\n").find("is not a .race file"), std::string::npos);
  EXPECT_NE(refusal(replaced(whole, "race 1 ", "race 9 ")).find("another version"), std::string::npos);
  EXPECT_NE(refusal(replaced(whole, RACEWALK_VERSION, "99.0.0")).find("another version"), std::string::npos);
  EXPECT_NE(refusal(whole.substr(0, whole.size() / 2)).find("truncated"), std::string::npos);
  EXPECT_NE(refusal(replaced(whole, "no_rcu", "no_rrr")).find("edited"), std::string::npos);
}

} // namespace
} // namespace racewalk::report
