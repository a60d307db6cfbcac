// `racewalk bench`: the native library's figures beside the kernel's own, on the same machine in the same
// run.
//
// Every figure is measured on both sides with the same source (workloads.h): what differs is only whether
// mmap, a store or a pin is the kernel's or ours. The sides take turns within a figure, round after round, so
// that a change of clock speed or a noisy neighbour meets both; the median of the rounds is printed.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace racewalk::bench {

/// What there is: the headings and the names of the figures.
std::vector<std::string> names();
/// Whether a word chooses what is called so.
bool chooses(const std::string& word, const std::string& name);

/// Measures everything, or what the words choose by its heading or its name, and prints the table. False if
/// something could not be measured, which the table says.
bool run(std::FILE* out, const std::vector<std::string>& words);

} // namespace racewalk::bench
