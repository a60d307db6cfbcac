// Compiles a user's FILE.cc with the system's compiler into something that a process can load.
//
// The headers are those that belong to this very program: an installed one finds them relative to itself, one
// in a build tree by a note that the build left beside it. What the file uses of the library is resolved
// against this program when it is loaded, so nothing is linked.
#pragma once

#include <string>

namespace racewalk::cli {

/// A shared object that is an open file and has no name any more.
class shared_object {
 public:
  explicit shared_object(int descriptor) : descriptor_(descriptor) {}
  ~shared_object();
  shared_object(shared_object&& other) noexcept;
  shared_object& operator=(shared_object&&) = delete;

  /// What dlopen() takes, in this process and those that it forks.
  [[nodiscard]] std::string path() const;

 private:
  int descriptor_; ///< -1: moved from
};

/// What the compiler says goes to stderr as it is. Throws usage_error if the file is not there, is no C++
/// source or does not compile, or if there is no compiler; interruption on Ctrl-C.
shared_object compile(const std::string& source);

/// Does the word on the command line mean a file? (`mine.cc`, or anything with a slash.)
[[nodiscard]] bool names_a_file(const std::string& word);

} // namespace racewalk::cli
