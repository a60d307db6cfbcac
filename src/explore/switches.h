// How many context switches an execution takes at least.
//
// A bound on them cannot simply cut off graphs that are over it: on the way to an execution the search goes
// through graphs that are not parts of it, since a revisit removes what it does not need. What it can never
// remove again is the past of the events that were added with another choice than the newest; that part is in
// all executions that the search can still reach, and none of them takes fewer switches than it does.
#pragma once

#include "explore/graph.h"

namespace racewalk::explore {

/// The events that no revisit can remove or change any more, of each thread up to some point.
clock settled_part(const graph& g);

/// The fewest context switches of an order of these events that keeps program order and reads-from; with
/// `one_memory`, that is also one order of all accesses to the memory. The part has to be closed under
/// program order and reads-from. More than `limit`: limit + 1.
unsigned fewest_switches(const graph& g, const clock& part, bool one_memory, unsigned limit);

/// All events of the graph.
clock whole(const graph& g);

} // namespace racewalk::explore
