// Whole files: this project's own tests, with the counts of executions that the reference tool finds; the
// kernel tree's, each against its `Result:` line; and shapes at which enumerating blindly takes minutes.
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "judged.h"

namespace racewalk::litmus {
namespace {

struct answer {
  const char* name;
  const char* observation;
};

class suite : public testing::TestWithParam<answer> {};

TEST_P(suite, observation_and_counts_are_the_references) {
  const std::string file = std::string(RACEWALK_LITMUS_TESTS "/") + GetParam().name + ".litmus";
  EXPECT_EQ(observed(text_of(file)), GetParam().observation);
}

constexpr answer answers[] = {
    {"counter-mb", "Never 0 3"},
    {"counter-nomb", "Sometimes 1 3"},
    {"exclusive", "Never 0 16"},
    {"fork-firstpin-mb", "Never 0 9"},
    {"fork-firstpin", "Sometimes 1 9"},
    {"fork-large-mb", "Never 0 9"},
    {"fork-large", "Sometimes 1 9"},
    {"fork-small", "Never 0 7"},
    {"invalid-gup", "Sometimes 1 10"},
    {"mkclean-lock2", "Sometimes 1 11"},
    {"mkclean-locks", "Sometimes 1 11"},
    {"mkclean-mb", "Never 0 9"},
    {"mkclean-rmb", "Sometimes 1 11"},
    {"mkclean-xchg", "Never 0 11"},
    {"pending-otherptl", "Sometimes 1 3"},
    {"pending-ptl", "Never 0 3"},
    {"pin-after", "Never 0 3"},
    {"pin-mb", "Never 0 3"},
    {"pin-ret", "Never 0 3"},
    {"pin-wmb", "Sometimes 1 3"},
    {"serialize-mb", "Never 0 3"},
    {"serialize-nomb", "Sometimes 1 3"},
    {"switchmm", "Sometimes 1 3"},
    {"uffd-anonvma", "Never 0 3"},
    {"valid-gup", "Never 0 11"},
};

// How many executions there are follows from counting: orders of the operations on one word, or of the
// critical sections of one lock; in a ring of N store buffers every combination is possible; of N readers
// that all read what the next one writes, all combinations but the full circle are.
constexpr answer large_answers[] = {
    {"large/atomic-return-6", "Sometimes 120 600"},
    {"large/atomic-return-8", "Sometimes 5040 35280"},
    {"large/locks-5", "Sometimes 6 114"},
    {"large/locks-3x2", "Never 0 90"},
    {"large/rcu-8-4", "Never 0 255"},
    {"large/rounds-4", "Sometimes 1 4899"},
    {"large/sb-14", "Sometimes 1 16383"},
};

std::string name_of(const testing::TestParamInfo<answer>& info) {
  std::string name = info.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(own, suite, testing::ValuesIn(answers), name_of);
INSTANTIATE_TEST_SUITE_P(large, suite, testing::ValuesIn(large_answers), name_of);

/// Where the kernel's litmus tests are, unpacked once from the distribution's package; empty if it is not
/// installed.
std::string kernel_tests() {
  const std::string archive = "/usr/src/linux-source-6.1.tar.xz";
  std::string directory = RACEWALK_KERNEL_TESTS;
  if (std::filesystem::exists(directory + "/unpacked")) return directory;
  if (!std::filesystem::exists(archive)) return {};
  std::filesystem::create_directories(directory);
  const std::string command =
      "tar xf " + archive + " -C '" + directory +
      "' --strip-components=1 --wildcards '*/tools/memory-model/litmus-tests/*.litmus' "
      "'*/Documentation/litmus-tests/*.litmus' && touch '" +
      directory + "/unpacked'";
  return std::system(command.c_str()) == 0 ? directory
                                           : std::string(); // NOLINT: nothing here is a stranger's
}

TEST(kernel_tree, every_observation_is_the_tests_result) {
  const std::string directory = kernel_tests();
  if (directory.empty())
    GTEST_SKIP() << "the package linux-source-6.1, which has the kernel's tests, is not installed";
  unsigned judged = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.path().extension() != ".litmus") continue;
    const litmus_test test = parse(text_of(entry.path().string()));
    EXPECT_FALSE(test.expected.empty()) << test.name;
    EXPECT_EQ(observation(judge(test)), test.expected) << test.name;
    judged++;
  }
  EXPECT_EQ(judged, 38U);
}

} // namespace
} // namespace racewalk::litmus
