#include "litmus/search.h"

#include <algorithm>
#include <map>

#include "litmus/coherence.h"
#include "litmus/error.h"
#include "litmus/lkmm.h"

namespace racewalk::litmus {
namespace {

using pairs = std::vector<std::pair<std::size_t, std::size_t>>;

/// What the reads of all processes have read, where that is known; can be taken back to an earlier state.
class known_values {
 public:
  explicit known_values(const candidate& c) : c_(c) {
    for (const process_path* path : c.paths())
      by_process_.emplace_back(path->events.size());
  }

  [[nodiscard]] std::optional<value_t> evaluate(std::size_t process, expression_id e) const {
    return c_.paths()[process]->pool.evaluate(e, by_process_[process]);
  }

  [[nodiscard]] std::optional<value_t> written(std::size_t write) const {
    const candidate_event& e = c_.events()[write];
    if (e.process >= 0) return evaluate(static_cast<std::size_t>(e.process), e.what.value);
    const auto& given = c_.test().initial_values;
    const auto found = given.find(c_.test().locations[*e.what.location]);
    return found == given.end() ? 0 : found->second;
  }

  [[nodiscard]] bool is_known(std::size_t read) const { return slot(read).has_value(); }

  void learn(std::size_t read, value_t value) {
    slot(read) = value;
    learnt_.push_back(read);
  }

  [[nodiscard]] std::size_t mark() const { return learnt_.size(); }
  void forget_since(std::size_t mark) {
    for (; learnt_.size() > mark; learnt_.pop_back())
      slot(learnt_.back()).reset();
  }

  /// Whether some path took for granted what is not so.
  [[nodiscard]] bool contradicted() const {
    for (std::size_t process = 0; process < by_process_.size(); process++)
      for (const assumption& a : c_.paths()[process]->assumptions)
        if (const auto value = evaluate(process, a.value); value && (*value != 0) != a.truth) return true;
    return false;
  }

 private:
  [[nodiscard]] const std::optional<value_t>& slot(std::size_t read) const {
    const candidate_event& e = c_.events()[read];
    return by_process_[static_cast<std::size_t>(e.process)][e.position];
  }
  std::optional<value_t>& slot(std::size_t read) {
    return const_cast<std::optional<value_t>&>(std::as_const(*this).slot(read));
  }

