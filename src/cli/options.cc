#include "cli/options.h"

#include <algorithm>
#include <charconv>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/ranks/transport.h"
#include "cli/usage.h"

namespace racewalk::cli {
namespace {

constexpr std::uint64_t usual_preemptions = 1000; ///< a second, of each thread

/// The whole of `text` as a T, or nothing.
template <class T> std::optional<T> number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A bound of 0 would decide nothing, and a negative one means nothing.
std::string at_least_one(const std::string& text) {
  const auto n = number<std::uint64_t>(text);
  if (n && *n >= 1) return "";
  return fmt::format("'{}' is not a whole number from 1 up; nearest valid: 1", text);
}

std::string positive_seconds(const std::string& text) {
  const auto n = number<double>(text);
  if (n && *n > 0 && *n < 1e9) return "";
  return fmt::format("'{}' is not a number of seconds above 0; nearest valid: 1", text);
}

/// A timer of the host's takes some microseconds.
std::string times_a_second(const std::string& text) {
  const auto n = number<std::uint64_t>(text);
  if (n && *n >= 1 && *n <= 100'000) return "";
  return fmt::format("'{}' is not a number of times a second from 1 to 100000; nearest valid: {}", text,
                     n && *n > 100'000 ? 100'000 : 1);
}

std::string any_number(const std::string& text) {
  return number<std::uint64_t>(text) ? "" : fmt::format("'{}' is not a whole number; nearest valid: 0", text);
}

/// Five CPUs of a machine remain for threads that are none.
std::string thread_count(const std::string& text) {
  const auto n = number<unsigned>(text);
  if (n && *n >= 1 && *n <= 59) return "";
  return fmt::format("'{}' is not a number of threads from 1 to 59; nearest valid: {}", text,
                     n && *n > 59 ? 59 : 1);
}

/// Enough for the tables and what is pinned at a time; and no more than makes sense.
std::string mebibytes(const std::string& text) {
  const auto n = number<std::uint64_t>(text);
  if (n && *n >= 4 && *n <= 65536) return "";
  return fmt::format("'{}' is not a number of MiB from 4 to 65536; nearest valid: {}", text,
                     n && *n > 65536 ? 65536 : 4);
}

std::string probability(const std::string& text) {
  const auto p = number<double>(text);
  if (p && *p >= 0 && *p <= 1) return "";
  return fmt::format("'{}' is not a probability from 0 to 1; nearest valid: {}", text, p && *p > 1 ? 1 : 0);
}

std::vector<std::string> comma_separated(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    words.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return words;
}

output_format format_named(const std::string& name) {
  require_choice("format", name, {"text", "json", "ktap", "junit"});
  if (name == "json") return output_format::json;
  if (name == "ktap") return output_format::ktap;
  return name == "junit" ? output_format::junit : output_format::text;
}

/// The command line's grammar. Values land in the structs; CLI11 keeps the words until parse() returns.
class parser {
 public:
  parser();
  command_line parse(int argc, const char* const* argv);

 private:
  void add_check();
  void refuse_contradictions() const;
  void add_stress();
  [[nodiscard]] usage_error leftover() const;
  [[nodiscard]] std::vector<std::string> commands() const;

  CLI::App app_{"Racewalk: a virtual-memory manager that is also its own race explorer", "racewalk"};
  CLI::App* list_ = app_.add_subcommand("list", "the scenarios: threads, variants, where each was argued");
  CLI::App* check_ = app_.add_subcommand("check", "decide scenarios; with no name, all of them");
  CLI::App* replay_ = app_.add_subcommand("replay", "run one recorded interleaving again, step by step");
  CLI::App* stress_ = app_.add_subcommand("stress", "the native library under load, with its checks on");
  CLI::App* bench_ = app_.add_subcommand("bench", "the native figures, beside the kernel's on this machine");
  CLI::App* litmus_ = app_.add_subcommand("litmus", "judge litmus tests by the Linux kernel memory model");

  list_options list_options_;
  check_options check_options_;
  replay_options replay_options_;
  stress_options stress_options_;
  std::string mix_ = "maps";
  bench_options bench_options_;
  litmus_options litmus_options_;
  std::string archs_;
  std::string format_ = "text";
  std::string without_reductions_;
  std::uint64_t max_executions_ = 0;
  unsigned departures_ = 0;
  unsigned switches_ = 0;
  std::uint64_t random_ = 0;
  double timeout_ = 0;
};

parser::parser() {
  app_.set_version_flag("--version", "racewalk " RACEWALK_VERSION);
  list_->add_flag("--json", list_options_.json, "one JSON object a line");
  add_check();
  replay_->add_option("FILE.race", replay_options_.file, "what `racewalk check NAME` saved")->required();
  add_stress();
  bench_->add_option("WORD", bench_options_.words,
                     "only figures with one of these words in their heading or name");
  litmus_
      ->add_option("FILE|DIR", litmus_options_.paths,
                   "tests in the kernel's C format, or directories of them")
      ->required();
}

void parser::add_check() {
  check_options_.jobs = launched() ? 1 : std::max(1U, std::thread::hardware_concurrency());
  check_->add_option("NAME[:VARIANT]", check_options_.names,
                     "scenarios, by name or by number in the catalogue, or in a FILE.cc of one's own");
  check_->add_option(
      "--arch", archs_,
      "architectures, separated by commas, or all; a representative of each kind if not given");
  check_->add_option("--model", check_options_.model, "sc, tso or weak (default: the architecture's)");
  check_
      ->add_option("-j", check_options_.jobs,
                   "runs at the same time (default: all CPUs; under mpirun, of each rank, 1)")
      ->check(at_least_one, "N")
      ->type_name("N");
  check_->add_option("--max-executions", max_executions_, "of one run; then it is inconclusive")
      ->check(at_least_one, "N")
      ->type_name("N");
  check_->add_option("--timeout", timeout_, "seconds, of all runs; what is left is inconclusive")
      ->check(positive_seconds, "S")
      ->type_name("S");
  check_
      ->add_option("--departures", departures_,
                   "visit what takes at most N choices other than the newest (older values, other orders)")
      ->check(any_number, "N")
      ->type_name("N");
  check_->add_option("--switches", switches_, "visit what takes at most N context switches to tell")
      ->check(any_number, "N")
      ->type_name("N");
  check_
      ->add_option("--random", random_,
                   "draw so many executions instead of visiting all: a violation or inconclusive")
      ->check(at_least_one, "N")
      ->type_name("N");
  check_->add_option("--seed", check_options_.seed, "of --random (default: 1)")
      ->check(any_number, "S")
      ->type_name("S");
  check_->add_option(
      "--no-reduction", without_reductions_,
      "visit what need not be visited, too: symmetry (identical CPUs that swap names), locks "
      "(orders of sections that nobody can tell), counters (orders of additions), separated by "
      "commas, or all");
  check_->add_option("--format", format_, "text (the default); json, one object a line; ktap; junit");
  check_
      ->add_option("--report", check_options_.report, "write a page for each violation, and an index, to DIR")
      ->type_name("DIR");
}

/// Options that mean nothing together.
void parser::refuse_contradictions() const {
  if (!random_ && check_->count("--seed") > 0)
    throw usage_error("--seed is the seed of --random, which is not given");
  if (!random_) return;
  for (const char* other : {"--max-executions", "--departures", "--switches", "--no-reduction"})
    if (check_->count(other) > 0)
      throw usage_error(
          fmt::format("{} is for the search that visits all executions, not for --random", other));
}

void parser::add_stress() {
  stress_->add_option("--seconds", stress_options_.seconds, "how long (default: 10)")
      ->check(positive_seconds, "N")
      ->type_name("N");
  stress_->add_option("--seed", stress_options_.seed, "of the random operations (default: 1)")
      ->check(any_number, "S")
      ->type_name("S");
  stress_->add_option("--mix", mix_,
                      "maps (the default): mappings come and go; thp: huge pages are made, split and moved; "
                      "files: files of the host are mapped and written back");
  stress_
      ->add_option("--threads", stress_options_.threads,
                   "CPUs at work (default: as many as there are, 2 to 16)")
      ->check(thread_count, "N")
      ->type_name("N");
  stress_->add_option("--fail-nth", stress_options_.fail_nth, "every Nth allocation fails")
      ->check(at_least_one, "N")
      ->type_name("N");
  stress_
      ->add_option("--fail-probability", stress_options_.fail_probability, "so many allocations fail, 0 to 1")
      ->check(probability, "P")
      ->type_name("P");
  stress_
      ->add_option("--memory", stress_options_.memory,
                   "MiB of the machine, with kswapd at work (default: what the mix needs)")
      ->check(mebibytes, "MIB")
      ->type_name("MIB");
  stress_->add_option("--swap", stress_options_.swap, "MiB of a swap file (default: none)")
      ->check(mebibytes, "MIB")
      ->type_name("MIB");
  stress_
      ->add_option("--preempt", stress_options_.preempt,
                   fmt::format("each thread is stopped so often, wherever it is, for up to 8 ms ({} times a "
                               "second if not said)",
                               usual_preemptions))
      ->expected(0, 1)
      ->check(times_a_second, "PER_SECOND")
      ->type_name("PER_SECOND");
}

std::vector<std::string> parser::commands() const {
  std::vector<std::string> names;
  for (const CLI::App* command : app_.get_subcommands(nullptr))
    names.push_back(command->get_name());
  return names;
}

/// What to say about a word that the grammar has no place for.
usage_error parser::leftover() const {
  const std::string word = app_.remaining(true).front();
  const CLI::App* command = app_.get_subcommands().empty() ? &app_ : app_.get_subcommands().front();
  if (!word.starts_with("-"))
    return usage_error(fmt::format("{} takes no argument '{}'", command->get_name(), word));

  std::vector<std::string> choices;
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames())
      choices.push_back("--" + name);
    for (const std::string& name : option->get_snames())
      choices.push_back("-" + name);
  }
  return unknown("option", word.substr(0, word.find('=')), choices);
}

command_line parser::parse(int argc, const char* const* argv) {
  if (argc < 2)
    throw usage_error(fmt::format("no command given (choices: {}); see --help", fmt::join(commands(), ", ")));
  if (argv[1][0] != '-') require_choice("command", argv[1], commands());

  try {
    app_.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return help_text{app_.help()};
  } catch (const CLI::CallForVersion& version) {
    return help_text{std::string(version.what()) + "\n"};
  } catch (const CLI::ExtrasError&) {
    throw leftover();
  } catch (const CLI::ParseError& e) {
    throw usage_error(e.what());
  }

  if (list_->parsed()) return list_options_;
  if (replay_->parsed()) return replay_options_;
  if (stress_->parsed()) {
    require_choice("mix", mix_, {std::begin(stress_mix_names), std::end(stress_mix_names)});
    stress_options_.mix = *stress_mix_named(mix_);
    if (stress_->count("--preempt") > 0 && stress_options_.preempt == 0)
      stress_options_.preempt = usual_preemptions;
    return stress_options_;
  }
  if (bench_->parsed()) return bench_options_;
  if (litmus_->parsed()) return litmus_options_;
  if (!check_->parsed()) throw usage_error("no command given; see --help");

  refuse_contradictions();
  check_options_.format = format_named(format_);
  if (check_->count("--report") && check_options_.report.empty())
    throw usage_error("--report: no directory named");
  if (!without_reductions_.empty())
    for (const std::string& reduction : comma_separated(without_reductions_)) {
      require_choice("reduction", reduction, {"symmetry", "locks", "counters", "all"});
      const bool all = reduction == "all";
      if (all || reduction == "symmetry") check_options_.symmetry = false;
      if (all || reduction == "locks") check_options_.unordered_locks = false;
      if (all || reduction == "counters") check_options_.commuting = false;
    }
  if (!archs_.empty()) check_options_.archs = comma_separated(archs_);
  if (check_->count("--departures") > 0) check_options_.departures = departures_;
  if (check_->count("--switches") > 0) check_options_.switches = switches_;
  if (max_executions_) check_options_.max_executions = max_executions_;
  if (timeout_ > 0) check_options_.timeout = timeout_;
  if (random_) check_options_.random = random_;
  return check_options_;
}

} // namespace

command_line parse_command_line(int argc, const char* const* argv) { return parser().parse(argc, argv); }

} // namespace racewalk::cli
