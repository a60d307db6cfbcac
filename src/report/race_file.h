// A counterexample as a file: NAME.race, which `racewalk replay` runs again. A saved one is a regression
// test.
//
// The file is text. A header names the format's version and what was run; then the race table as a person
// reads it; then the schedule, one decision a line; then a checksum over everything above. A file that was
// truncated or edited, or that another version wrote, is refused with one line that says which.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "report/result.h"

namespace racewalk::report {

struct race_file {
  std::string scenario;
  std::string file; ///< the user's file that it is in; empty: it is one of the library's
  std::string variant;
  std::string arch;
  std::string model;
  std::string property;
  std::vector<std::string> schedule;
};

/// Why a file was refused: one line, without the file's name.
struct bad_race_file : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The text of the file for a result that has a trace.
std::string write_race_file(const result& r);
/// Throws bad_race_file.
race_file read_race_file(const std::string& text);

/// `munmap_table_free-no_rcu-arm64.race`
std::string race_file_name(const result& r);

} // namespace racewalk::report
