// Threads that stay while a workload lives and run the same job together, from a common start.
#pragma once

#include <atomic>
#include <barrier>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "bench/workload.h"

namespace racewalk::bench {

class crew {
 public:
  /// `begin(i)` is called once on thread i, first; it returns what thread i keeps while it lives.
  template <class Begin> crew(unsigned threads, Begin begin) : start_(threads + 1), end_(threads + 1) {
    for (unsigned i = 0; i < threads; i++)
      threads_.emplace_back([this, i, begin] {
        decltype(begin(i)) kept;
        attempt([&] { kept = begin(i); });
        serve(i);
      });
  }
  ~crew() {
    job_ = nullptr;
    start_.arrive_and_wait();
  }
  crew(const crew&) = delete;
  crew& operator=(const crew&) = delete;

  /// Runs job(i) on every thread i; the time from the common start to the last one's end. Throws what a
  /// thread has thrown, now and whenever it is called again.
  nanoseconds run(const std::function<void(unsigned)>& job) {
    job_ = &job;
    start_.arrive_and_wait();
    const auto from = bench_clock::now();
    end_.arrive_and_wait();
    const nanoseconds taken = bench_clock::now() - from;
    if (failed_) std::rethrow_exception(failure_);
    return taken;
  }

 private:
  void serve(unsigned i) {
    for (;;) {
      start_.arrive_and_wait();
      if (!job_) return;
      attempt([&] { (*job_)(i); });
      end_.arrive_and_wait();
    }
  }

  template <class F> void attempt(F work) {
    if (failed_) return; // somebody's begin(), which the work needs
    try {
      work();
    } catch (...) {
      if (!failing_.test_and_set()) {
        failure_ = std::current_exception();
        failed_ = true;
      }
    }
  }

  const std::function<void(unsigned)>* job_ = nullptr; // changes only while all threads wait at start_
  std::barrier<> start_;
  std::barrier<> end_;
  std::atomic_flag failing_;
  std::exception_ptr failure_; // the first; written before failed_
  std::atomic<bool> failed_{false};
  std::vector<std::jthread> threads_;
};

} // namespace racewalk::bench
