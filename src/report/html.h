// Results as web pages that need no network: a player for each counterexample, and an index.
//
// A page carries its style, its script and its data; its security policy forbids it to load anything. The
// files it is made of are in src/report/pages.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "report/result.h"

namespace racewalk::report {

/// `gup_fast_vs_munmap-at_once-arm64`: what the files of one result are called, without their ending.
std::string page_name(const result& r);

/// The player of `r.trace`, which must be there.
std::string violation_page(const result& r);

/// The verdict table with a link to the page of each violation. Results and titles as for verdict_table().
std::string index_page(const std::vector<result>& results, const std::map<std::string, std::string>& titles,
                       double seconds);

} // namespace racewalk::report
