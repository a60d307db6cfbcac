#include "report/race_file.h"

#include <charconv>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/race_table.h"

namespace racewalk::report {
namespace {

constexpr std::string_view magic = "racewalk-race";
constexpr unsigned format_version = 1;
constexpr std::string_view checksum_key = "checksum ";
constexpr std::string_view file_key = "file ";
constexpr std::string_view schedule_key = "schedule ";

/// FNV-1a: enough to notice an edit; it is not meant to stop a forger.
std::uint64_t checksum(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return hash;
}

std::string first_line() { return fmt::format("{} {} {}\n", magic, format_version, RACEWALK_VERSION); }

/// Takes the next line, without its newline, off the front of `text`.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string take_field(std::string_view& text, std::string_view key) {
  const std::string_view line = next_line(text);
  if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ')
    throw bad_race_file(fmt::format("has no '{}' where it belongs", key));
  return std::string(line.substr(key.size() + 1));
}

/// Refuses a file of another kind or version before anything else is said about it.
void check_first_line(std::string_view text) {
  const std::string_view line = next_line(text);
  if (!line.starts_with(magic)) throw bad_race_file("is not a .race file");
  if (line != first_line().substr(0, first_line().size() - 1))
    throw bad_race_file(fmt::format("was written by another version ('{}'; this is '{} {} {}')", line, magic,
                                    format_version, RACEWALK_VERSION));
}

/// The text above the checksum line, after comparing the two.
std::string_view check_checksum(std::string_view text) {
  const std::size_t at = text.rfind(fmt::format("\n{}", checksum_key));
  if (at == std::string_view::npos || text.back() != '\n')
    throw bad_race_file("is truncated: the checksum at its end is missing");
  const std::string_view body = text.substr(0, at + 1);
  std::string_view rest = text.substr(at + 1);
  if (next_line(rest) != fmt::format("{}{:016x}", checksum_key, checksum(body)) || !rest.empty())
    throw bad_race_file("was edited: its checksum does not match; record it again with `racewalk check`");
  return body;
}

std::size_t number_after(std::string_view line, std::string_view key) {
  std::size_t n = 0;
  const std::string_view digits = line.substr(key.size());
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (error != std::errc() || end != digits.data() + digits.size())
    throw bad_race_file("has no length of its schedule");
  return n;
}

} // namespace

std::string write_race_file(const result& r) {
  std::string out = first_line();
  out += fmt::format("scenario {}\n", r.scenario);
  if (!r.file.empty()) out += fmt::format("{}{}\n", file_key, r.file);
  out +=
      fmt::format("variant {}\narch {}\nmodel {}\nproperty {}\n\n", r.variant, r.arch, r.model, r.property);
  std::string table = race_table(r, {});
  std::string_view rest = table;
  while (!rest.empty())
    out += fmt::format("# {}\n", next_line(rest));
  out += fmt::format("\n{}{}\n", schedule_key, r.trace->schedule.size());
  for (const std::string& line : r.trace->schedule)
    out += line + '\n';
  return out + fmt::format("{}{:016x}\n", checksum_key, checksum(out));
}

race_file read_race_file(const std::string& text) {
  check_first_line(text);
  std::string_view body = check_checksum(text);
  next_line(body);

  race_file file;
  file.scenario = take_field(body, "scenario");
  if (body.starts_with(file_key)) file.file = next_line(body).substr(file_key.size());
  file.variant = take_field(body, "variant");
  file.arch = take_field(body, "arch");
  file.model = take_field(body, "model");
  file.property = take_field(body, "property");

  std::string_view line = next_line(body);
  while (!line.starts_with(schedule_key)) {
    if (body.empty()) throw bad_race_file("has no schedule");
    line = next_line(body);
  }
  for (std::size_t left = number_after(line, schedule_key); left > 0; left--) {
    if (body.empty()) throw bad_race_file("is truncated: its schedule is too short");
    file.schedule.emplace_back(next_line(body));
  }
  return file;
}

std::string race_file_name(const result& r) {
  return file_name_part(fmt::format("{}-{}-{}.race", r.scenario, r.variant, r.arch));
}

} // namespace racewalk::report
