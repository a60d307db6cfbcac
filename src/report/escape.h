// Text inside other formats: what it takes so that any bytes come out as what they were, or harmless.
#pragma once

#include <string>
#include <string_view>

namespace racewalk::report {

/// Valid UTF-8 of characters that can be shown, tabs and newlines; anything else becomes U+FFFD.
std::string printable(std::string_view text);

/// For the text and the quoted attributes of HTML and XML; printable().
std::string xml_escaped(std::string_view text);

/// JSON for a <script> element: nothing in it can end the element.
std::string script_json(std::string json);

/// printable(), with blanks for tabs and newlines.
std::string one_line(std::string_view text);

/// A name that is safe as part of a file's name: letters, digits, `_`, `-` and `.`, the last not in front.
std::string file_name_part(std::string_view text);

/// `text` with every @word@ replaced by the value that `value_of` gives for the word, once.
template <class F> std::string filled(std::string_view text, F&& value_of) {
  std::string out;
  while (true) {
    const std::size_t begin = text.find('@');
    const std::size_t end = begin == text.npos ? text.npos : text.find('@', begin + 1);
    out += text.substr(0, end == text.npos ? text.npos : begin);
    if (end == text.npos) return out;
    out += value_of(text.substr(begin + 1, end - begin - 1));
    text.remove_prefix(end + 1);
  }
}

} // namespace racewalk::report
