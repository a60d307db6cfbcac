#include "explore/guard.h"

#include <pthread.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "explore/linear.h"

namespace racewalk::explore {

namespace {

constexpr int FAULTS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
/// A step is endless when it has had so much CPU time, or, if it sleeps, when so many ticks, a second apart,
/// have found it under way. A machine that is busy with others makes no step endless.
constexpr time_t PATIENCE = 5;
constexpr unsigned TICKS_ASLEEP = 60;
constexpr std::size_t HANDLER_STACK = std::size_t{64} * 1024;

void (*tell)(const char*) = nullptr; ///< null: this process is not guarded
/// What runs outside of a body; null: nothing of the user's.
constinit thread_local const char* volatile section = nullptr;

const char* what_is(int signal) {
  switch (signal) {
  case SIGSEGV:
    return "segmentation fault";
  case SIGBUS:
    return "bus error";
  case SIGFPE:
    return "arithmetic fault (a division by zero?)";
  case SIGILL:
    return "illegal instruction (the end of a function that returns nothing?)";
  case SIGABRT:
    break;
  }
  return "abort()";
}

/// Ends the process with a line that is put together without touching the heap.
[[noreturn]] void die(const char* what, const char* where) {
  char line[160] = {};
  std::strncat(line, what, 100);
  std::strncat(line, where, 50);
  tell(line);
  _exit(GUARD_EXIT);
}

void on_fault(int signal, siginfo_t* info, void*) {
  if (current_engine) current_engine->cut_short(mishap::fault, what_is(signal), info->si_addr);
  const char* const in = section;
  die(what_is(signal), in               ? in
                       : current_engine ? " in the explorer"
                                        : " in a thread that the program started");
}

/// Every second that this process has a CPU in: is the step that was under way then still the same?
void on_tick(int) {
  static unsigned last_beat = 0;
  static unsigned ticks = 0;
  static time_t begin = 0;
  timespec cpu{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  const time_t used = cpu.tv_sec;
  const bool in_step = section || (current_engine && current_engine->in_body());
  if (heartbeat != last_beat || !in_step) {
    last_beat = heartbeat;
    ticks = 0;
    begin = used;
    return;
  }
  if (++ticks < TICKS_ASLEEP && used - begin < PATIENCE) return;
  ticks = 0;
  begin = used;
  constexpr const char* endless = "runs without end and without a step";
  if (current_engine) current_engine->cut_short(mishap::endless, endless, nullptr);
  die(endless, section);
}

/// Timers are not inherited.
void start_ticking() {
  const itimerval every_second{{1, 0}, {1, 0}};
  setitimer(ITIMER_REAL, &every_second, nullptr);
}

void on_stray_access(site where) {
  tell(("a thread that the program started uses a shared variable behind the explorer's back, in " +
        place_name(where))
           .c_str());
  _exit(GUARD_EXIT);
}

} // namespace

void guard_process(void (*last_words)(const char* line)) {
  tell = last_words;
  static std::byte stack[HANDLER_STACK]; // the body's own may be what is wrong
  const stack_t alternate{stack, 0, sizeof stack};
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  // The handler need not return, so nothing may be masked in it.
  action.sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO;
  action.sa_sigaction = &on_fault;
  for (const int signal : FAULTS)
    sigaction(signal, &action, nullptr);
  action.sa_flags = SA_ONSTACK | SA_NODEFER | SA_RESTART;
  action.sa_handler = &on_tick;
  sigaction(SIGALRM, &action, nullptr);
  start_ticking();
  pthread_atfork(nullptr, nullptr, &start_ticking);
}

guarded_section::guarded_section(const char* what) : outer_(section) {
  heartbeat = heartbeat + 1;
  section = what;
}
guarded_section::~guarded_section() { section = outer_; }

guarded_run::guarded_run() {
  if (tell) stray_access = &on_stray_access;
}
guarded_run::~guarded_run() { stray_access = nullptr; }

} // namespace racewalk::explore
