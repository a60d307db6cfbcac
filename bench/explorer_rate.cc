// How fast the explorer is, and what its reductions save.
//
//   protocols  the small ones of protocols.h, with reductions off and on
//   pin        S5.7: pinners against the start of writeback, each with a number of tries
//   walk       S1.4: lockless walkers against munmap() of the table that they are in
//   split      one long search alone and over two processes, in turn: wall time, equal counts
//
// usage: explorer_rate [TEXT]   only the rows with TEXT in their names
//
// A rate counts the whole decision: set-up, learning what is shared, replaying fibres, judging graphs. Short
// ones are made again and again for a tenth of a second. Seconds are this process's, so a busy machine does
// not blur them; those of `split` are of the wall.
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "bench/protocols.h"
#include "mm/gup.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"
#include "scenario/decide.h"

using namespace racewalk;

namespace {

class pinners : public testbed {
 public:
  pinners(unsigned n, unsigned tries) : testbed(n + 1) {
    for (unsigned i = 0; i < n; i++)
      cpu([this, tries] {
        for (unsigned t = 0; t < tries; t++)
          if (try_get_page_pin(folio_, 1) == pin_result::pinned) return;
      });
    cpu([this] { (void)folio_test_set_writeback_pinned(folio_); });
  }

 private:
  folio* folio_ = page_folio(new_page(0, "p"));
};

class walkers : public testbed {
 public:
  explicit walkers(unsigned n) : testbed(n + 1) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    for (unsigned i = 0; i <= n; i++)
      load_mm(i, mm_);
    walk(); // the first pin ever is announced to fork(), which is another argument (S5.11)
    for (unsigned i = 0; i < n; i++)
      cpu([this] { walk(); });
    cpu([this] { unmap_region(mm_, whole_table(0)); });
  }

 private:
  void walk() {
    page* got = nullptr;
    if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 1) unpin_user_page(got);
  }

  mm_struct& mm_ = new_mm();
};

std::string rows; // what the names of those to be measured have in them
bool wanted(const std::string& what) { return what.find(rows) != std::string::npos; }

/// What decide() returns, and how many seconds it takes.
template <class Decide> auto timed(Decide decide) {
  const std::clock_t begin = std::clock();
  for (unsigned times = 1;; ++times) {
    auto result = decide();
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (seconds >= 0.1) return std::pair(std::move(result), seconds / times);
  }
}

void measure(const std::string& what, const arch_desc& arch,
             const std::function<std::unique_ptr<testbed>()>& make) {
  if (!wanted(what)) return;
  scenario s;
  s.set_up = [&](const settings&) { return make(); };
  variant v;
  v.depart = [](settings& chosen) {
    chosen.policy.pin_scheme = pin_scheme_t::barrier;
    chosen.policy.pin_fence = pin_fence_t::mb;
  };
  explore::search_options options;
  options.model = default_model(arch);
  options.max_executions = 300'000;
  const auto [d, seconds] = timed([&] { return decide(s, v, arch, options); });
  const auto visited = static_cast<double>(d.outcome.executions + d.outcome.blocked);
  fmt::print("{:<24} {:<10} {:<5} {:>9} executions {:>6} blocked {:>4} events {:>9.4f} s {:>9.0f} / s\n",
             what, arch.name, explore::to_string(options.model), d.outcome.executions, d.outcome.blocked,
             d.outcome.max_events, seconds, visited / seconds);
}

void measure(const std::string& what, const explore::protocols::protocol& p, explore::memory_model m) {
  if (!wanted(what)) return;
  for (bool reduced : {false, true}) {
    explore::search_options options;
    options.model = m;
    options.symmetry = options.unordered_locks = options.commuting = reduced;
    options.max_executions = 4'000'000;
    options.hardware.monotone_translations = true;
    const auto [o, seconds] = timed([&] { return explore::explorer(p.code, options).run(); });
    fmt::print("{:<28} {:<5} {:<8} {:>9} executions {:>4} events {:>9.4f} s {:>9.0f} / s\n", what,
               explore::to_string(m), reduced ? "reduced" : "full", o.executions, o.max_events, seconds,
               static_cast<double>(o.executions + o.blocked) / seconds);
  }
}

void measure_protocols() {
  using namespace explore::protocols;
  for (auto m : {explore::memory_model::sc, explore::memory_model::tso, explore::memory_model::weak}) {
    measure("store buffering, 14 threads", *store_buffering(14), m);
    measure("seqlock, 2 and 2, one retry", *seqlock(2, 2, 2), m);
    measure("ticket lock, 6 threads", *ticket_lock(6, 1), m);
    measure("ticket lock, 7 threads", *ticket_lock(7, 1), m);
    measure("queue, 2 and 2", *michael_scott_queue(2, 2), m);
    measure("pin, 2 pinners, 3 tries", *pin(2, 3), m);
    measure("pin, 2 pinners, 4 tries", *pin(2, 4), m);
    measure("pin, 3 pinners", *pin(3, 2), m);
    measure("lock around own data, 6", *disjoint_locks(6), m);
  }
}

/// The same search alone and split, three times in turn.
void measure_split() {
  const auto p = explore::protocols::pin(2, 4);
  auto search = [&](unsigned extra, u64* executions) {
    explore::search_options options;
    options.model = explore::memory_model::weak;
    options.symmetry = options.commuting = false;
    options.more_workers = [&] { return std::exchange(extra, 0U); };
    const auto begin = std::chrono::steady_clock::now();
    *executions = explore::explorer(p->code, options).run().executions;
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (int i = 0; i < 3; i++) {
    u64 alone = 0;
    u64 shared = 0;
    const double one = search(0, &alone);
    const double two = search(1, &shared);
    fmt::print("split: {} executions alone in {:.2f} s, {} over two processes in {:.2f} s: {:.2f}x\n", alone,
               one, shared, two, one / two);
  }
}

long peak_memory_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

} // namespace

int main(int argc, char** argv) {
  if (argc > 1) rows = argv[1];
  measure_protocols();
  fmt::print("peak memory so far: {} KiB\n", peak_memory_kib());
  for (const arch_desc* arch : {&x86_64, &arm64}) {
    measure("pin, 2 pinners, 2 tries", *arch, [] { return std::make_unique<pinners>(2U, 2U); });
    measure("pin, 3 pinners", *arch, [] { return std::make_unique<pinners>(3U, 1U); });
    measure("pin, 2 pinners, 3 tries", *arch, [] { return std::make_unique<pinners>(2U, 3U); });
    measure("walk, 2 walkers", *arch, [] { return std::make_unique<walkers>(2U); });
    measure("walk, 3 walkers", *arch, [] { return std::make_unique<walkers>(3U); });
  }
  if (wanted("split")) measure_split();
  return 0;
}
