// How a figure is measured: as many iterations as fill a round, then rounds that take turns.
#include <algorithm>
#include <vector>

#include "bench/workload.h"

namespace racewalk::bench {
namespace {

constexpr nanoseconds round_length{25e6}; // long beside a timer tick, short beside a neighbour's burst
constexpr unsigned rounds = 7;

nanoseconds median(std::vector<nanoseconds> values) {
  std::nth_element(values.begin(), values.begin() + rounds / 2, values.end());
  return values[rounds / 2];
}

/// The iterations that take a round. Also warms up: caches, page tables, the allocator's lists.
std::uint64_t calibrate(workload& w) {
  for (std::uint64_t iterations = 1;; iterations *= 2) {
    const auto start = bench_clock::now();
    w.run(iterations);
    const nanoseconds wall = bench_clock::now() - start;
    if (wall >= round_length) return iterations;
    if (wall >= round_length / 16)
      return std::max<std::uint64_t>(
          1, static_cast<std::uint64_t>(static_cast<double>(iterations) * (round_length / wall)));
  }
}

} // namespace

comparison compare(const figure& f) {
  struct side {
    std::unique_ptr<workload> work;
    std::uint64_t iterations = 0;
    std::vector<nanoseconds> times;
  };
  side ours{f.ours()};
  side kernel{f.kernel()};
  for (side* s : {&ours, &kernel})
    s->iterations = calibrate(*s->work);
  for (unsigned i = 0; i < rounds; i++)
    for (side* s : {&ours, &kernel})
      s->times.push_back(s->work->run(s->iterations) / (static_cast<double>(s->iterations) * f.operations));
  return {median(ours.times), median(kernel.times)};
}

} // namespace racewalk::bench
