// The files of src/report/pages, which the build compiles in. A word between @ signs in an .html file is
// replaced when a page is made.
#pragma once

#include <string_view>

namespace racewalk::report {

extern const std::string_view index_html;
extern const std::string_view player_html;
extern const std::string_view player_js;
extern const std::string_view page_css;

} // namespace racewalk::report