  const candidate& c_;
  std::vector<std::vector<std::optional<value_t>>> by_process_;
  std::vector<std::size_t> learnt_;
};

template <std::size_t Words> class search {
 public:
  using set = event_set<Words>;
  using rel = relation<Words>;

  search(const candidate& c, execution_visitor& visitor)
      : c_(c), visitor_(visitor), model_(c), values_(c), source_(c.size()),
        writes_(c.test().locations.size()), ties_(c.test().locations.size()) {
    for (std::size_t e = 0; e < c.size(); e++) {
      if (model_.code().reads.contains(e)) reads_.push_back(e);
      if (model_.code().writes.contains(e)) writes_[location(e)].insert(e);
    }
    std::stable_partition(reads_.begin(), reads_.end(),
                          [&](std::size_t r) { return at(r).rmw_write.has_value(); });
  }

  void run() {
    state start{rel(c_.size()), coherence<Words>(c_.size())};
    if (begin_coherence(start) && !values_.contradicted()) choose_source(0, start);
  }

 private:
  struct state {
    rel rf;
    coherence<Words> co;
  };

  [[nodiscard]] const candidate_event& at(std::size_t e) const { return c_.events()[e]; }
  [[nodiscard]] std::size_t location(std::size_t e) const { return *at(e).what.location; }

  // ---- coherence that needs no choice ----

  bool begin_coherence(state& s) {
    for (std::size_t l = 0; l < writes_.size(); l++) {
      bool possible = true;
      writes_[l].for_each([&](std::size_t a) {
        writes_[l].for_each([&](std::size_t b) {
          const bool follows = at(a).process < 0 ? at(b).process >= 0 : model_.code().po.contains(a, b);
          if (follows) possible = possible && s.co.add(a, b, writes_[l]);
        });
      });
      if (!possible || !begin_critical_sections(l, s)) return false;
    }
    return true;
  }

  /// A lock and its unlock are tied; a lock that is never given back is the last.
  bool begin_critical_sections(std::size_t l, state& s) {
    std::map<int, std::size_t> held; // by process
    set never_unlocked;
    for (std::size_t e = 0; e < c_.size(); e++) {
      if (!writes_[l].contains(e)) continue;
      const lock_role role = at(e).what.lock;
      if (role == lock_role::lock_write) {
        if (const auto open = held.find(at(e).process); open != held.end())
          never_unlocked.insert(open->second);
        held[at(e).process] = e;
      } else if (role == lock_role::unlock && held.contains(at(e).process)) {
        ties_[l].emplace_back(held[at(e).process], e);
        held.erase(at(e).process);
      } else if (role == lock_role::unlock) {
        flags_.insert("unmatched-unlock");
      }
    }
    for (const auto& [process, lock] : held)
      never_unlocked.insert(lock);
    bool possible = true;
    never_unlocked.for_each([&](std::size_t last) {
      set others = writes_[l];
      others.erase(last);
      others.for_each([&](std::size_t w) { possible = possible && s.co.add(w, last, writes_[l]); });
    });
    return possible && s.co.tie(ties_[l], writes_[l]);
  }

  // ---- reads-from ----

  void choose_source(std::size_t number, const state& s) {
    if (number == reads_.size()) {
      finish_coherence(s);
      return;
    }
    const std::size_t r = reads_[number];
    writes_[location(r)].for_each([&](std::size_t w) {
      if (!may_read(r, w)) return;
      state next = s;
      next.rf.insert(w, r);
      source_[r] = w;
      if (at(r).rmw_write) ties_[location(r)].emplace_back(w, *at(r).rmw_write);
      const std::size_t mark = values_.mark();
      learn_values(number + 1);
      const bool possible = order_writes(r, w, number, next) && !values_.contradicted();
      if (possible && (!worth_asking(number + 1) || model_.consistent(next.rf, next.co.order())))
        choose_source(number + 1, next);
      values_.forget_since(mark);
      if (at(r).rmw_write) ties_[location(r)].pop_back();
    });
  }

  /// Whether to ask the model with the first `number` reads decided. Atomicity prunes the choices of
  /// read-modify-writes so well that the model would mostly say yes; and executions are asked about when they
  /// are complete.
  [[nodiscard]] bool worth_asking(std::size_t number) const {
    return number < reads_.size() && !at(reads_[number]).rmw_write;
  }

  /// Which writes a read may look at, apart from order: lock operations know what they see.
  [[nodiscard]] bool may_read(std::size_t r, std::size_t w) const {
    if (model_.code().po.contains(r, w)) return false;
    const bool unlocked = at(w).process < 0 || at(w).what.lock == lock_role::unlock;
    switch (at(r).what.lock) {
    case lock_role::lock_read:
    case lock_role::seen_unlocked:
      return unlocked;
    case lock_role::seen_locked:
      return at(w).what.lock == lock_role::lock_write;
    default:
      return true;
    }
  }

  /// What follows for the order of writes from `r`, which is the read of that number, reading from `w`.
  bool order_writes(std::size_t r, std::size_t w, std::size_t number, state& s) {
    const set& writes = writes_[location(r)];
    const rel& po = model_.code().po;
    bool possible = true;
    writes.for_each([&](std::size_t other) {
      if (other == w) return;
      if (po.contains(other, r)) possible = possible && s.co.add(other, w, writes);
      if (po.contains(r, other)) possible = possible && s.co.add(w, other, writes);
    });
    for (std::size_t n = 0; n < number && possible; n++) {
      const std::size_t other = reads_[n];
      if (location(other) != location(r) || source_[other] == w) continue;
      if (po.contains(other, r)) possible = s.co.add(source_[other], w, writes);
      if (po.contains(r, other)) possible = s.co.add(w, source_[other], writes);
    }
    return possible && s.co.tie(ties_[location(r)], writes);
  }

  /// Reads whose sources have become known become known.
  void learn_values(std::size_t number) {
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t n = 0; n < number; n++) {
        const std::size_t r = reads_[n];
        if (values_.is_known(r)) continue;
        if (const auto value = values_.written(source_[r])) {
          values_.learn(r, *value);
          changed = true;
        }
      }
    }
  }

