#include "cli/stress/preemption.h"

#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#ifndef sigev_notify_thread_id // by the name of sigevent(7), which glibc has since 2.41
#define sigev_notify_thread_id _sigev_un._tid
#endif

namespace racewalk::cli::stress {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds search_pause = 5ms;
constexpr std::chrono::nanoseconds shortest_stop = 16us;
constexpr int longest_stop = 9; // 8 ms, once in a thousand times

/// A thread and its timer. The timer's signal carries it, and may be on its way when the timer is gone, or
/// the thread: so it stays what it is for ever, and is used again for another thread.
struct victim {
  pid_t thread = 0; ///< 0: unused; the handler does not ask
  std::atomic<timer_t> timer{};
  std::atomic<std::uint64_t> random{0}; ///< the state of its generator
};

/// More threads than these are left alone.
constinit std::array<victim, 256> victims;
constinit std::atomic<std::int64_t> mean_interval{0}; ///< in ns; 0: nobody is stopped any more
constinit std::atomic<std::uint64_t> stops{0};
static_assert(decltype(victim::timer)::is_always_lock_free && decltype(stops)::is_always_lock_free,
              "the handler may only touch lock-free atomics");

/// The next of a victim's random numbers (splitmix64). Only its thread draws.
std::uint64_t draw(victim& v) {
  std::uint64_t z = v.random.load(std::memory_order_relaxed) + 0x9e3779b97f4a7c15;
  v.random.store(z, std::memory_order_relaxed);
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

timespec timespec_of(std::chrono::nanoseconds t) { return {t / 1s, (t % 1s).count()}; }

/// The timer goes off once, after a time between 0 and twice the mean.
void arm(victim& v, std::int64_t mean) {
  const auto after = static_cast<std::int64_t>(draw(v) % (2 * static_cast<std::uint64_t>(mean)));
  const itimerspec once{.it_interval = {}, .it_value = timespec_of(std::chrono::nanoseconds(after + 1))};
  timer_settime(v.timer.load(std::memory_order_relaxed), 0, &once, nullptr);
}

/// Every other time only others go first; each longer time, twice the one before, comes half as often.
void stop(victim& v) {
  const int doublings = std::min(std::countr_zero(draw(v)), longest_stop);
  if (doublings == 0) {
    sched_yield();
  } else {
    const timespec time = timespec_of(shortest_stop * (1 << doublings));
    nanosleep(&time, nullptr);
  }
}

/// In the thread that is stopped, at any of its instructions: system calls and atomics, nothing else.
void on_timer(int, siginfo_t* info, void*) {
  const std::int64_t mean = mean_interval.load(std::memory_order_relaxed);
  if (mean == 0) return;
  const int error = errno;
  auto& v = *static_cast<victim*>(info->si_value.sival_ptr);
  stops.fetch_add(1, std::memory_order_relaxed);
  stop(v);
  arm(v, mean); // only now: it is never stopped while it is
  errno = error;
}

std::vector<pid_t> threads_of_this_process() {
  std::vector<pid_t> threads;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    const std::string name = task.path().filename();
    std::from_chars(name.data(), name.data() + name.size(), threads.emplace_back());
  }
  return threads;
}

victim* victim_of(pid_t thread) {
  const auto found = std::ranges::find_if(victims, [=](const victim& v) { return v.thread == thread; });
  return found == victims.end() ? nullptr : &*found;
}

/// 0 or an errno.
int begin(victim& v, pid_t thread, std::uint64_t seed) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGRTMIN;
  event.sigev_value.sival_ptr = &v;
  event.sigev_notify_thread_id = thread;
  timer_t timer{};
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return errno;
  v.thread = thread;
  v.timer = timer;
  v.random = seed;
  arm(v, mean_interval);
  return 0;
}

void end(victim& v) {
  timer_delete(v.timer);
  v.thread = 0;
}

} // namespace

/// And forgets those that have ended.
void preemption::stop_new_threads(pid_t but) {
  const std::vector<pid_t> threads = threads_of_this_process();
  for (victim& v : victims)
    if (v.thread != 0 && std::ranges::find(threads, v.thread) == threads.end()) end(v);
  for (const pid_t thread : threads) {
    if (thread == but || victim_of(thread) != nullptr) continue;
    if (victim* unused = victim_of(0)) // an error: it has ended meanwhile
      static_cast<void>(begin(*unused, thread, seed_ * 1'000'003 + threads_++));
  }
}

preemption::preemption(std::uint64_t per_second, std::uint64_t seed) : seed_(seed) {
  // The handler stays for ever: a signal may be on its way when all timers are gone.
  struct sigaction action = {};
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGRTMIN, &action, nullptr);
  mean_interval = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::nano::den / per_second));
  stops = 0;
  if (const int error = begin(victims[0], gettid(), seed_ * 1'000'003 + threads_++))
    throw std::system_error(error, std::generic_category(), "--preempt: no timer");
  search_ = std::jthread([this](const std::stop_token& over) {
    for (; !over.stop_requested(); std::this_thread::sleep_for(search_pause))
      stop_new_threads(gettid());
  });
}

preemption::~preemption() {
  mean_interval = 0;
  search_ = {};
  for (victim& v : victims)
    if (v.thread != 0) end(v);
}

std::uint64_t preemption::count() const { return stops; }

} // namespace racewalk::cli::stress
