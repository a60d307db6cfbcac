// Runs the command as a user does and looks at what comes back.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace racewalk::cli {

struct outcome {
  int status = -1; ///< exit status; 128 + n if signal n ended it
  std::string out;
  std::string err;
};

/// A process that was started and has not been waited for.
class process {
 public:
  /// Starts `program` in `directory`, its output going to files there.
  process(const std::string& program, const std::vector<std::string>& arguments,
          const std::string& directory);
  void signal(int number) const;
  /// It still has to be waited for.
  bool has_ended() const;
  outcome wait();

 private:
  pid_t pid_;
  std::string directory_;
};

} // namespace racewalk::cli
