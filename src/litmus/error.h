// What is wrong with a litmus test, and where: one line a reader can act on.
#pragma once

#include <stdexcept>
#include <string>

namespace racewalk::litmus {

/// The test cannot be judged. `what()` says what was not understood; the file's name is added by whoever
/// opened it.
class bad_test : public std::runtime_error {
 public:
  bad_test(unsigned line, const std::string& what) : std::runtime_error(abridged(what)), line_(line) {}
  [[nodiscard]] unsigned line() const { return line_; }

 private:
  /// A name or a number that is quoted may be as long as the file.
  static std::string abridged(const std::string& what) {
    constexpr std::size_t HEAD = 60, TAIL = 80; // characters
    if (what.size() <= HEAD + TAIL) return what;
    return what.substr(0, HEAD) + "..." + what.substr(what.size() - TAIL);
  }

  unsigned line_;
};

/// The test is well formed as far as can be told, but uses something this reader has no meaning for.
inline bad_test unsupported(unsigned line, const std::string& construct) {
  return {line, construct + " is not supported"};
}

} // namespace racewalk::litmus
