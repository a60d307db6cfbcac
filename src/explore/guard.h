// Code under test that goes wrong by itself: faults, and steps that never end.
//
// In a process that is guarded, a fault (a bad address, a division by zero, abort() ...) in the body of a CPU
// is a violation of the execution that it happens in, told with the steps that led there: what a fibre was
// doing can be dropped. So is a step that does not end. Outside of a body (while a file is loaded, in set-up,
// in the property) there is nothing to tell it with, and the process says what happened and ends.
//
// A signal handler on a stack of its own notices both. It leaves by switching to the search, as the body
// would have done at its next primitive.
#pragma once

#include "sync/sync.h"

namespace racewalk::explore {

/// The exit status of a process that the guard ended.
inline constexpr int GUARD_EXIT = 99;

/// Guards this process and those that it forks. `last_words` gets one line before the process ends; it is
/// called in a signal handler.
void guard_process(void (*last_words)(const char* line));
/// Called in a guarded process for each body that goes on: it is alive.
inline constinit thread_local volatile unsigned heartbeat = 0;

/// Code of the user's that runs outside of a body, while this lives.
class guarded_section {
 public:
  explicit guarded_section(const char* what);
  ~guarded_section();
  guarded_section(const guarded_section&) = delete;
  guarded_section& operator=(const guarded_section&) = delete;

 private:
  const char* outer_;
};

/// While this lives, other OS threads of a guarded process may not use shared variables: there are fibres
/// whose accesses they would be.
class guarded_run {
 public:
  guarded_run();
  ~guarded_run();
  guarded_run(const guarded_run&) = delete;
  guarded_run& operator=(const guarded_run&) = delete;
};

} // namespace racewalk::explore
