// From a partial order to what people read: one interleaving with few context switches, each step in words.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "explore/explorer.h"

namespace racewalk::explore {

/// The name of the function that `where` is in; `scenario` for the body of a CPU.
std::string function_name(const site& where);

/// All events, in an order that keeps program order and reads-from and, where the execution has one, a single
/// order of all accesses; with `first` before `second`, if they are given and it can be.
std::vector<eid> linearise(const graph& g, eid first = NONE, eid second = NONE);

/// How long a reader needs: context switches first, then events.
unsigned length_of(const graph& g);

struct step {
  eid event = NONE;
  unsigned thread = 0;
  std::string function;
  std::string file;
  unsigned line = 0;
  std::string text; ///< `R pmd[0] -> table pfn=3`
  bool stale = false;
  std::string note;   ///< why the value is not the newest
  bool loses = false; ///< breaks the property
};

/// The execution as steps; a read-modify-write is one step, and bookkeeping of waits and sections that nobody
/// waited for is left out.
std::vector<step> steps_of(const failure& f, const locations& places, memory_model m, const naming& names);

/// What replay() needs to run the execution again.
std::vector<choice> schedule_of(const failure& f);

} // namespace racewalk::explore
