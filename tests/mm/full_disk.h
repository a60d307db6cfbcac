// A disk that is full, without one.
#pragma once

#include <sys/resource.h>

#include <csignal>

#include "sync/types.h"

namespace racewalk::test {

/// Lets no file of this process grow or be written beyond so many bytes, while it lives: a disk that is full.
class full_disk {
 public:
  explicit full_disk(u64 bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~full_disk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    static_cast<void>(std::signal(SIGXFSZ, handler_));
  }
  full_disk(const full_disk&) = delete;
  full_disk& operator=(const full_disk&) = delete;

 private:
  void (*handler_)(int);
  rlimit before_{};
};

} // namespace racewalk::test
