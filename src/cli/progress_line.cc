#include "cli/progress_line.h"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "report/text.h"

namespace racewalk::cli {

progress_line::progress_line()
    : on_terminal_(isatty(STDERR_FILENO) != 0), start_(std::chrono::steady_clock::now()) {}

progress_line::~progress_line() { clear(); }

void progress_line::show(const run_state& state) {
  if (!on_terminal_) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double rate = static_cast<double>(state.executions) / elapsed.count();
  fmt::print(stderr, "\r\033[K[{}/{}] {} executions, {}/s, depth {}  {}", state.done, state.total,
             report::grouped(state.executions), report::grouped(static_cast<std::uint64_t>(rate)),
             state.depth, state.running);
  std::fflush(stderr);
  shown_ = true;
}

void progress_line::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  shown_ = false;
}

} // namespace racewalk::cli
