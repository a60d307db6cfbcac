#include "litmus/static_order.h"

#include <map>

namespace racewalk::litmus {

template <std::size_t Words>
static_order<Words>::static_order(const candidate& c)
    : events(c.size()), po(events), po_loc(events), same_location(events), internal(events), external(events),
      address(events), data(events), control(events), rmb(events), wmb(events), rmb_between_any(events),
      mb(events), after_unlock_lock(events), gp(events), acq_po(events), po_rel(events), barrier(events),
      rcu_rscs(events), srcu_rscs(events) {
  fill_sets(c);
  fill_program_order(c);
  fill_dependencies(c);
  scan_fences(c);
  if (has_rcu) match_sections(c);
  gp = po * (rcu_gp | srcu_gp) * maybe(po);
  acq_po = acquire * po * memory;
  po_rel = memory * po * release;
}

template <std::size_t Words> void static_order<Words>::fill_sets(const candidate& c) {
  for (std::size_t e = 0; e < events; e++) {
    const candidate_event& ce = c.events()[e];
    const event& what = ce.what;
    all.insert(e);
    if (what.fence == fence_kind::sync_rcu) rcu_gp.insert(e);
    if (what.fence == fence_kind::sync_srcu) srcu_gp.insert(e);
    has_rcu = has_rcu || what.kind == event_kind::fence;
    if (what.kind == event_kind::fence) continue;
    memory.insert(e);
    (what.kind == event_kind::read ? reads : writes).insert(e);
    if (ce.process < 0) initial.insert(e);
    if (what.order == ordering::acquire) acquire.insert(e);
    if (what.order == ordering::release) release.insert(e);
    if (what.order == ordering::noreturn) noreturn.insert(e);
    if (what.order == ordering::plain) plain.insert(e);
    if (what.lock == lock_role::lock_read) lock_read.insert(e);
    if (what.lock == lock_role::lock_write) lock_write.insert(e);
    if (what.lock == lock_role::unlock) unlock.insert(e);
  }
  marked = all - plain;
  rmb_reads = reads - noreturn;
  has_locks = !lock_write.empty() || !unlock.empty();
  has_plain = !plain.empty();
}

template <std::size_t Words> void static_order<Words>::fill_program_order(const candidate& c) {
  for (std::size_t a = 0; a < events; a++) {
    const candidate_event& ea = c.events()[a];
    for (std::size_t b = 0; b < events; b++) {
      const candidate_event& eb = c.events()[b];
      const bool together = ea.process == eb.process;
      if (!together) external.insert(a, b);
      if (together && ea.process >= 0) internal.insert(a, b);
      if (ea.what.location && ea.what.location == eb.what.location) same_location.insert(a, b);
      if (together && ea.process >= 0 && ea.position < eb.position) po.insert(a, b);
    }
  }
  po_loc = po & same_location;
}

template <std::size_t Words> void static_order<Words>::fill_dependencies(const candidate& c) {
  const auto connect = [&](rel& r, const dependency_set& from, std::size_t process, std::size_t to) {
    for (std::size_t position = 0; position < c.paths()[process]->events.size(); position++)
      if (from[position]) r.insert(*c.find(process, position), to);
  };
  for (std::size_t e = 0; e < events; e++) {
    const candidate_event& ce = c.events()[e];
    if (ce.process < 0) continue;
    const auto process = static_cast<std::size_t>(ce.process);
    connect(address, ce.what.address, process, e);
    connect(data, ce.what.data, process, e);
    connect(control, ce.what.control, process, e);
  }
}

template <std::size_t Words> void static_order<Words>::scan_fences(const candidate& c) {
  for (std::size_t process = 0; process < c.paths().size(); process++)
    for (std::size_t begin = 0; begin < c.paths()[process]->events.size(); begin++)
      if (c.find(process, begin)) scan_from(c, process, begin);
}

/// Walks from one event down its process, noting the fences passed, and relates it to what comes after them.
template <std::size_t Words>
void static_order<Words>::scan_from(const candidate& c, std::size_t process, std::size_t begin) {
  const std::size_t first = *c.find(process, begin);
  bool passed_mb = false, passed_rmb = false, passed_wmb = false, passed_barrier = false;
  bool passed_before_atomic = false, passed_after_unlock_lock = false;
  bool passed_atomic = false; // or began at one; then:
  bool passed_after_atomic = false;
  bool passed_lock = false; // or began at one; then:
  bool passed_after_spinlock = false;
  bool passed_rmw_after_before_atomic = false;

  const std::vector<event>& path = c.paths()[process]->events;
  const auto note = [&](const event& e, bool between) {
    passed_atomic = passed_atomic || e.atomic;
    passed_lock = passed_lock || e.lock == lock_role::lock_write;
    if (!between) return;
    passed_mb = passed_mb || e.fence == fence_kind::mb;
    passed_rmb = passed_rmb || e.fence == fence_kind::rmb;
    passed_wmb = passed_wmb || e.fence == fence_kind::wmb;
    passed_before_atomic = passed_before_atomic || e.fence == fence_kind::before_atomic;
    passed_after_unlock_lock = passed_after_unlock_lock || e.fence == fence_kind::after_unlock_lock;
    passed_after_atomic = passed_after_atomic || (passed_atomic && e.fence == fence_kind::after_atomic);
    passed_after_spinlock = passed_after_spinlock || (passed_lock && e.fence == fence_kind::after_spinlock);
    const bool any_fence = e.kind == event_kind::fence && e.fence != fence_kind::after_spinlock &&
                           e.fence != fence_kind::after_unlock_lock;
    const bool any_access =
        e.kind != event_kind::fence && (e.order == ordering::acquire || e.order == ordering::release);
    passed_barrier = passed_barrier || any_fence || any_access;
  };

  note(path[begin], false);
  for (std::size_t at = begin + 1; at < path.size(); at++) {
    const event& e = path[at];
    passed_rmw_after_before_atomic = passed_rmw_after_before_atomic || (passed_before_atomic && e.atomic);
    if (const auto index = c.find(process, at)) {
      const std::size_t second = *index;
      const bool accesses = memory.contains(first) && memory.contains(second);
      if (passed_rmb) rmb_between_any.insert(first, second);
      if (passed_rmb && rmb_reads.contains(first) && rmb_reads.contains(second)) rmb.insert(first, second);
      if (passed_wmb && writes.contains(first) && writes.contains(second)) wmb.insert(first, second);
      if (accesses &&
          (passed_mb || passed_rmw_after_before_atomic || passed_after_atomic || passed_after_spinlock))
        mb.insert(first, second);
      if (passed_after_unlock_lock && lock_write.contains(first) && memory.contains(second)) {
        after_unlock_lock.insert(first, second);
        has_after_unlock_lock = true;
      }
      if (passed_barrier || acquire.contains(first) || release.contains(second))
        barrier.insert(first, second);
    }
    note(e, true);
  }
}

/// Pairs each lock of an RCU domain with the unlock that ends its section: the innermost section that is
/// open.
template <std::size_t Words> void static_order<Words>::match_sections(const candidate& c) {
  bool rcu_unbalanced = false, srcu_unbalanced = false, sleeps = false, wrong_index = false;
  for (std::size_t process = 0; process < c.paths().size(); process++) {
    std::vector<std::size_t> rcu_open;
    std::map<std::size_t, std::vector<std::size_t>> srcu_open; // by location
    const process_path& path = *c.paths()[process];
    for (std::size_t at = 0; at < path.events.size(); at++) {
      const event& e = path.events[at];
      if (e.kind != event_kind::fence || !is_rcu(e.fence)) continue;
      const std::size_t index = *c.find(process, at);
      std::vector<std::size_t>& open = is_srcu(e.fence) ? srcu_open[*e.location] : rcu_open;
      bool& unbalanced = is_srcu(e.fence) ? srcu_unbalanced : rcu_unbalanced;
      if (e.fence == fence_kind::rcu_lock || e.fence == fence_kind::srcu_lock) open.push_back(index);
      if (e.fence == fence_kind::sync_srcu) sleeps = sleeps || !rcu_open.empty();
      if (e.fence != fence_kind::rcu_unlock && e.fence != fence_kind::srcu_unlock) continue;
      if (open.empty()) {
        unbalanced = true;
        continue;
      }
      (is_srcu(e.fence) ? srcu_rscs : rcu_rscs).insert(open.back(), index);
      const event& begin = c.events()[open.back()].what;
      if (is_srcu(e.fence))
        wrong_index = wrong_index || path.pool.evaluate(begin.value, {}) != path.pool.evaluate(e.value, {});
      open.pop_back();
    }
    rcu_unbalanced = rcu_unbalanced || !rcu_open.empty();
    for (const auto& [location, open] : srcu_open)
      srcu_unbalanced = srcu_unbalanced || !open.empty();
  }
  if (sleeps) flags.emplace_back("invalid-sleep");
  if (wrong_index) flags.emplace_back("srcu-bad-nesting");
  if (rcu_unbalanced) flags.emplace_back("unbalanced-rcu-locking");
  if (srcu_unbalanced) flags.emplace_back("unbalanced-srcu-locking");
}

template struct static_order<1>;
template struct static_order<4>;

} // namespace racewalk::litmus
