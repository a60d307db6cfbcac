// What is known of a candidate from its code alone, before any read has a value: sets of events, program
// order, dependencies, and what fences order. Names are those of the Linux kernel memory model.
#pragma once

#include <string>
#include <vector>

#include "litmus/candidate.h"
#include "litmus/relation.h"

namespace racewalk::litmus {

template <std::size_t Words> struct static_order {
  using set = event_set<Words>;
  using rel = relation<Words>;

  explicit static_order(const candidate& c);

  std::size_t events;

  // sets
  set all, memory, reads, writes, initial, marked, plain, acquire, release;
  set rmb_reads; ///< R4rmb: all but those of operations without a result
  set noreturn;
  set lock_read, lock_write, unlock;
  set rcu_gp, srcu_gp;
  bool has_locks = false, has_rcu = false, has_plain = false;
  bool has_after_unlock_lock = false;

  // relations
  rel po, po_loc, same_location, internal, external;
  rel address, data, control;
  rel rmb, wmb;
  rel rmb_between_any;   ///< fencerel(Rmb)
  rel mb;                ///< but for the part that spans two processes, which `after_unlock_lock` ends
  rel after_unlock_lock; ///< [LKW]; fencerel(After-unlock-lock); [M]
  rel gp;
  rel acq_po, po_rel;
  rel barrier;
  rel rcu_rscs, srcu_rscs;

  /// Misuse that shows in the code: what the model raises as flags.
  std::vector<std::string> flags;

 private:
  void fill_sets(const candidate& c);
  void fill_program_order(const candidate& c);
  void fill_dependencies(const candidate& c);
  void scan_fences(const candidate& c);
  void scan_from(const candidate& c, std::size_t process, std::size_t begin);
  void match_sections(const candidate& c);
};

extern template struct static_order<1>;
extern template struct static_order<4>;

} // namespace racewalk::litmus
