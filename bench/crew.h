// Threads that stay while a workload lives and run the same job together, from a common start.
#pragma once

#include <atomic>
#include <barrier>
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
        auto kept = begin(i);
        serve(i);
      });
  }
  ~crew() {
    job_ = nullptr;
    start_.arrive_and_wait();
  }
  crew(const crew&) = delete;
  crew& operator=(const crew&) = delete;

  /// Runs job(i) on every thread i; the time from the common start to the last one's end.
  nanoseconds run(const std::function<void(unsigned)>& job) {
    job_ = &job;
    start_.arrive_and_wait();
    const auto from = bench_clock::now();
    end_.arrive_and_wait();
    return bench_clock::now() - from;
  }

 private:
  void serve(unsigned i) {
    for (;;) {
      start_.arrive_and_wait();
      if (!job_) return;
      (*job_)(i);
      end_.arrive_and_wait();
    }
  }

  const std::function<void(unsigned)>* job_ = nullptr; // changes only while all threads wait at start_
  std::barrier<> start_;
  std::barrier<> end_;
  std::vector<std::jthread> threads_;
};

} // namespace racewalk::bench
