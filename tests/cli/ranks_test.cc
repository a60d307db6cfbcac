// `mpirun -n N racewalk check`, as a user starts it: the same results as without, and what happens when a
// rank ends early.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/temporary_directory.h"
#include "process.h"

namespace racewalk::cli {
namespace {

namespace fs = std::filesystem;
using json = nlohmann::json;

constexpr const char* RING = RACEWALK_TEST_SCENARIOS "/ring.cc";

class ranks : public ::testing::Test {
 protected:
  ranks() {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
    unsetenv("OMPI_MCA_orte_enable_recovery");
    unsetenv("OMPI_MCA_odls_base_sigkill_timeout");
    setenv("OMPI_MCA_orte_tmpdir_base", directory_.path().c_str(), 1); // others may run mpirun, and clean up
  }

  /// The others go on without a rank that dies.
  static void let_survivors_go_on() { setenv("OMPI_MCA_orte_enable_recovery", "1", 1); }
  /// mpirun waits so long before it ends a rank with SIGKILL: a busy machine is slow to say what is known.
  static void give_time_for_last_words() { setenv("OMPI_MCA_odls_base_sigkill_timeout", "10", 1); }

  process start(const std::string& n, std::vector<std::string> arguments, const char* format = "json") {
    arguments.insert(arguments.begin(), {"-n", n, RACEWALK_COMMAND, "check", "--format", format});
    return {RACEWALK_MPIRUN, arguments, directory_.path()};
  }
  /// One object a result, without the time that it took.
  static std::vector<json> results(const outcome& o) {
    std::vector<json> all;
    std::istringstream lines(o.out);
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with('{')) continue; // mpirun's own words
      all.push_back(json::parse(line));
      all.back().erase("seconds");
    }
    return all;
  }
  std::vector<json> results_without_mpi(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"check", "--format", "json"});
    return results(process(RACEWALK_COMMAND, arguments, directory_.path()).wait());
  }

  const temporary_directory directory_;
};

struct stat_line {
  pid_t parent = 0;
  long ticks = 0; ///< of CPU time
  bool ours = false;
};

std::map<pid_t, stat_line> processes() {
  std::map<pid_t, stat_line> all;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    std::ifstream file(entry.path() / "stat");
    if (!std::isdigit(static_cast<unsigned char>(pid[0])) || !file) continue;
    std::string line;
    std::getline(file, line);
    const bool ours = line.find("(racewalk)") != std::string::npos;
    std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 1)));
    std::vector<std::string> words{std::istream_iterator<std::string>(rest), {}};
    if (words.size() > 12) all[std::stoi(pid)] = {std::stoi(words[1]), std::stol(words[11]), ours};
  }
  return all;
}

/// The process that mpirun started as that rank, among the descendants of this one; 0: none yet.
pid_t process_of_rank(const std::string& rank, const std::map<pid_t, stat_line>& all) {
  const auto has_rank = [&](pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
    const std::string environment{std::istreambuf_iterator<char>(file), {}};
    return environment.find("OMPI_COMM_WORLD_RANK=" + rank + '\0') != std::string::npos;
  };
  for (const auto& [pid, line] : all)
    if (const auto parent = all.find(line.parent);
        parent != all.end() && parent->second.parent == getpid() && has_rank(pid))
      return pid;
  return 0;
}

/// CPU time of the descendants that do a rank's work. (A compiler does not.)
long work_of(pid_t rank, const std::map<pid_t, stat_line>& all) {
  long sum = 0;
  for (const auto& [pid, line] : all)
    if (line.parent == rank && line.ours) sum += line.ticks + work_of(pid, all);
  return sum;
}