  // ---- coherence ----

  /// Orders a pair of writes that is not ordered yet, either way, until all are.
  void finish_coherence(const state& s) {
    if (!std::ranges::all_of(reads_, [&](std::size_t r) { return values_.is_known(r); })) return;
    const auto open = unordered_pair(s);
    if (!open) {
      conclude(s);
      return;
    }
    if (!model_.consistent(s.rf, s.co.order())) return;
    const auto [a, b] = *open;
    for (const auto& [first, second] : {std::pair(a, b), std::pair(b, a)}) {
      state next = s;
      const std::size_t l = location(a);
      if (next.co.add(first, second, writes_[l]) && next.co.tie(ties_[l], writes_[l])) finish_coherence(next);
    }
  }

  [[nodiscard]] std::optional<std::pair<std::size_t, std::size_t>> unordered_pair(const state& s) const {
    for (const set& writes : writes_) {
      std::optional<std::pair<std::size_t, std::size_t>> found;
      writes.for_each([&](std::size_t a) {
        writes.for_each([&](std::size_t b) {
          if (a < b && !found && !s.co.before(a, b) && !s.co.before(b, a)) found = std::pair(a, b);
        });
      });
      if (found) return found;
    }
    return std::nullopt;
  }

  // ---- final states ----

  void conclude(const state& s) {
    const final_values value_of = [&](const final_item& item) { return final_value(item, s); };
    if (!visitor_.wanted(value_of) || !model_.consistent(s.rf, s.co.order())) return;
    for (const process_path* path : c_.paths())
      if (path->wild_line != 0)
        throw bad_test(path->wild_line, "an execution follows a pointer that points nowhere");
    std::set<std::string> flags = model_.flags(s.rf, s.co.order());
    flags.insert(flags_.begin(), flags_.end());
    visitor_.visit(value_of, flags);
  }

  [[nodiscard]] value_t final_value(const final_item& item, const state& s) const {
    return item.process < 0 ? final_memory(item, s) : final_register(item);
  }

  [[nodiscard]] value_t final_memory(const final_item& item, const state& s) const {
    const auto& locations = c_.test().locations;
    const auto l = static_cast<std::size_t>(std::ranges::find(locations, item.name) - locations.begin());
    const auto given = c_.test().initial_values.find(item.name);
    value_t value = given == c_.test().initial_values.end() ? 0 : given->second;
    writes_[l].for_each([&](std::size_t w) {
      if (s.co.order()[w].empty()) value = values_.written(w).value_or(0);
    });
    return value;
  }

  [[nodiscard]] value_t final_register(const final_item& item) const {
    const auto process = static_cast<std::size_t>(item.process);
    if (process >= c_.paths().size()) return 0;
    const auto& registers = c_.paths()[process]->registers;
    const auto found = registers.find(item.name);
    return found == registers.end() ? 0 : values_.evaluate(process, found->second).value_or(0);
  }

  const candidate& c_;
  execution_visitor& visitor_;
  lkmm<Words> model_;
  known_values values_;
  std::vector<std::size_t> reads_;  ///< in the order in which they choose: those of read-modify-writes first
  std::vector<std::size_t> source_; ///< by read, of those that have chosen
  std::vector<set> writes_;         ///< by location
  std::vector<pairs> ties_; ///< by location: locks and their unlocks; what read-modify-writes read and wrote
  std::set<std::string> flags_;
};

} // namespace

void visit_executions(const candidate& c, execution_visitor& visitor) {
  static_assert(max_events <= event_set<4>::capacity);
  if (c.size() <= event_set<1>::capacity)
    search<1>(c, visitor).run();
  else
    search<4>(c, visitor).run();
}

} // namespace racewalk::litmus
