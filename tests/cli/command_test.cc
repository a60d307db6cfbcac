// The command as a process: its words, its exit statuses, and what it says to wrong usage. A fake explorer is
// behind it (fake_engine.cc), so nothing here depends on a verdict.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "cli/temporary_directory.h"
#include "process.h"

namespace racewalk::cli {
namespace {

using words = std::vector<std::string>;

class Command : public testing::Test {
 protected:
  process start(const words& arguments) { return process(RACEWALK_COMMAND, arguments, directory_.path()); }
  outcome run(const words& arguments) { return start(arguments).wait(); }

  /// Wrong usage: exit 2, nothing on stdout, one line on stderr that has `line` in it.
  void expect_refused(const words& arguments, const std::string& line) {
    const outcome o = run(arguments);
    EXPECT_EQ(o.status, 2) << o.err;
    EXPECT_EQ(o.out, "");
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
    EXPECT_TRUE(o.err.starts_with("racewalk: ")) << o.err;
    EXPECT_NE(o.err.find(line), std::string::npos) << o.err;
  }

  std::filesystem::path file(const std::string& name) const {
    return std::filesystem::path(directory_.path()) / name;
  }
  std::string text_of(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(file(name)).rdbuf();
    return text.str();
  }
  words names_in(const std::string& name) const {
    words names;
    for (const auto& entry : std::filesystem::directory_iterator(file(name)))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  const temporary_directory directory_;
};

std::vector<nlohmann::json> json_lines(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST_F(Command, RefusesWhatItDoesNotKnow) {
  expect_refused({}, "no command given");
  expect_refused({"chekc"}, "unknown command 'chekc'; nearest: 'check'");
  expect_refused({"check", "munmap_table_fre"},
                 "unknown scenario 'munmap_table_fre'; nearest: 'munmap_table_free'");
  expect_refused({"check", "munmap_table_free:no_rcv"}, "'no_rcv'; nearest: 'no_rcu'");
  expect_refused({"check", "munmap_table_free:"}, "unknown variant of munmap_table_free ''");
  expect_refused({"check", "--arch", "arm"}, "unknown architecture 'arm'; nearest: 'arm64'");
  expect_refused({"check", "--arch", "arm64,x86"}, "unknown architecture 'x86'; nearest: 'x86-64'");
  expect_refused({"check", "--model", "tos"}, "unknown model 'tos'; nearest: 'tso' (choices: sc, tso, weak)");
  expect_refused({"check", "--format", "jsn"}, "unknown format 'jsn'; nearest: 'json'");
  expect_refused({"check", "--max-execution", "3"},
                 "unknown option '--max-execution'; nearest: '--max-executions'");
  expect_refused({"list", "--jsn"}, "unknown option '--jsn'; nearest: '--json'");
  expect_refused({"list", "everything"}, "list takes no argument 'everything'");
  expect_refused({"litmus"}, "FILE|DIR is required");
}

TEST_F(Command, RefusesBoundsThatBoundNothing) {
  expect_refused({"check", "-j", "0"}, "-j: '0' is not a whole number from 1 up; nearest valid: 1");
  expect_refused({"check", "-j", "-3"}, "-j");
  expect_refused({"check", "-j", "two"}, "-j: 'two'");
  expect_refused({"check", "--max-executions", "0"}, "--max-executions: '0'");
  expect_refused({"check", "--max-executions", "1e3"}, "--max-executions: '1e3'");
  expect_refused({"check", "--random", "0"}, "--random: '0'");
  expect_refused({"check", "--random", "9", "--seed", "-1"}, "--seed: '-1'");
  expect_refused({"check", "--timeout", "0"}, "--timeout: '0'");
  expect_refused({"check", "--timeout", "nan"}, "--timeout: 'nan'");
  expect_refused({"stress", "--seconds", "0"}, "--seconds: '0'");
  expect_refused({"stress", "--seed", "x"}, "--seed: 'x'");
  expect_refused({"stress", "--mix", "thb"}, "thb");
  expect_refused({"stress", "--threads", "0"}, "--threads: '0'");
  expect_refused({"stress", "--threads", "64"}, "nearest valid: 59");
  expect_refused({"stress", "--fail-nth", "0"}, "--fail-nth: '0'");
  expect_refused({"stress", "--fail-probability", "1.5"}, "--fail-probability: '1.5'");
  expect_refused({"stress", "--memory", "3"}, "nearest valid: 4");
  expect_refused({"stress", "--swap", "1T"}, "--swap: '1T'");
  expect_refused({"stress", "--preempt", "0"}, "--preempt: '0'");
  expect_refused({"stress", "--preempt", "1000000"}, "nearest valid: 100000");
}

TEST_F(Command, AcceptsNoOptionThatItWouldIgnore) {
  expect_refused({"check", "--format", "tap"}, "unknown format 'tap'; nearest: 'ktap'");
  expect_refused({"check", "--seed", "3"}, "--seed is the seed of --random");
  expect_refused({"check", "--random", "9", "--max-executions", "9"}, "--max-executions is for the search");
  expect_refused({"check", "--random", "9", "--no-reduction", "all"}, "--no-reduction is for the search");
  expect_refused({"check", "--random", "9", "--departures", "2"}, "--departures is for the search");
  expect_refused({"check", "--departures", "few"}, "--departures: 'few'");
  expect_refused({"check", "--random", "9", "--switches", "2"}, "--switches is for the search");
  expect_refused({"check", "--switches", "-1"}, "--switches: '-1'");
  expect_refused({"check", "mine.cc"}, "no compiler behind mine.cc");
}

TEST_F(Command, RefusesARaceFileThatIsNotAsItWasWritten) {
  run({"check", "munmap_table_free:no_rcu", "--arch", "arm64"});
  const std::string name = "munmap_table_free-no_rcu-arm64.race";
  std::ostringstream text;
  text << std::ifstream(file(name)).rdbuf();
  const std::string whole = text.str();
  ASSERT_GT(whole.size(), 100U);

  std::ofstream(file("short.race")) << whole.substr(0, whole.size() / 2);
  expect_refused({"replay", "short.race"}, "short.race is truncated");
  std::string edited = whole;
  edited.replace(edited.find("weak"), 4, "next");
  std::ofstream(file("edited.race")) << edited;
  expect_refused({"replay", "edited.race"}, "edited.race was edited");
  std::string other = whole;
  other.replace(other.find(" 1 "), 3, " 7 ");
  std::ofstream(file("other.race")) << other;
  expect_refused({"replay", "other.race"}, "written by another version");
  expect_refused({"replay", "nowhere.race"}, "cannot read 'nowhere.race'");
  expect_refused({"replay"}, "FILE.race");
}

TEST_F(Command, ReplaysWhatItSaved) {
  const outcome checked = run({"check", "munmap_table_free:no_rcu", "--arch", "arm64"});
  EXPECT_NE(checked.out.find("racewalk replay munmap_table_free-no_rcu-arm64.race"), std::string::npos)
      << checked.out;
  const outcome replayed = run({"replay", "munmap_table_free-no_rcu-arm64.race"});
  EXPECT_EQ(replayed.status, 0) << replayed.err;
  EXPECT_NE(replayed.out.find("| CPU1 munmap"), std::string::npos) << replayed.out;
}

TEST_F(Command, SavesNothingUnlessAskedByName) {
  run({"check", "--timeout", "0.2"});
  for (const auto& entry : std::filesystem::directory_iterator(file("")))
    EXPECT_NE(entry.path().extension(), ".race") << entry.path();
}

TEST_F(Command, PrintsTheRaceTableAboveTheVerdicts) {
  const outcome o = run({"check", "S1.4"});
  EXPECT_EQ(o.status, 0) << o.err;
  EXPECT_EQ(o.err, "");
  const std::size_t race = o.out.find("free pfn=3");
  const std::size_t verdict = o.out.find("VIOLATION");
  EXPECT_LT(race, verdict) << o.out;
  EXPECT_NE(o.out.find("The same steps lose on arm64."), std::string::npos) << o.out;
  EXPECT_EQ(o.out.find('\033'), std::string::npos) << "colours in a pipe";
}

TEST_F(Command, DecidesOnTheArchitecturesThatAnArgumentIsAbout) {
  const auto archs_of = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> archs;
    for (const nlohmann::json& line : json_lines(run(arguments).out))
      archs.push_back(line["arch"]);
    return archs;
  };
  using names = std::vector<std::string>;
  EXPECT_EQ(archs_of({"check", "munmap_table_free:call_rcu", "--format", "json", "-j", "1"}),
            (names{"x86-64", "arm64"}));
  EXPECT_EQ(archs_of({"check", "elsewhere", "--format", "json"}), names{"arm64-old"});
  expect_refused({"check", "elsewhere", "--arch", "arm64"},
                 "no named scenario runs on the named architectures");
}

TEST_F(Command, PrintsFormatsForCi) {
  const outcome ktap = run({"check", "munmap_table_free", "odd_ends:wrong", "--format", "ktap"});
  EXPECT_EQ(ktap.status, 1);
  EXPECT_TRUE(ktap.out.starts_with("KTAP version 1\n1..2\n  KTAP version 1\n")) << ktap.out;
  EXPECT_TRUE(ktap.out.ends_with("\nnot ok 2 odd_ends\n")) << ktap.out;
  const outcome junit = run({"check", "munmap_table_free", "--format", "junit"});
  EXPECT_EQ(junit.status, 0) << junit.err;
  EXPECT_TRUE(junit.out.starts_with("<?xml")) << junit.out;
  EXPECT_TRUE(junit.out.ends_with("</testsuites>\n")) << junit.out;
}

TEST_F(Command, WritesAPageForEachViolationAndAnIndex) {
  std::filesystem::create_directory(file("pages"));
  std::ofstream(file("pages/notes.html")) << "mine";
  std::ofstream(file("pages/index.html")) << "an old index";
  for (int again = 0; again < 2; again++) {
    const outcome o = run({"check", "munmap_table_free", "--report", "pages"});
    EXPECT_EQ(o.status, 0) << o.err;
    EXPECT_NE(o.out.find("pages: pages/index.html\n"), std::string::npos) << o.out;
    EXPECT_EQ(
        names_in("pages"),
        (words{"index.html", "munmap_table_free-no_rcu-arm64.dot", "munmap_table_free-no_rcu-arm64.html",
               "munmap_table_free-no_rcu-x86-64.dot", "munmap_table_free-no_rcu-x86-64.html", "notes.html"}));
  }
  EXPECT_EQ(text_of("pages/notes.html"), "mine");
  EXPECT_NE(text_of("pages/index.html").find("href=\"munmap_table_free-no_rcu-arm64.html\""),
            std::string::npos);
}

TEST_F(Command, KeepsFormatsForScriptsFreeOfOtherWords) {
  const outcome o = run({"check", "S1.4:b", "--format", "json", "--report", "pages"});
  EXPECT_EQ(json_lines(o.out).size(), 2U) << o.out;
  EXPECT_TRUE(std::filesystem::exists(file("pages/index.html")));
}

TEST_F(Command, RefusesAReportThatCannotBeWrittenBeforeItDecidesAnything) {
  std::ofstream(file("plain")) << "a file";
  expect_refused({"check", "--report", "plain"},
                 "cannot write plain: it is not a directory; name a directory");
  EXPECT_EQ(text_of("plain"), "a file");
  expect_refused({"check", "--report", "no/where"},
                 "cannot write no/where: No such file or directory; make its parent directory first");
  EXPECT_FALSE(std::filesystem::exists(file("no")));
  expect_refused({"check", "--report", "/proc/here"}, "cannot write /proc/here: ");
  expect_refused({"check", "--report", ""}, "--report: no directory named");
  expect_refused({"check", "--report"}, "--report");
}

TEST_F(Command, LeavesNothingHalfWrittenOnAFullDisk) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_action = std::signal(SIGXFSZ, SIG_IGN); // a write then fails, as it does on a full disk
  const rlimit small{16'000, before.rlim_max};           // less than a page, more than is printed
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  process p = start({"check", "S1.4:b", "--arch", "arm64", "--format", "ktap", "--report", "pages"});
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_action);
  const outcome o = p.wait();
  EXPECT_EQ(o.status, 2) << o.err;
  EXPECT_NE(o.err.find("racewalk: cannot write pages/"), std::string::npos) << o.err;
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
  EXPECT_FALSE(std::filesystem::exists(file("pages"))) << "the directory was made for nothing";
}

TEST_F(Command, SaysWhenAVerdictIsNotTheExpectedOne) {
  const outcome o = run({"check", "odd_ends:wrong"});
  EXPECT_EQ(o.status, 1);
  EXPECT_NE(o.out.find("safe !"), std::string::npos) << o.out;
}

TEST_F(Command, NamesTheBoundThatWasHit) {
  const outcome bound = run({"check", "odd_ends:endless", "--max-executions", "7"});
  EXPECT_EQ(bound.status, 3);
  EXPECT_NE(bound.out.find("--max-executions 7"), std::string::npos) << bound.out;
  const outcome timeout = run({"check", "odd_ends:endless", "--timeout", "0.2"});
  EXPECT_EQ(timeout.status, 3);
  EXPECT_NE(timeout.out.find("--timeout 0.2"), std::string::npos) << timeout.out;
  const outcome memory = run({"check", "odd_ends:greedy"});
  EXPECT_EQ(memory.status, 3);
  EXPECT_NE(memory.out.find("out of memory"), std::string::npos) << memory.out;
}

TEST_F(Command, PrintsWhatIsKnownWhenInterrupted) {
  process p = start({"check", "munmap_table_free", "odd_ends:endless", "-j", "1"});
  while (!std::filesystem::exists(file("endless.runs")))
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  p.signal(SIGINT);
  const outcome o = p.wait();
  EXPECT_EQ(o.status, 3) << o.err;
  EXPECT_NE(o.out.find("VIOLATION"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("interrupted"), std::string::npos) << o.out;
}

TEST_F(Command, OrdersJsonLinesWhateverTheThreads) {
  const words arguments = {"check", "--format", "json", "--max-executions", "5", "-j"};
  std::string first;
  for (const char* threads : {"1", "4"}) {
    words with_threads = arguments;
    with_threads.emplace_back(threads);
    const outcome o = run(with_threads);
    EXPECT_EQ(o.status, 1);
    if (first.empty()) first = o.out;
    EXPECT_EQ(o.out, first);
  }
  const std::vector<nlohmann::json> lines = json_lines(first);
  ASSERT_EQ(lines.size(), 10U);
  EXPECT_EQ(lines[0]["arch"], "x86-64");
  EXPECT_EQ(lines[1]["arch"], "arm64");
}

TEST_F(Command, ChecksOnlyTheNamedArchitecturesAndModel) {
  const outcome o = run({"check", "S1.4:a", "--arch", "arm64", "--model", "sc", "--format", "json"});
  EXPECT_EQ(o.status, 0) << o.err;
  const std::vector<nlohmann::json> lines = json_lines(o.out);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["arch"], "arm64");
  EXPECT_EQ(lines[0]["model"], "sc");
}

TEST_F(Command, DrawsExecutionsAtRandom) {
  const words arguments = {"check", "munmap_table_free:call_rcu", "--arch", "arm64", "--random", "12"};
  const outcome o = run(arguments);
  EXPECT_EQ(o.status, 3) << o.err;
  EXPECT_NE(o.out.find("12 random, seed 1"), std::string::npos) << o.out;
  words seeded = arguments;
  seeded.insert(seeded.end(), {"--seed", "7"});
  EXPECT_NE(run(seeded).out.find("12 random, seed 7"), std::string::npos);
}

TEST_F(Command, ListsScenarios) {
  const outcome text = run({"list"});
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.out.find("S1.4  munmap_table_free"), std::string::npos) << text.out;
  const std::vector<nlohmann::json> lines = json_lines(run({"list", "--json"}).out);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0]["variants"].size(), 2U);
}