/// Kills the rank once it has worked for a while, and returns which process it was; 0: it never did, and all
/// has ended.
pid_t kill_at_work(const std::string& rank, const process& mpirun) {
  const long enough = sysconf(_SC_CLK_TCK) / 2;
  while (!mpirun.has_ended()) {
    const std::map<pid_t, stat_line> all = processes();
    if (const pid_t pid = process_of_rank(rank, all); pid > 0 && work_of(pid, all) > enough) {
      kill(pid, SIGKILL);
      return pid;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return 0;
}

TEST_F(ranks, decide_what_one_process_decides) {
  const std::vector<std::string> some = {"gup_fast_vs_munmap", "pin_barrier", "whose_mask"};
  const std::vector<json> alone = results_without_mpi(some);
  for (const char* n : {"2", "3"}) {
    const outcome o = start(n, some).wait();
    EXPECT_EQ(o.status, 0) << o.err;
    EXPECT_EQ(results(o), alone) << n << " ranks";
  }
}

TEST_F(ranks, say_once_what_is_wrong) {
  const outcome o = start("2", {"gup_fast_vs_munmab"}).wait();
  EXPECT_EQ(o.status, 2);
  const auto first = o.err.find("unknown scenario 'gup_fast_vs_munmab'");
  EXPECT_NE(first, std::string::npos) << o.err;
  EXPECT_EQ(o.err.find("unknown scenario", first + 1), std::string::npos) << o.err;
}

TEST_F(ranks, share_one_search) {
  const outcome o = start("2", {std::string(RING) + ":short", "--arch", "arm64"}).wait();
  const std::vector<json> all = results(o);
  ASSERT_EQ(all.size(), 1u) << o.err;
  EXPECT_EQ(all[0]["verdict"], "safe") << all[0]["reason"];
  EXPECT_EQ(all[0]["executions"], 65536);
}

/// The one run is rank 0's; what rank 1 had of it is lost.
TEST_F(ranks, a_helper_that_is_killed_leaves_it_inconclusive) {
  let_survivors_go_on();
  process p = start("2", {std::string(RING) + ":long", "--arch", "arm64"});
  EXPECT_NE(kill_at_work("1", p), 0);
  const outcome o = p.wait();
  const std::vector<json> all = results(o);
  ASSERT_EQ(all.size(), 1u) << o.err;
  EXPECT_EQ(all[0]["verdict"], "inconclusive");
  EXPECT_EQ(all[0]["reason"], "a worker on rank 1 ended early");
  EXPECT_GT(all[0]["executions"], 20000);
}

/// Each rank has a run, and the one of the rank that lives comes to its own end. (Where rank 1 was so late
/// that rank 0 had done its own and begun the other, it is a helper that is lost.)
TEST_F(ranks, the_runs_of_a_killed_rank_are_inconclusive) {
  let_survivors_go_on();
  process p = start("2", {std::string(RING), "--arch", "arm64"});
  const pid_t rank = kill_at_work("1", p);
  const outcome o = p.wait();
  const std::vector<json> all = results(o);
  ASSERT_EQ(all.size(), 2u) << o.err;
  EXPECT_EQ(all[0]["variant"], "short");
  EXPECT_EQ(all[0]["verdict"], "safe") << all[0]["reason"];
  EXPECT_EQ(all[0]["executions"], 65536);
  EXPECT_EQ(all[1]["variant"], "long");
  EXPECT_EQ(all[1]["verdict"], "inconclusive");
  const std::string reason = all[1]["reason"];
  EXPECT_TRUE(reason.starts_with("rank 1 ended early (process " + std::to_string(rank)) ||
              reason == "a worker on rank 1 ended early")
      << reason;
}

/// mpirun then ends rank 0, which still says what is known.
TEST_F(ranks, a_killed_rank_takes_the_others_with_it_in_order) {
  give_time_for_last_words();
  process p = start("2", {std::string(RING) + ":long", "--arch", "arm64,riscv64"});
  EXPECT_NE(kill_at_work("1", p), 0);
  const outcome o = p.wait();
  EXPECT_NE(o.status, 0);
  const std::vector<json> all = results(o);
  ASSERT_EQ(all.size(), 2u) << o.out << o.err;
  for (const json& r : all) {
    EXPECT_EQ(r["verdict"], "inconclusive");
    EXPECT_TRUE(r["reason"].get<std::string>().starts_with("rank 1 ended early")) << r["reason"];
  }
}

/// What there is to say is longer than what mpirun takes while it ends the ranks.
TEST_F(ranks, a_killed_rank_cuts_no_table_short) {
  give_time_for_last_words();
  const std::string long_run = std::string(RING) + ":long";
  process p = start("2", {"gup_fast_vs_munmap", long_run, "--arch", "arm64,riscv64"}, "text");
  EXPECT_NE(kill_at_work("1", p), 0);
  const outcome o = p.wait();
  EXPECT_GT(o.out.size(), std::size_t{1} << 15);
  EXPECT_NE(o.out.find(" verdicts: "), std::string::npos) << o.out; // its last line
}

/// The fake command has no module beside it.
TEST(ranks_without_mpi, are_told_so) {
  setenv("OMPI_COMM_WORLD_RANK", "0", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  const temporary_directory directory;
  const outcome o = process(RACEWALK_FAKE, {"check", "odd_text"}, directory.path()).wait();
  unsetenv("OMPI_COMM_WORLD_RANK");
  unsetenv("OMPI_COMM_WORLD_SIZE");
  EXPECT_EQ(o.status, 2);
  EXPECT_NE(o.err.find("built without MPI"), std::string::npos) << o.err;
}

} // namespace
} // namespace racewalk::cli
