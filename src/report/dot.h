// A counterexample as its execution graph, for Graphviz: `dot -Tsvg NAME.dot`.
//
// Nodes are steps, in a cluster a CPU. Edges: po program order, rf from a write to who reads it, co from a
// write to the one that replaces its value, fr from a read to the write that replaces what it read. Reads of
// a value that was no longer the newest, and where it came from, are coloured.
#pragma once

#include <string>

#include "report/result.h"

namespace racewalk::report {

/// The graph of `r.trace`, which must be there.
std::string dot_graph(const result& r);

} // namespace racewalk::report
