#include "report/report_directory.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/dot.h"
#include "report/html.h"

namespace racewalk::report {
namespace {

namespace fs = std::filesystem;

cannot_write refusal(const fs::path& what, int error) {
  std::string_view advice = "name another directory with --report";
  if (error == ENOENT) advice = "make its parent directory first";
  if (error == ENOSPC || error == EDQUOT) advice = "free some space, or name another directory with --report";
  return cannot_write(fmt::format("cannot write {}: {}; {}", what.string(), std::strerror(error), advice));
}

/// A file that is going to be: gone again unless it is kept.
class new_file {
 public:
  explicit new_file(fs::path path)
      : path_(std::move(path)), fd_(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
    if (fd_ < 0) throw refusal(path_, errno);
  }
  ~new_file() {
    if (fd_ >= 0) close(fd_);
    if (!kept_) unlink(path_.c_str());
  }
  new_file(const new_file&) = delete;
  new_file& operator=(const new_file&) = delete;

  void write(std::string_view content) const {
    while (!content.empty()) {
      const ssize_t n = ::write(fd_, content.data(), content.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw refusal(path_, errno);
      content.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  /// Gives it its name, once no late error can come.
  void keep_as(const fs::path& name) {
    const int failed = close(std::exchange(fd_, -1));
    if (failed || rename(path_.c_str(), name.c_str())) throw refusal(name, errno);
    kept_ = true;
  }

 private:
  fs::path path_;
  int fd_;
  bool kept_ = false;
};

fs::path temporary_name(const fs::path& directory) {
  return directory / fmt::format(".racewalk-{}.tmp", getpid());
}

} // namespace

report_directory::report_directory(fs::path path) : path_(std::move(path)) {
  if (mkdir(path_.c_str(), 0777) == 0) {
    made_ = true;
  } else if (errno != EEXIST) {
    throw refusal(path_, errno);
  } else if (std::error_code ignored; !fs::is_directory(path_, ignored)) {
    throw cannot_write(fmt::format("cannot write {}: it is not a directory; name a directory with --report",
                                   path_.string()));
  }
  try {
    const new_file probe(temporary_name(path_)); // better now than after a long run
  } catch (...) {
    if (made_) rmdir(path_.c_str());
    throw;
  }
}

report_directory::~report_directory() {
  if (made_) rmdir(path_.c_str()); // fails if there is anything in it, as it should
}

void report_directory::write(const std::string& name, std::string_view content) const {
  new_file file(temporary_name(path_));
  file.write(content);
  file.keep_as(path_ / name);
}

void write_report(const report_directory& directory, const std::vector<result>& results,
                  const std::map<std::string, std::string>& titles, double seconds) {
  for (const result& r : results) {
    if (!r.trace) continue;
    directory.write(page_name(r) + ".html", violation_page(r));
    directory.write(page_name(r) + ".dot", dot_graph(r));
  }
  directory.write("index.html", index_page(results, titles, seconds));
}

} // namespace racewalk::report
