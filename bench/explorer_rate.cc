// How fast the explorer is: executions a second, on one core, on two families that grow out of shipped
// scenarios.
//
//   pin   S5.7: pinners against the start of writeback, each with a number of tries
//   walk  S1.4: lockless walkers against munmap() of the table that they are in
//
// The rate counts the whole decision: set-up, learning what is shared, replaying fibres, judging graphs.
// Seconds are this process's, so a busy machine does not blur them.
#include <cstdlib>
#include <ctime>

#include <fmt/format.h>

#include "mm/gup.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "racewalk/scenario.h"
#include "scenarios/testbed.h"

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
    for (unsigned i = 0; i < n; i++)
      cpu([this] {
        page* got = nullptr;
        if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 1) unpin_user_page(got);
      });
    cpu([this] { unmap_region(mm_, whole_table(0)); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

void measure(const std::string& what, const arch_desc& arch,
             const std::function<std::unique_ptr<testbed>()>& make) {
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
  const std::clock_t begin = std::clock();
  const decision d = decide(s, v, arch, options);
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  const auto visited = static_cast<double>(d.outcome.executions + d.outcome.blocked);
  fmt::print("{:<24} {:<10} {:<5} {:>9} executions {:>6} blocked {:>4} events {:>8.3f} s {:>9.0f} / s\n",
             what, arch.name, explore::to_string(options.model), d.outcome.executions, d.outcome.blocked,
             d.outcome.max_events, seconds, visited / seconds);
}

} // namespace

int main() {
  for (const arch_desc* arch : {&x86_64, &arm64}) {
    measure("pin, 2 pinners, 2 tries", *arch, [] { return std::make_unique<pinners>(2U, 2U); });
    measure("pin, 3 pinners", *arch, [] { return std::make_unique<pinners>(3U, 1U); });
    measure("pin, 2 pinners, 3 tries", *arch, [] { return std::make_unique<pinners>(2U, 3U); });
    measure("walk, 2 walkers", *arch, [] { return std::make_unique<walkers>(2U); });
    measure("walk, 3 walkers", *arch, [] { return std::make_unique<walkers>(3U); });
  }
  return 0;
}
