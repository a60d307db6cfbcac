// `racewalk stress --preempt` as a process: threads are stopped, by every mix, and nothing comes of it.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "cli/temporary_directory.h"
#include "process.h"

namespace racewalk::cli {
namespace {

constexpr const char* stops = "times that a thread was stopped";

class Stress : public testing::Test {
 protected:
  outcome run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"stress", "--seconds", "0.5"});
    return process(RACEWALK_COMMAND, arguments, directory_.path()).wait();
  }
  /// The number that is printed behind these words, with its commas; 0 if there is none.
  static unsigned long count(const outcome& o, const std::string& words) {
    const std::size_t at = o.out.find(words);
    if (at == std::string::npos) return 0;
    std::string digits = o.out.substr(at + words.size(), o.out.find('\n', at) - at - words.size());
    std::erase(digits, ',');
    return std::stoul(digits);
  }

  const temporary_directory directory_;
};

TEST_F(Stress, StopsThreadsWhateverElseItDoes) {
  for (const char* mix : {"maps", "thp", "files"}) {
    const outcome o = run({"--mix", mix, "--threads", "3", "--memory", "16", "--swap", "16",
                           "--fail-probability", "0.001", "--preempt", "2000"});
    EXPECT_EQ(o.status, 0) << o.out << o.err;
    EXPECT_GT(count(o, stops), 0U) << o.out;
  }
}

TEST_F(Stress, StopsNoneUnlessAskedTo) {
  const outcome o = run({});
  EXPECT_EQ(o.status, 0) << o.out << o.err;
  EXPECT_EQ(o.out.find(stops), std::string::npos) << o.out;
}

/// The signal that ends a run comes in between those that stop threads.
TEST_F(Stress, IsInterruptedAsEver) {
  process running(RACEWALK_COMMAND, {"stress", "--seconds", "600", "--preempt"}, directory_.path());
  const std::string stdout_of_it = directory_.path() + "/stdout";
  while (!std::filesystem::exists(stdout_of_it) || std::filesystem::file_size(stdout_of_it) == 0)
    std::this_thread::sleep_for(
        std::chrono::milliseconds(1)); // its first line comes once it can be interrupted
  running.signal(SIGINT);
  const outcome o = running.wait();
  EXPECT_EQ(o.status, 3) << o.out << o.err;
  EXPECT_NE(o.out.find(stops), std::string::npos) << o.out;
}

} // namespace
} // namespace racewalk::cli
