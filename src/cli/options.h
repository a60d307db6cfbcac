// The command line, parsed: one struct a command. Every option that is accepted is used.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace racewalk::cli {

enum class output_format { text, json, ktap, junit };

struct list_options {
  bool json = false;
};

struct check_options {
  std::vector<std::string> names; ///< NAME or NAME:VARIANT; none: all
  std::vector<std::string> archs; ///< none: the default ones
  std::string model;              ///< empty: each architecture's own
  unsigned jobs = 1;
  std::optional<std::uint64_t> max_executions; ///< of one variant on one architecture
  std::optional<double> timeout;               ///< seconds, of the whole run
  std::optional<unsigned> departures;          ///< of one execution
  std::optional<unsigned> switches;            ///< ...
  std::optional<std::uint64_t> random;         ///< executions to draw instead of visiting all
  std::uint64_t seed = 1;                      ///< of these
  output_format format = output_format::text;
  std::string report;          ///< directory for pages; empty: none
  bool symmetry = true;        ///< reductions of the search
  bool unordered_locks = true; ///< ...
  bool commuting = true;       ///< ...
};

struct replay_options {
  std::string file;
};

/// What kind of load: mappings that come and go, tables that change their shape under it, or files that are
/// written back.
enum class stress_mix : std::uint8_t { maps, thp, files };
inline constexpr const char* stress_mix_names[] = {"maps", "thp", "files"};
inline const char* name_of(stress_mix mix) { return stress_mix_names[static_cast<unsigned>(mix)]; }
/// The mix of a name; none: there is none.
inline std::optional<stress_mix> stress_mix_named(std::string_view name) {
  for (const stress_mix mix : {stress_mix::maps, stress_mix::thp, stress_mix::files})
    if (name == name_of(mix)) return mix;
  return std::nullopt;
}

struct stress_options {
  double seconds = 10;
  std::uint64_t seed = 1;
  stress_mix mix = stress_mix::maps;
  unsigned threads = 0;        ///< each is a CPU; 0: as many as the machine has, 2 at least
  std::uint64_t fail_nth = 0;  ///< every nth allocation fails; 0: none
  double fail_probability = 0; ///< so many of them fail
  std::uint64_t memory = 0;    ///< MiB of the machine; 0: as much as the mix likes
  std::uint64_t swap = 0;      ///< MiB of the swap file; 0: none
  std::uint64_t preempt = 0;   ///< times a second that each thread is stopped; 0: none

  /// Calls may find no memory, and not only now and then.
  [[nodiscard]] bool memory_is_short() const { return fail_nth != 0 || fail_probability != 0 || memory != 0; }
};

struct bench_options {
  std::vector<std::string> words; ///< parts of the headings and names of figures that are wanted; none: all
};

struct litmus_options {
  std::vector<std::string> paths; ///< files and directories
};

/// Only words to print were asked for: --help, --version.
struct help_text {
  std::string text;
};

using command_line = std::variant<help_text, list_options, check_options, replay_options, stress_options,
                                  bench_options, litmus_options>;

/// Throws usage_error.
command_line parse_command_line(int argc, const char* const* argv);

} // namespace racewalk::cli
