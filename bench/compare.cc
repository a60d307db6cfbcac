// How a figure is measured: as many iterations as fill a round, then rounds that take turns.
#include <algorithm>
#include <vector>

#include "bench/workload.h"

namespace racewalk::bench {
namespace {

constexpr nanoseconds round_length{25e6}; // long beside a timer tick, short beside a neighbour's burst
constexpr unsigned rounds = 7;
constexpr unsigned long_rounds = 3; // of figures that say how long they are

nanoseconds median(std::vector<nanoseconds> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
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

namespace {

/// One side of a figure in the course of its rounds.
class contestant {
 public:
  contestant(const figure& f, const make_workload& make)
      : operations_(static_cast<double>(f.operations)), work_(make ? make() : nullptr) {
    if (work_) iterations_ = f.iterations != 0 ? f.iterations : calibrate(*work_);
  }
  void run_round() {
    if (work_) times_.push_back(work_->run(iterations_) / (static_cast<double>(iterations_) * operations_));
  }
  [[nodiscard]] std::optional<nanoseconds> result() const {
    if (!work_) return {};
    return median(times_);
  }

 private:
  double operations_;
  std::unique_ptr<workload> work_;
  std::uint64_t iterations_ = 0;
  std::vector<nanoseconds> times_;
};

} // namespace

comparison compare(const figure& f) {
  contestant ours(f, f.ours);
  contestant kernel(f, f.kernel);
  contestant direct(f, f.direct);
  for (unsigned i = 0; i < (f.iterations != 0 ? long_rounds : rounds); i++)
    for (contestant* c : {&ours, &kernel, &direct})
      c->run_round();
  return {ours.result().value(), kernel.result(), direct.result()};
}

} // namespace racewalk::bench
