// Which locks are waited for while others are held, over all executions of a run: what lockdep does. Two
// chains that take the same locks in opposite orders are a deadlock that some other timing has, even if no
// execution that was visited deadlocks.
//
// A class of locks is one lock here: a scenario has few of each kind, and two page-table locks that are
// nested in the order of their addresses are no cycle. Trying a lock waits for nothing, so it makes no edge
// to that lock; what is then taken under it counts. Locks that are bits of a word (the folio lock) are not
// followed: who clears the bit need not be who set it.
//
// Having interrupts off is a lock of that CPU here, which who sends it an IPI waits for: no IPI may be waited
// for under a spinlock that the target waits for with interrupts off.
//
// A spinlock that an interrupt handler takes must never be held with interrupts on, or the handler may come
// while its own CPU holds it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "explore/crew.h"
#include "explore/graph.h"

namespace racewalk::explore {

class lock_order {
 public:
  struct taken {
    const void* lock;
    site where;
    int cpu = -1; ///< no lock but this CPU's having interrupts off, for which an IPI waits
    hold as = hold::exclusive;
  };
  /// `thread` waits for `second` while it holds `first`.
  struct edge {
    taken first;
    taken second;
    unsigned thread;
    bool in_cycle = false;
    std::shared_ptr<const graph> seen_in; ///< null: not since the search began anew
  };

  /// Notes an edge that was seen in `g`. If it closes a cycle, what to say about that; else nothing.
  const edge* note(const taken& first, const taken& second, unsigned thread, const graph& g);
  /// The names of variables; empty: they have none.
  using names = std::function<std::string(const void* addr)>;
  /// A way round from the edge to itself, in words.
  std::string cycle_of(const edge& closing, unsigned cpus, const names& name) const;

  /// How a spinlock is taken: in an interrupt handler, or with interrupts on.
  struct use {
    taken lock;
    bool in_handler;
    unsigned thread;
    std::shared_ptr<const graph> seen_in; ///< as edge::seen_in
  };
  /// Notes a use that was seen in `g`. What to say if that lock is used in the other way, too; else nothing.
  std::string note_use(const taken& lock, bool in_handler, unsigned thread, const graph& g,
                       const names& name);

  /// The executions are of a search that begins anew; which edges there are remains true.
  void forget_executions();
  const std::vector<edge>& edges() const { return edges_; }
  const std::vector<use>& uses() const { return uses_; }

 private:
  std::vector<const edge*> path(const void* from, const void* to) const;

  std::vector<edge> edges_;
  std::vector<use> uses_;
};

} // namespace racewalk::explore
