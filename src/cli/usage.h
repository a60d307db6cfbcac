// Wrong usage is answered by one line that names the nearest valid choice, and exit status 2.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace racewalk::cli {

/// The exit statuses of every command.
enum exit_status : int {
  EXIT_AS_EXPECTED = 0,
  EXIT_UNEXPECTED = 1,
  EXIT_WRONG_USAGE = 2,
  EXIT_INCONCLUSIVE = 3,
};

/// what() is the line, without the command's name.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The choice that takes the fewest edits to reach from `word`; empty if there are no choices.
std::string nearest(std::string_view word, const std::vector<std::string>& choices);

/// `unknown model 'tos'; nearest: 'tso' (choices: sc, tso, weak)`, the choices only if they fit a line.
usage_error unknown(std::string_view kind, std::string_view word, const std::vector<std::string>& choices);

/// Throws unknown() unless `word` is one of `choices`.
void require_choice(std::string_view kind, std::string_view word, const std::vector<std::string>& choices);

} // namespace racewalk::cli
