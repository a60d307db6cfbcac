#include "litmus/lkmm.h"

namespace racewalk::litmus {

/// smp_mb() and all that comes to the same: with smp_mb__after_unlock_lock(), a critical section that ended
/// before this one began, in this process or another, is one of the things that come before.
template <std::size_t Words> auto lkmm<Words>::full_fences(const rel& co) const -> rel {
  if (!s_.has_after_unlock_lock) return s_.mb;
  return s_.mb | s_.memory * s_.po * s_.unlock * (co | s_.po) * s_.lock_write * s_.after_unlock_lock;
}

/// po-unlock-lock-po: what comes before an unlock, to what comes after a lock that follows it in the same
/// process or that took over from it.
template <std::size_t Words> auto lkmm<Words>::unlock_to_lock(const rel& rf) const -> rel {
  return s_.po * s_.unlock * (s_.po | rf) * s_.lock_read * s_.po;
}

template <std::size_t Words>
auto lkmm<Words>::derive(const rel& rf, const rel& co) const -> std::optional<orders> {
  const rel none(s_.events);
  const set& marked = s_.marked;
  const rel fr = inverse(rf) * co;
  const rel rfe = rf & s_.external;
  const rel rfi = rf & s_.internal;
  const rel overwrite = co | fr;
  const rel po_unlock_lock_po = s_.has_locks ? unlock_to_lock(rf) : none;

  const rel strong_fence = full_fences(co) | s_.gp;
  const rel nonrw_fence = strong_fence | s_.po_rel | s_.acq_po;
  const rel fence = nonrw_fence | s_.wmb | s_.rmb;

  const rel dep = s_.address | s_.data;
  const rel to_w =
      (dep | s_.control) * s_.writes | (overwrite & s_.internal) | s_.address * s_.plain * s_.wmb;
  const rel to_r = s_.address | dep * marked * rfi;
  const rel ppo = to_r | to_w | fence | (po_unlock_lock_po & s_.internal);

  const rel strong_or_release = strong_fence | s_.po_rel;
  const rel cumulative = strong_or_release | rfe * marked * strong_or_release;
  const rel cumul_fence = marked * (cumulative | s_.wmb | po_unlock_lock_po) * marked;
  const rel until_rfe = star(cumul_fence) * marked * maybe(rfe) * marked;
  const rel prop = marked * maybe(overwrite & s_.external) * until_rfe;

  rel prop_back = prop & s_.internal;
  for (std::size_t e = 0; e < s_.events; e++)
    prop_back[e].erase(e);
  const rel hb = marked * (ppo | rfe | prop_back) * marked;
  const rel hb_plus = closure(hb);
  if (!hb_plus.irreflexive()) return std::nullopt; // happens-before

  const rel hb_star = maybe(hb_plus);
  const rel pb = prop * strong_fence * hb_star * marked;
  const rel pb_plus = closure(pb);
  if (!pb_plus.irreflexive()) return std::nullopt; // propagation

  orders o{fr, rfe, strong_fence, nonrw_fence, fence, cumul_fence, prop, hb, hb_star, pb, none};
  if (s_.has_rcu && !rcu_consistent(o, maybe(pb_plus))) return std::nullopt;
  return o;
}

/// rcu-order: a chain of grace periods and read-side sections with at least as many of the former orders like
/// a fence.
template <std::size_t Words> auto lkmm<Words>::rcu_order(const rel& link) const -> rel {
  const rel rcu_sections = inverse(s_.rcu_rscs);
  const rel srcu_sections = inverse(s_.srcu_rscs);
  const rel gp_link = s_.rcu_gp * link, section_link = rcu_sections * link;
  const rel srcu_gp_link = s_.srcu_gp * link, srcu_section_link = srcu_sections * link;
  const rel identity = maybe(rel(s_.events));

  rel order = (s_.rcu_gp | s_.srcu_gp) * identity;
  order |= gp_link * rcu_sections | section_link * s_.rcu_gp;
  order |= (srcu_gp_link * srcu_sections | srcu_section_link * s_.srcu_gp) & s_.same_location;
  for (;;) {
    const rel through = order * link;
    rel next = order;
    next |= gp_link * through * rcu_sections | section_link * through * s_.rcu_gp;
    next |= (srcu_gp_link * through * srcu_sections | srcu_section_link * through * s_.srcu_gp) &
            s_.same_location;
    next |= through * order;
    if (next == order) return order;
    order = next;
  }
}

template <std::size_t Words> bool lkmm<Words>::rcu_consistent(orders& o, const rel& pb_star) const {
  const rel link = maybe(s_.po) * o.hb_star * pb_star * o.prop * s_.po;
  const rel rcu_fence = s_.po * rcu_order(link) * maybe(s_.po);
  o.rb = o.prop * rcu_fence * o.hb_star * pb_star * s_.marked;
  o.fence |= rcu_fence;
  o.strong_fence |= rcu_fence;
  return o.rb.irreflexive();
}

/// Plain accesses: whether they respect the order of others where one is enforced (plain-coherence), and
/// whether a race is left.
template <std::size_t Words>
bool lkmm<Words>::plain_accesses_cohere(const orders& o, const rel& rf, const rel& co, bool* races) const {
  const set& marked = s_.marked;
  const set yes_return = s_.all - s_.noreturn;
  const rel xb_star = star(o.hb | o.pb | o.rb);
  const rel vis = star(o.cumul_fence) * maybe(o.rfe) * marked *
                  (o.strong_fence * marked * xb_star | (xb_star & s_.internal));

  const rel w_pre = marked * maybe(s_.address | o.fence);
  const rel r_pre =
      marked * maybe(s_.address | o.nonrw_fence | s_.rmb_reads * s_.rmb_between_any * yes_return);
  const rel w_post = maybe(o.fence) * marked;
  const rel r_post = maybe(o.nonrw_fence | yes_return * s_.rmb_between_any * s_.rmb_reads) * marked;

  const rel ww_vis = o.fence | o.strong_fence * xb_star * w_pre | w_post * vis * w_pre;
  const rel wr_vis = o.fence | o.strong_fence * xb_star * r_pre | w_post * vis * r_pre;
  const rel rw_xb = o.fence | r_post * xb_star * w_pre;

  const rel pre_race = s_.external & (product(s_.events, s_.plain, s_.memory) |
                                      product(s_.events, s_.memory - s_.initial, s_.plain));
  const rel incoherent = (pre_race & rf & inverse(rw_xb)) | (pre_race & o.fr & inverse(wr_vis)) |
                         (pre_race & co & inverse(ww_vis));
  if (!incoherent.empty()) return false;

  if (races) {
    const rel ww_ordered = ww_vis & (product(s_.events, marked, s_.writes) | rw_xb) &
                           (product(s_.events, s_.writes, marked) | wr_vis);
    const rel ww_race = (pre_race & co) - ww_ordered;
    const rel wr_race = (pre_race & (maybe(co) * rf)) - wr_vis - inverse(rw_xb);
    const rel rw_race = (pre_race & o.fr) - rw_xb;
    *races = !(ww_race | wr_race | rw_race).empty();
  }
  return true;
}

template <std::size_t Words> bool lkmm<Words>::consistent(const rel& rf, const rel& co) const {
  const auto o = derive(rf, co);
  return o && (!s_.has_plain || plain_accesses_cohere(*o, rf, co, nullptr));
}

/// A plain write and a marked access of one location with no barrier between: the compiler may do what it
/// likes.
template <std::size_t Words> bool lkmm<Words>::mixes_plain_and_marked() const {
  const rel near = s_.po_loc - s_.barrier;
  const set plain_writes = s_.plain & s_.writes;
  return !(plain_writes * near * s_.marked).empty() || !(s_.marked * near * plain_writes).empty();
}

template <std::size_t Words> bool lkmm<Words>::mixes_locks_and_accesses() const {
  set lock_accesses;
  for (std::size_t e = 0; e < s_.events; e++)
    if (c_.events()[e].what.lock != lock_role::none) lock_accesses.insert(e);
  const set others = s_.memory - s_.initial - lock_accesses;
  return !(others * s_.same_location * lock_accesses).empty();
}

template <std::size_t Words> std::set<std::string> lkmm<Words>::flags(const rel& rf, const rel& co) const {
  std::set<std::string> found(s_.flags.begin(), s_.flags.end());
  if (s_.has_locks && mixes_locks_and_accesses()) found.insert("mixed-lock-accesses");
  if (!s_.has_plain) return found;
  if (mixes_plain_and_marked()) found.insert("mixed-accesses");
  bool races = false;
  const auto o = derive(rf, co);
  if (o && plain_accesses_cohere(*o, rf, co, &races) && races) found.insert("data-race");
  return found;
}

template class lkmm<1>;
template class lkmm<4>;

} // namespace racewalk::litmus
