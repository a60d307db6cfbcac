#include "report/escape.h"

#include <algorithm>
#include <cstdint>

namespace racewalk::report {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd"; // U+FFFD

struct character {
  std::uint32_t code = 0;
  std::size_t bytes = 0; ///< 0: no whole character is here
};

/// The UTF-8 character that `text` begins with.
character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const std::size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return {};
  std::uint32_t code = byte(0) & (0x7fU >> bytes);
  for (std::size_t i = 1; i < bytes; i++) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < smallest[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, bytes};
}

/// What XML can hold, and a line of text should.
bool xml_can_hold(std::uint32_t code) {
  return code == '\t' || code == '\n' || (code >= 0x20 && code != 0x7f && code != 0xfffe && code != 0xffff);
}

} // namespace

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const character c = first_character(text);
    const std::string_view whole = text.substr(0, std::max<std::size_t>(c.bytes, 1));
    out += c.bytes && xml_can_hold(c.code) ? whole : replacement;
    text.remove_prefix(whole.size());
  }
  return out;
}

std::string xml_escaped(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (c == '\'')
      out += "&#39;";
    else
      out += c;
  }
  return out;
}

std::string script_json(std::string json) {
  for (std::size_t at = 0; (at = json.find('<', at)) != json.npos; at += 6)
    json.replace(at, 1, "\\u003c"); // < is found in strings only
  return json;
}

std::string one_line(std::string_view text) {
  std::string line = printable(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::replace(line.begin(), line.end(), '\t', ' ');
  return line;
}

std::string file_name_part(std::string_view text) {
  std::string part(text);
  for (char& c : part) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-' || c == '.';
    if (!kept) c = '_';
  }
  if (part.starts_with('.')) part.front() = '_';
  return part;
}

} // namespace racewalk::report
