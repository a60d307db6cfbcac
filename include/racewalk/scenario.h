// Scenarios: arguments as programs that are decided.
//
//   struct mailbox : testbed {
//     word_t data{0}, flag{0};
//     u64 got = 0;
//     explicit mailbox(const settings&) : testbed(2) {
//       cpu([this] { WRITE_ONCE(data, 42); smp_store_release(flag, 1); });
//       cpu([this] { got = smp_load_acquire(flag) ? READ_ONCE(data) : 42; });
//       finally([this] { VM_BUG_ON(got != 42, "MESSAGE", "the flag was seen and the data was not"); });
//     }
//   };
//   const declare_scenario message{{.name = "message", .threads = {"send", "receive"}, .set_up =
//   make<mailbox>}};
//
// A scenario sets up a machine, gives each CPU a body, and names a property of the final state. The bodies
// call the functions that the library ships (mm/gup.h, mm/mmap.h ...) or are code in kernel idiom on the
// primitives of sync/sync.h; what an argument is about is a departure from the policy (mm/policy.h) or a
// shape of the scenario's own, so a variant is a set of departures. The invariants (use after free, broken
// counts, hangs, data races ...) are checked in every run without being asked for.
//
// Code that runs on a CPU is run again and again with the same values and may be dropped anywhere. It keeps
// its state on its own stack, in shared<>/plain<> variables, or in variables that only its own thread writes
// and that it sets before it reads them; it owns nothing that needs a destructor, catches no exceptions, and
// decides nothing by clocks, addresses, files, or statics that change. It starts no threads.
//
// `racewalk check FILE.cc` decides what a file of one's own declares. docs/writing-scenarios.md teaches it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "arch/arch.h"
#include "explore/program.h"
#include "machine/policy.h"
#include "mm/policy.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What one run is made with.
struct settings {
  const arch_desc* arch = nullptr;
  explore::memory_model model = explore::memory_model::weak;
  geometry_t geometry{.levels = 2, .bits = 1};
  policy_t policy;
  machine_policy_t machine;
  unsigned shape = 0; ///< which of the scenario's own initial states, bodies or questions; 0 is the usual one
};

/// What the source of an argument says. `open`: it leaves it open.
enum class expect : u8 { safe, violation, open };

/// Everything that exists while a scenario runs. Made anew for each exploration, once per exploration.
class scenario_world {
 public:
  virtual ~scenario_world() = default;
  /// Called once, when the set-up is done: variables may be read, as `names` may not.
  virtual void settled() {}

  explore::program program; ///< a body per CPU, and the property
  explore::naming names;    ///< of its variables
};

struct variant {
  std::string id; ///< its letter in the catalogue
  std::string name;
  std::string summary;                             ///< one line: what it departs in
  std::function<void(settings&)> depart;           ///< none: in nothing
  std::function<expect(const settings&)> expected; ///< none: nobody argued anything
};

struct scenario {
  std::string id; ///< its number in the catalogue
  std::string name;
  std::string summary;              ///< one line: what is argued
  std::string source;               ///< where
  std::vector<std::string> threads; ///< what each CPU does, in a word
  std::function<std::unique_ptr<scenario_world>(const settings&)> set_up;
  std::vector<variant> variants;       ///< the first is the shipped code
  std::vector<const arch_desc*> archs; ///< if it is about what only some have: those; else none
};

/// scenario::set_up for a world that is made from the settings.
template <class World> std::unique_ptr<scenario_world> make(const settings& s) {
  return std::make_unique<World>(s);
}

/// `const declare_scenario mine{{...}};` in a FILE.cc makes a scenario one of those that the file has.
class declare_scenario {
 public:
  explicit declare_scenario(scenario s);
};

/// What has been declared in this process, in order.
const std::vector<scenario>& declared_scenarios();

} // namespace racewalk::inline RACEWALK_BACKEND
