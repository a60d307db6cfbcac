// `racewalk litmus`: judges files and all files of directories.
#pragma once

#include <string>
#include <vector>

namespace racewalk::litmus {

/// Judges each FILE, and each *.litmus below each DIR, prints the results to stdout and what went wrong to
/// stderr. 0: every outcome is what the test itself expects (or it expects nothing); 1: some is not; 2: some
/// test could not be read or uses what is not supported.
int run_litmus(const std::vector<std::string>& paths);

} // namespace racewalk::litmus
