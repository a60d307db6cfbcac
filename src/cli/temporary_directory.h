// A directory of one's own, below the one for temporary files, that goes with everything in it.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "cli/usage.h"

namespace racewalk {

/// Only this user can look into it. The constructor throws cli::usage_error if it cannot be made.
class temporary_directory {
 public:
  temporary_directory() : path_(place() + "/racewalk-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr)
      throw cli::usage_error("cannot make a temporary directory in '" + place() +
                             "': " + std::generic_category().message(errno) +
                             "; set TMPDIR to where that can be done");
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  static std::string place() {
    const char* directory = std::getenv("TMPDIR");
    return directory != nullptr && *directory != '\0' ? directory : "/tmp";
  }

  std::string path_;
};

} // namespace racewalk
