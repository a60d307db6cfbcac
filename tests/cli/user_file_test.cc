// `racewalk check FILE.cc` as a process, with the real explorer: a user's file is compiled, decided and
// replayed, and whatever is wrong with it is said.
#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/temporary_directory.h"
#include "process.h"

namespace racewalk::cli {
namespace {

namespace fs = std::filesystem;
using words = std::vector<std::string>;

class UserFile : public testing::Test {
 protected:
  UserFile() { fs::create_directory(file("tmp")); }

  outcome run(const words& arguments) {
    setenv("TMPDIR", file("tmp").c_str(), 1);
    const outcome o = process(RACEWALK_COMMAND, arguments, directory_.path()).wait();
    unsetenv("TMPDIR");
    EXPECT_TRUE(fs::is_empty(file("tmp"))) << "something was left behind";
    return o;
  }
  outcome check(const std::string& file) {
    return run({"check", file, "--arch", "x86-64,arm64", "--format", "json"});
  }

  void write(const std::string& name, const std::string& text) { std::ofstream(file(name)) << text; }
  /// A scenario in which one CPU sets a flag, and the other, or the set-up, does `what`.
  void write_body(const std::string& what) {
    write("mine.cc", R"(#include <cstdlib>
#include <stdexcept>
#include <thread>
#include "racewalk/testbed.h"
using namespace racewalk;
struct world : testbed {
  word_t data{0}, flag{0};
  explicit world(const settings&) : testbed(2) {
    describe(&flag, "flag");
    cpu([this] { WRITE_ONCE(flag, 1); READ_ONCE(data); });
)" + what + R"(
  }
};
const declare_scenario mine{{.name = "mine", .threads = {"one", "other"}, .set_up = make<world>}};
)");
  }
  void expect_refused(const std::string& file, const std::string& line) {
    const outcome o = check(file);
    EXPECT_EQ(o.status, 2) << o.err;
    EXPECT_EQ(o.out, "");
    EXPECT_NE(o.err.find("racewalk: "), std::string::npos) << o.err;
    EXPECT_NE(o.err.find(line), std::string::npos) << o.err;
  }
  fs::path file(const std::string& name) const { return fs::path(directory_.path()) / name; }

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

TEST_F(UserFile, IsDecidedAndItsCounterexampleReplayed) {
  fs::copy(RACEWALK_EXAMPLES "/mail_pin.cc", file("mail_pin.cc"));
  const outcome o = run({"check", "mail_pin.cc", "-j", "2"});
  EXPECT_EQ(o.status, 1) << o.err;
  EXPECT_NE(o.out.find("mail_pin:wmb  on arm64 (weak)  PIN-STABLE"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("smp_wmb()"), std::string::npos) << o.out;
  EXPECT_EQ(run({"check", "mail_pin.cc:mb"}).status, 0);

  EXPECT_EQ(run({"replay", "mail_pin-wmb-arm64.race"}).status, 0);
  fs::create_directory(file("elsewhere"));
  fs::rename(file("mail_pin.cc"), file("elsewhere/mail_pin.cc"));
  fs::rename(file("mail_pin-wmb-arm64.race"), file("elsewhere/saved.race"));
  EXPECT_EQ(run({"replay", "elsewhere/saved.race"}).status, 0) << "the file is beside the recording";
  fs::remove(file("elsewhere/mail_pin.cc"));
  const outcome gone = run({"replay", "elsewhere/saved.race"});
  EXPECT_EQ(gone.status, 2);
  EXPECT_NE(gone.err.find("recorded from mail_pin.cc"), std::string::npos) << gone.err;
}

TEST_F(UserFile, OfWhatIsNotMeasuredThereAreNoFigures) {
  const outcome o = run({"bench", "first tuch"});
  EXPECT_EQ(o.status, 2);
  EXPECT_EQ(o.out, "");
  EXPECT_TRUE(o.err.starts_with("racewalk: unknown figure 'first tuch'; nearest: 'fork'")) << o.err;
}

TEST_F(UserFile, NeedsAPlaceForTemporaryFiles) {
  for (const words& command : {words{"check", RACEWALK_EXAMPLES "/store_vs_munmap.cc"},
                               words{"stress", "--mix", "files", "--seconds", "1"}}) {
    setenv("TMPDIR", file("nowhere").c_str(), 1);
    const outcome o = process(RACEWALK_COMMAND, command, file(".").string()).wait();
    unsetenv("TMPDIR");
    EXPECT_EQ(o.status, 2);
    EXPECT_TRUE(o.err.starts_with("racewalk: cannot make a temporary directory in '")) << o.err;
    EXPECT_NE(o.err.find("set TMPDIR to where that can be done\n"), std::string::npos) << o.err;
  }
}

TEST_F(UserFile, KeepsWhatItExpects) {
  EXPECT_EQ(run({"check", RACEWALK_EXAMPLES "/gup_without_recheck.cc"}).status, 0);
  EXPECT_EQ(run({"check", RACEWALK_EXAMPLES "/store_vs_munmap.cc"}).status, 0);
}

TEST_F(UserFile, IsRefusedIfItIsNone) {
  expect_refused("nowhere.cc", "there is no file 'nowhere.cc'");
  write("notes.txt", "");
  expect_refused("./notes.txt", "is not a C++ source");
  fs::create_directory(file("dir.cc"));
  expect_refused("dir.cc", "cannot read 'dir.cc'");
}

TEST_F(UserFile, IsRefusedIfItDoesNotCompileOrLoad) {
  write("broken.cc", "int answer = ;\n");
  expect_refused("broken.cc", "broken.cc:1:14: error");
  expect_refused("broken.cc", "racewalk: broken.cc does not compile");
  write("empty.cc", "");
  expect_refused("empty.cc", "empty.cc declares no scenario");
  write("unlinked.cc", "int nowhere(); const int n = nowhere();");
  expect_refused("unlinked.cc", "undefined symbol: nowhere()");
  write("loads.cc", "#include <cstdlib>\nconst int n = (abort(), 1);");
  expect_refused("loads.cc", "abort() while the file is loaded");
}

TEST_F(UserFile, IsRefusedIfItsNameIsTaken) {
  write("taken.cc", R"(#include "racewalk/testbed.h"
using namespace racewalk;
struct world : testbed { explicit world(const settings&) : testbed(1) { cpu([] {}); } };
const declare_scenario mine{{.name = "pin_barrier", .set_up = make<world>}};
)");
  expect_refused("taken.cc", "there is one already");
}

TEST_F(UserFile, NeedsACompiler) {
  write("mine.cc", "");
  setenv("CXX", "no-such-compiler", 1);
  expect_refused("mine.cc", "CXX is 'no-such-compiler', which cannot be run");
  unsetenv("CXX");
  const std::string path = getenv("PATH");
  setenv("PATH", "/nowhere", 1);
  expect_refused("mine.cc", "no C++ compiler is installed: `apt-get install g++`");
  setenv("PATH", path.c_str(), 1);
}

TEST_F(UserFile, MayMakeTheCompilerWarn) {
  write_body("int unused; cpu([this] { READ_ONCE(flag); });");
  setenv("CXX", "c++ -Wall", 1);
  const outcome o = check("mine.cc");
  unsetenv("CXX");
  EXPECT_EQ(o.status, 0);
  EXPECT_NE(o.err.find("unused"), std::string::npos) << o.err;
}

TEST_F(UserFile, HasAsManyCpusAsTheExplorerHasThreads) {
  const auto with_cpus = [](const std::string& n) {
    return R"(#include "racewalk/testbed.h"
using namespace racewalk;
struct many : testbed {
  word_t x{0};
  explicit many(const settings&) : testbed()" +
           n + R"() {
    for (unsigned i = 0; i < )" +
           n + R"(; i++) cpu([this] { READ_ONCE(x); });
  }
};
const declare_scenario mine{{.name = "many", .set_up = make<many>}};
)";
  };
  write("many.cc", with_cpus("16"));
  EXPECT_EQ(check("many.cc").status, 0);
  write("many.cc", with_cpus("17"));
  const outcome o = check("many.cc");
  EXPECT_EQ(o.status, 3);
  EXPECT_NE(o.out.find("more than 16 CPUs have bodies"), std::string::npos) << o.out;
}

/// Something that a user's code does wrong, and what is said about it on each architecture.
struct wrong {
  const char* name;
  const char* code;
  int status;
  const char* property;
  const char* reason;
};

class Wrong : public UserFile, public testing::WithParamInterface<wrong> {};

TEST_P(Wrong, IsSaidAndTheToolGoesOn) {
  const wrong& w = GetParam();
  write_body(w.code);
  const outcome o = check("mine.cc");
  EXPECT_EQ(o.status, w.status) << o.err;
  const std::vector<nlohmann::json> lines = json_lines(o.out);
  ASSERT_EQ(lines.size(), 2U) << o.out << o.err;
  for (const nlohmann::json& line : lines) {
    EXPECT_EQ(line["verdict"], w.status == 1 ? "violation" : "inconclusive");
    EXPECT_EQ(line["property"], w.property);
    EXPECT_NE(line["reason"].get<std::string>().find(w.reason), std::string::npos) << line["reason"];
    if (w.status != 1) continue;
    const nlohmann::json& last = line["trace"]["steps"].back();
    EXPECT_EQ(last["column"], 1U) << "the thread that did it";
    EXPECT_EQ(last["file"].get<std::string>().substr(last["file"].get<std::string>().rfind('/') + 1),
              "mine.cc");
  }
  if (w.status == 1) {
    EXPECT_EQ(run({"replay", "mine-as_written-arm64.race"}).status, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Things, Wrong,
    testing::Values(
        wrong{"segfault", "cpu([this] { if (READ_ONCE(flag)) *reinterpret_cast<volatile int*>(8) = 1; });", 1,
              "CRASH", "segmentation fault, after this step"},
        wrong{"abort", "cpu([this] { if (READ_ONCE(flag)) abort(); });", 1, "CRASH", "abort()"},
        wrong{"recursion",
              "struct deep { static int er(int n) { volatile char c[500]; c[0] = 1; return er(n) + c[0]; } };"
              "cpu([this] { if (READ_ONCE(flag)) deep::er(1); });",
              1, "CRASH", "stack overflows"},
        wrong{"exception", "cpu([this] { if (READ_ONCE(flag)) throw std::runtime_error(\"oops\"); });", 1,
              "EXCEPTION", "oops"},
        wrong{"endless", "cpu([this] { if (READ_ONCE(flag)) for (volatile int i = 0;;) i = i + 1; });", 1,
              "INV-LIVE", "runs without end"},
        wrong{"spins", "cpu([this] { while (!READ_ONCE(flag)) {} });", 3, "",
              "more than 320 events, or 255 of one CPU"},
        wrong{"set_up", "cpu([this] { READ_ONCE(flag); }); abort();", 3, "", "abort() in the set-up"},
        wrong{"property", "cpu([this] { READ_ONCE(flag); }); finally([] { abort(); });", 3, "",
              "abort() in the property"},
        wrong{"static_that_changes",
              "cpu([this] { static int n; if (++n % 3 == 0) WRITE_ONCE(data, 1); READ_ONCE(flag); });", 3, "",
              "not a function of what it reads: CPU1"},
        wrong{"thread", "cpu([this] { std::thread([this] { WRITE_ONCE(data, 2); }).join(); });", 3, "",
              "behind the explorer's back, in scenario() mine.cc:"},
        wrong{"sleeps_in_a_section",
              "cpu([this] { rcu_read_lock(); if (READ_ONCE(flag)) synchronize_rcu(); rcu_read_unlock(); });",
              1, "INV-LIVE", "in an RCU read-side section since scenario() mine.cc:"},
        wrong{"exits", "cpu([this] { READ_ONCE(flag); exit(5); });", 3, "", "ended by exit(5)"},
        wrong{"too_many_bodies", "cpu([] {}); cpu([] {});", 3, "", "more bodies than CPUs"}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_F(UserFile, LeavesNothingBehindWhenInterrupted) {
  write("slow.cc", "");
  write("compiler",
        "#!/bin/sh\ntouch \"$TMPDIR/its_own\"\ntouch at_work\nwhile [ ! -e enough ]; do sleep 0.01; done\n");
  fs::permissions(file("compiler"), fs::perms::owner_all);
  setenv("CXX", file("compiler").c_str(), 1);
  process p(RACEWALK_COMMAND, {"check", "slow.cc"}, file("").string());
  unsetenv("CXX");
  while (!fs::exists(file("at_work")))
    usleep(1000);
  p.signal(SIGINT);
  write("enough", "");
  EXPECT_EQ(p.wait().status, 3);
  EXPECT_TRUE(fs::is_empty(file("tmp")));
}

TEST_F(UserFile, KeepsItsHandsOffResults) {
  write_body("cpu([this] { READ_ONCE(flag); puts(\"hello\"); });");
  const outcome o = check("mine.cc");
  EXPECT_EQ(o.status, 0) << o.err;
  EXPECT_EQ(json_lines(o.out).size(), 2U);
  EXPECT_NE(o.err.find("hello"), std::string::npos);
}

} // namespace
} // namespace racewalk::cli