TEST_F(Command, PassesOptionsOn) {
  EXPECT_EQ(run({"stress", "--seconds", "2", "--seed", "9"}).out,
            "stress seconds=2 seed=9 mix=maps threads=0 fail_nth=0 fail_probability=0 memory=0 swap=0 "
            "preempt=0\n");
  EXPECT_EQ(run({"stress", "--seconds", "2", "--mix", "thp", "--threads", "8", "--fail-nth", "100",
                 "--fail-probability", "0.25", "--memory", "8", "--swap", "64", "--preempt", "250"})
                .out,
            "stress seconds=2 seed=1 mix=thp threads=8 fail_nth=100 fail_probability=0.25 memory=8 swap=64 "
            "preempt=250\n");
  for (const words& arguments : {words{"stress", "--preempt"}, words{"stress", "--preempt", "--seed", "1"}})
    EXPECT_NE(run(arguments).out.find(" seed=1 "), std::string::npos);
  EXPECT_NE(run({"stress", "--preempt"}).out.find(" preempt=1000\n"), std::string::npos);
  EXPECT_EQ(run({"bench"}).out, "bench\n");
  EXPECT_EQ(run({"bench", "huge", "of memory"}).out, "bench huge of memory\n");
  EXPECT_EQ(run({"--version"}).out, "racewalk " RACEWALK_VERSION "\n");
  EXPECT_EQ(run({"check", "--help"}).status, 0);
}

} // namespace
} // namespace racewalk::cli
