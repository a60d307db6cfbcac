// A ring of CPUs, as long as is wanted: each writes its own variable and reads the next two. 4^CPUs
// executions in the weak model.
#include "racewalk/scenario.h"

using namespace racewalk;

namespace {

struct ring : scenario_world {
  static constexpr unsigned MAX = 12;
  word_t x[MAX];

  explicit ring(const settings& s) {
    const unsigned n = s.shape == 0 ? 8 : MAX;
    for (unsigned i = 0; i < n; i++)
      program.threads.push_back([this, i, n] {
        WRITE_ONCE(x[i], 1);
        READ_ONCE(x[(i + 1) % n]);
        READ_ONCE(x[(i + 2) % n]);
      });
  }
};

const declare_scenario declared{{
    .name = "ring",
    .set_up = make<ring>,
    .variants = {{.name = "short"}, {.name = "long", .depart = [](settings& s) { s.shape = 1; }}},
}};

} // namespace
