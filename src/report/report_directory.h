// The directory of --report: what is in it after a run is whole, or was there before.
//
// A file is written under a temporary name, and gets its own when all of it is on its way to the disk. Files
// that are not ours are never touched.
#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "report/result.h"

namespace racewalk::report {

/// Why nothing can be written: one line that says what to do.
struct cannot_write : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class report_directory {
 public:
  /// Makes the directory if it is not there; its parent must be. Throws cannot_write, also if files cannot be
  /// made in it.
  explicit report_directory(std::filesystem::path path);
  /// Takes the directory away again if it was made and nothing came to be in it.
  ~report_directory();
  report_directory(const report_directory&) = delete;
  report_directory& operator=(const report_directory&) = delete;

  /// A file of this name with this content, whole or not at all. Throws cannot_write.
  void write(const std::string& name, std::string_view content) const;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool made_ = false;
};

/// The player and the graph of each violation, then the index. Throws cannot_write.
void write_report(const report_directory& directory, const std::vector<result>& results,
                  const std::map<std::string, std::string>& titles, double seconds);

} // namespace racewalk::report
