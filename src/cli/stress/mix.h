// What the mixes of `racewalk stress` share: each is a kind of load on the native library.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/temporary_directory.h"
#include "mm/host_io_queue.h"
#include "racewalk/address_space.h"

namespace racewalk::cli::stress {

using clock = std::chrono::steady_clock;

/// The first thing that was wrong, and the word to stop.
class verdict {
 public:
  /// Ends the run; the first reason is kept.
  void fail(std::string why) {
    const std::lock_guard guard(lock_);
    if (failure_.empty()) failure_ = std::move(why);
    failed_.store(true);
  }
  [[nodiscard]] bool failed() const { return failed_.load(); }
  std::string failure() {
    const std::lock_guard guard(lock_);
    return failure_;
  }

 private:
  std::mutex lock_;
  std::string failure_;
  std::atomic<bool> failed_{false};
};

/// Makes allocations fail as the options say, while it lives: also the host's, for transfers.
class failing_allocations {
 public:
  failing_allocations(System& system, const stress_options& options) : system_(system) {
    system.fail_io().error = ENOMEM;
    system.fail_reserve().error = ENOMEM;
    set(options.fail_nth, static_cast<std::uint32_t>(options.fail_probability * 1e6));
  }
  ~failing_allocations() { set(0, 0); }
  failing_allocations(const failing_allocations&) = delete;
  failing_allocations& operator=(const failing_allocations&) = delete;

 private:
  void set(std::uint64_t every, std::uint32_t millionths) {
    for (fault_attr* attr : std::initializer_list<fault_attr*>{
             &system_.fail_page_alloc(), &system_.failslab(), &system_.fail_io(), &system_.fail_reserve()}) {
      attr->fail_every(every);
      attr->fail_with_probability(millionths);
    }
  }
  System& system_;
};

/// The machine's memory, in bytes: what the options say, or what the mix likes.
inline std::uint64_t machine_bytes(const stress_options& options, std::uint64_t liked) {
  return options.memory == 0 ? liked : options.memory << 20;
}

/// What takes memory back, as the options say: kswapd and a swap file. The machine outlives
/// it.
class memory_pressure {
 public:
  memory_pressure(System& system, const stress_options& options) : system_(system) {
    if (options.swap != 0)
      system.reclaim().swapon(directory_.emplace().path() + "/swap", options.swap << 20).value();
    if (options.memory == 0) return;
    // so late that allocations come to take memory back themselves, too
    system.reclaim().tune_kswapd({.low = 5, .high = 10}).value();
    system.reclaim().start_kswapd();
  }
  ~memory_pressure() { system_.reclaim().stop_kswapd(); }
  memory_pressure(const memory_pressure&) = delete;
  memory_pressure& operator=(const memory_pressure&) = delete;

 private:
  System& system_;
  std::optional<temporary_directory> directory_;
};

/// What was done, in the words that are printed, and what was wrong with it; empty if nothing was.
struct outcome {
  std::vector<std::pair<std::string, std::uint64_t>> counts;
  std::uint64_t frames; ///< of the machine; all of them are free again if nothing was wrong
  std::string failure;
};

/// What a mix has counted, and what every mix counts.
template <class State> outcome outcome_of(State& s, decltype(outcome::counts) counts) {
  System& system = s.system;
  const Reclaim::Statistics memory = system.reclaim().statistics();
  const std::uint64_t failed = system.fail_page_alloc().failed() + system.failslab().failed() +
                               system.fail_io().failed() + system.fail_reserve().failed();
  counts.insert(counts.end(), {{"allocations made to fail", failed},
                               {"pages taken back", memory.stolen},
                               {"pages swapped out", memory.swapped_out},
                               {"pages swapped in", memory.swapped_in},
                               {"allocations that had to take back", memory.alloc_stalls}});
  return {std::move(counts), s.free_at_start, s.outcome.failure()};
}

/// Calls work(i, over) in so many threads, with over() true once their time is up or something is wrong.
template <class Work>
void run_threads(unsigned threads, const stress_options& options, const verdict& v, Work work) {
  const auto until = clock::now() + std::chrono::duration_cast<clock::duration>(
                                        std::chrono::duration<double>(options.seconds));
  const auto over = [&v, until] { return v.failed() || interrupted() || clock::now() >= until; };
  std::vector<std::jthread> all;
  for (unsigned i = 0; i < threads; i++)
    all.emplace_back([&work, &over, i] { work(i, over); });
}

/// A worker(state, i) for each thread, all at once, while allocations fail as the options say. What they have
/// done in all.
template <class Worker, class Totals, class State> Totals run_workers(State& s) {
  std::vector<Totals> done(s.options.threads);
  {
    const failing_allocations failing(s.system, s.options);
    run_threads(s.options.threads, s.options, s.outcome, [&](unsigned i, const auto& over) {
      Worker w(s, i);
      done[i] = w.run(over);
    });
  }
  Totals all;
  for (const Totals& one : done)
    all += one;
  return all;
}

/// Everything that took frames is gone: are all free again?
template <class State> void check_frames(State& s) {
  s.system.settle();
  if (const std::uint64_t free = s.system.free_frames(); free != s.free_at_start)
    s.outcome.fail(
        fmt::format("{} frames were free at the start and {} are at the end", s.free_at_start, free));
  if (const std::uint64_t used = s.system.reclaim().statistics().swap_used; used != 0)
    s.outcome.fail(fmt::format("{} slots of the swap file are nobody's", used));
}

outcome run_maps(const stress_options& options);  ///< mappings that come and go
outcome run_thp(const stress_options& options);   ///< tables that change their shape
outcome run_files(const stress_options& options); ///< files that are written back

} // namespace racewalk::cli::stress
