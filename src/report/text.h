// Plain-text building blocks that the renderers share: wrapping, padding, colours, readable numbers.
// Everything printed is ASCII, so a byte is a column.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace racewalk::report {

/// Whether escape sequences may be written: only to a terminal.
enum class colour { off, on };

enum class paint { plain, bold, dim, red, green, yellow };

/// `text` in that paint, or as it is when colours are off.
std::string painted(std::string_view text, paint p, colour c);

/// `text` with blanks after it up to `width`; longer texts stay whole.
std::string padded(std::string_view text, std::size_t width);
/// The same with the blanks before it.
std::string padded_left(std::string_view text, std::size_t width);

/// Lines of at most `width`, broken at blanks; a word longer than a line is cut.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

/// 1234567 as `1,234,567`.
std::string grouped(std::uint64_t n);
/// `1 execution`, `1,234 executions`
std::string counted(std::uint64_t n, std::string_view thing);
/// A duration to three significant digits or so: `0.002 s`, `12.3 s`.
std::string duration(double seconds);

} // namespace racewalk::report
