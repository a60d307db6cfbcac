// The memory models: which execution graphs can happen, and what is ordered in them.
//
//   sc    program order, reads-from, coherence and from-reads are acyclic together.
//   tso   the same, where a write may be delayed past later reads of its thread up to a fence or a locked
//         read-modify-write, and a thread reads its own delayed writes.
//   weak  the Linux kernel memory model (Alglave et al., ASPLOS 2018; tools/memory-model), for programs whose
//         accesses are all marked, restricted to executions whose program order and reads-from are acyclic.
//         Address dependencies are those that ref<T> carries; control and data dependencies are not tracked,
//         so a read does not order a later write by itself, except that memory is freed after the reads that
//         precede it: somebody decided to free it.
//
// In all of them: a cached translation is ordered before the access it serves and after the write it came
// from, and by nothing else; an invalidation comes before every write that is newer than what a later
// translation of its CPU returns; a section that a quiescence event does not wait for begins after that event
// did.
//
// Each model is prefix-closed and extensible (a new event with the newest choice is always consistent), which
// is what the search relies on.
#pragma once

#include <array>

#include "explore/graph.h"
#include "explore/program.h"

namespace racewalk::explore {

/// What some hardware promises and other does not.
struct model_options {
  /// A section that has not ended yet may turn out to have begun before a wait that did not see it. The
  /// search has to go through such graphs: it is the end of the section that revisits the wait.
  bool sections_may_end = false;
  bool monotone_translations = false; ///< a CPU does not go back to an older entry between invalidations
  bool may_be_sc = true;              ///< false: the graph is known not to be sequentially consistent
};

enum class judgement : u8 { inconsistent, consistent, consistent_in_sc };
judgement judge(memory_model m, const graph& g, const model_options& options = {});
inline bool consistent(memory_model m, const graph& g, const model_options& options = {}) {
  return judge(m, g, options) != judgement::inconsistent;
}

/// May an event be added to a consistent graph with a choice that is not the newest? Answered for all of its
/// choices at once, and without judging the graph again: all that such a choice adds is an edge from the
/// event to the write that follows its choice in coherence order, so it is inconsistent if that write already
/// comes before the event.
///
/// Exact in sc and tso together with a look at the accesses of the same thread to the same location
/// (explorer::plausible()); in the weak model it answers for sc. Not for what is ordered otherwise than by
/// program order: translations and counts of sections.
class extension {
 public:
  /// An event at position `po` of `thread`. If the graph has one there, it is the last of its thread and
  /// counts as not yet added.
  struct probe {
    unsigned thread;
    unsigned po;
    bool store; ///< a write
    bool fence; ///< half of a read-modify-write
  };
  extension(memory_model m, const graph& g, const probe& p) : extension(m, g, {p, p}) {}
  extension(memory_model m, const graph& g, const std::array<probe, 2>& probes);
  /// May the probes come before `next`, the write after the choice? (NONE: there is none.)
  bool before(eid next) const { return next == NONE || !past_.test(next); }

 private:
  event_set past_; ///< what comes before one of the probes
};

/// Which events must have been performed before `last`, for use-after-free and data races.
class performed_before {
 public:
  performed_before(memory_model m, const graph& g, eid last);
  bool has(eid e);

 private:
  const graph& g_;
  eid last_;
  event_set found_; ///< what simple reasons show
  bool all_;        ///< there are no others
};

} // namespace racewalk::explore
