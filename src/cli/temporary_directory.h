// A directory of one's own, below the one for temporary files, that goes with everything in it.
#pragma once

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

namespace racewalk {

/// Only this user can look into it. The constructor throws std::system_error if it cannot be made.
class temporary_directory {
 public:
  temporary_directory() : path_((std::filesystem::temp_directory_path() / "racewalk-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr)
      throw std::system_error(errno, std::generic_category(), "cannot make a directory like '" + path_ + "'");
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

} // namespace racewalk
