// What the command needs of the explorer, and nothing more. src/explore implements it; tests of the command
// link a fake.
//
// check() may be called from several threads at once, one run a thread: a run shares nothing with another.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "report/race_file.h"
#include "report/result.h"

namespace racewalk::cli {

struct variant_info {
  std::string name;    ///< `no_rcu`
  std::string id;      ///< its letter in the catalogue
  std::string summary; ///< one line: what it departs in
};

struct scenario_info {
  std::string name;
  std::string id;                   ///< its number in the catalogue, `S1.4`
  std::string summary;              ///< one line: what is argued
  std::string source;               ///< where it was argued
  std::vector<std::string> threads; ///< `CPU0 gup`, `CPU1 munmap`
  std::vector<variant_info> variants;
  std::vector<std::string> archs; ///< those it can run on
  std::string file;               ///< the user's file that it is in; empty: it is one of the library's
};

/// In the order in which the verdict table lists them.
std::vector<scenario_info> scenarios();
/// Compiles a user's file; the scenarios that it declares are then among scenarios(). Before any check().
/// Throws usage_error where the file is at fault, after what the compiler said on stderr.
void add_file(const std::string& path);
/// Every architecture, in the order of the table's columns.
std::vector<std::string> architectures();
/// Those of them where scenarios are decided unless others are named.
std::vector<std::string> default_architectures();
/// The memory model of an architecture: sc, tso or weak.
std::string default_model(const std::string& arch);

/// Executions drawn at random instead of visited all: the same seed draws the same ones.
struct sampling {
  std::uint64_t executions = 0;
  std::uint64_t seed = 1;
};

/// A process that takes part in a search, at the other end of a socket.
struct assistant {
  int socket = -1;
  std::string name; ///< where it is: `rank 1`
};

struct check_request {
  std::string scenario;
  std::string variant;
  std::string arch;
  std::string model;                           ///< empty: the architecture's
  std::optional<std::uint64_t> max_executions; ///< then inconclusive
  bool symmetry = true;                        ///< of executions in which twins swap names visit one
  bool unordered_locks = true;                 ///< do not order sections whose order nobody can tell
  bool commuting = true;                       ///< do not order additions whose result nobody reads
  std::optional<unsigned> departures;          ///< from the newest choice, on the way to an execution
  std::optional<unsigned> switches;            ///< between CPUs, in an execution
  std::optional<sampling> random;              ///< then never safe
  std::function<unsigned()> spare_cpus;        ///< takes the CPUs that have nothing else to do
  /// Takes the processes elsewhere that have come to share the search. None: there are none.
  std::function<std::vector<assistant>()> assistants;
  /// Take part in another process's search for the same request, over this socket. check() then does not
  /// return, or what it returns means nothing.
  std::optional<int> assist_over;
};

struct progress {
  std::uint64_t executions = 0;
  std::uint64_t blocked = 0;
  unsigned depth = 0; ///< events in the current execution
};

/// Called now and then, from the thread that called check().
using progress_fn = std::function<void(const progress&)>;

/// Decides one variant on one architecture. When `stop` becomes true it returns soon: inconclusive, with
/// what is known so far and a reason that begins with `stopped`, which the caller makes precise.
report::result check(const check_request& request, const progress_fn& report_progress,
                     const std::atomic<bool>& stop);

/// Runs a recorded interleaving again. The result is a violation with its trace if it is lost as recorded;
/// otherwise inconclusive with the reason: where the code and the schedule part.
report::result replay(const report::race_file& recorded);

} // namespace racewalk::cli
