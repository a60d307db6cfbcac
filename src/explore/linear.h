// From a partial order to one interleaving with few context switches, for people to read and for replay.
#pragma once

#include <string>
#include <vector>

#include "explore/explorer.h"

namespace racewalk::explore {

/// The name of the function that `where` is in; `scenario` for the body of a CPU.
std::string function_name(const site& where);
/// `folio_lock() page_lock.h:17`
std::string place_name(const site& where);
/// `CPU1`, or `RCU callbacks of CPU1`
std::string thread_name(unsigned thread, unsigned cpus);
/// What the thread does, in one word: `read`, `update` (a read-modify-write), `barrier`.
const char* kind_name(const action& e);
/// `1 choice`, `2 choices`, `2 switches`
std::string counted(u64 n, const std::string& thing);

/// All events, in an order that keeps program order and reads-from and, where the execution has one, a single
/// order of all accesses; with `first` before `second`, if they are given and it can be.
std::vector<eid> linearise(const graph& g, eid first = NONE, eid second = NONE);

/// How long a reader needs: context switches first, then events.
unsigned length_of(const graph& g);

/// What replay() needs to run the execution again.
std::vector<choice> schedule_of(const failure& f);

} // namespace racewalk::explore
