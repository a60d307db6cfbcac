#include "report/race_table.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace racewalk::report {
namespace {

constexpr std::size_t number_width = 4;      // `  12`
constexpr std::size_t min_column_width = 26; // narrower and nothing fits
constexpr std::size_t max_column_width = 56; // wider and the eye loses the row
constexpr std::string_view separator = " | ";

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

paint paint_of(step_mark m) {
  switch (m) {
  case step_mark::stale:
    return paint::yellow;
  case step_mark::violating:
    return paint::red;
  case step_mark::none:
    break;
  }
  return paint::plain;
}

std::string joined_note(const trace_step& s) {
  if (s.mark == step_mark::violating) return s.note.empty() ? "<--" : "<-- " + s.note;
  return s.note.empty() ? "" : fmt::format("({})", s.note);
}

/// One line of one cell: its text and how it is painted.
struct cell_line {
  std::string text;
  paint look = paint::plain;
};

/// The lines of one step: the function when it is a new one in this column, then the text with the source
/// location at the right edge, then the note.
std::vector<cell_line> cell_of(const trace_step& s, bool new_function, std::size_t width) {
  std::vector<cell_line> cell;
  if (new_function && !s.function.empty())
    for (std::string& line : wrapped(s.function + "()", width))
      cell.push_back({std::move(line), paint::bold});

  const auto add_indented = [&](std::string_view text, paint look) {
    const char* indent = "  ";
    for (const std::string& line : wrapped(text, width - 4)) {
      cell.push_back({indent + line, look});
      indent = "    ";
    }
  };
  add_indented(s.text, paint_of(s.mark));

  if (!s.file.empty()) {
    const std::string where = fmt::format("{}:{}", base_name(s.file), s.line);
    if (cell.empty() || cell.back().text.size() + 1 + where.size() > width)
      cell.push_back({"", paint::plain});
    std::string& last = cell.back().text;
    last += padded_left(where, width - std::min(width, last.size()));
  }
  add_indented(joined_note(s), paint_of(s.mark));
  return cell;
}

std::size_t column_width(std::size_t columns, std::size_t width) {
  const std::size_t used = number_width + columns * separator.size();
  const std::size_t room = width > used ? (width - used) / std::max<std::size_t>(columns, 1) : 0;
  return std::clamp(room, min_column_width, max_column_width);
}

void append_row(std::string& out, std::string_view number, std::size_t column, std::size_t columns,
                std::size_t width, const cell_line& line, colour c) {
  std::string row = padded_left(number, number_width);
  for (std::size_t i = 0; i < columns; i++) {
    row += separator;
    if (i == column)
      row += painted(line.text, line.look, c) + std::string(width - std::min(width, line.text.size()), ' ');
    else
      row += std::string(width, ' ');
  }
  row.erase(row.find_last_not_of(' ') + 1);
  out += row + '\n';
}

} // namespace

std::string race_table(const result& r, const table_style& style) {
  const race_trace& trace = *r.trace;
  const std::size_t columns = trace.columns.size();
  const std::size_t width = column_width(columns, style.width);

  std::string out = painted(fmt::format("{}{}{}:{}", r.id, r.id.empty() ? "" : " ", r.scenario, r.variant),
                            paint::bold, style.colour) +
                    fmt::format("  on {} ({})  ", r.arch, r.model) +
                    painted(r.property, paint::red, style.colour) + "\n\n";

  std::string head = std::string(number_width, ' ');
  std::string rule = std::string(number_width, '-');
  for (const std::string& name : trace.columns) {
    head += std::string(separator) + padded(name.substr(0, width), width);
    rule += "-+-" + std::string(width, '-');
  }
  head.erase(head.find_last_not_of(' ') + 1);
  out += painted(head, paint::bold, style.colour) + '\n' + rule + '\n';

  std::vector<std::string> function_in(columns);
  for (const trace_step& s : trace.steps) {
    if (s.column >= columns) continue;
    const bool new_function = function_in[s.column] != s.function;
    function_in[s.column] = s.function;
    std::string number = std::to_string(s.number);
    for (const cell_line& line : cell_of(s, new_function, width)) {
      append_row(out, number, s.column, columns, width, line, style.colour);
      number.clear();
    }
  }

  out += '\n';
  const std::string sentence = r.property.empty() ? trace.lost : r.property + ": " + trace.lost;
  for (const std::string& line : wrapped(sentence, style.width))
    out += line + '\n';
  return out;
}

} // namespace racewalk::report
