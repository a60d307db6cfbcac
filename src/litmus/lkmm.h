// The Linux kernel memory model, as of Linux 6.1: which executions of a candidate it allows, and which of
// those race.
//
// All axioms say that something monotone is acyclic, irreflexive or empty: what breaks one breaks it in every
// extension. So consistent() may be asked of executions in which reads-from and coherence are still
// incomplete.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "litmus/static_order.h"

namespace racewalk::litmus {

template <std::size_t Words> class lkmm {
 public:
  using set = event_set<Words>;
  using rel = relation<Words>;

  explicit lkmm(const candidate& c) : s_(c), c_(c) {}

  [[nodiscard]] const static_order<Words>& code() const { return s_; }

  /// Whether the model allows this much of an execution. `co` is transitive; coherence and atomicity, which
  /// are about one location at a time, are the caller's to keep.
  [[nodiscard]] bool consistent(const rel& rf, const rel& co) const;

  /// What the model has to remark about a consistent execution: data races and misuse.
  [[nodiscard]] std::set<std::string> flags(const rel& rf, const rel& co) const;

 private:
  /// Relations of the model, by its names, that depend on rf and co.
  struct orders {
    rel fr, rfe, strong_fence, nonrw_fence, fence, cumul_fence, prop, hb, hb_star, pb, rb;
  };

  [[nodiscard]] rel full_fences(const rel& co) const;
  [[nodiscard]] rel unlock_to_lock(const rel& rf) const;
  /// Nothing if the execution is inconsistent.
  [[nodiscard]] std::optional<orders> derive(const rel& rf, const rel& co) const;
  [[nodiscard]] rel rcu_order(const rel& link) const;
  [[nodiscard]] bool rcu_consistent(orders& o, const rel& pb_star) const;
  [[nodiscard]] bool plain_accesses_cohere(const orders& o, const rel& rf, const rel& co, bool* races) const;
  [[nodiscard]] bool mixes_plain_and_marked() const;
  [[nodiscard]] bool mixes_locks_and_accesses() const;

  static_order<Words> s_;
  const candidate& c_;
};

extern template class lkmm<1>;
extern template class lkmm<4>;

} // namespace racewalk::litmus
