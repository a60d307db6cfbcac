#include "explore/lock_order.h"

#include <algorithm>

#include "explore/linear.h"

namespace racewalk::explore {

/// The edges of a shortest way between two locks; empty if there is none.
std::vector<const lock_order::edge*> lock_order::path(const void* from, const void* to) const {
  std::vector<const edge*> reached; // by breadth
  std::vector<std::size_t> came_from;
  auto visit = [&](const void* lock, std::size_t by) {
    for (const edge& e : edges_) {
      const auto same_end = [&](const edge* r) { return r->second.lock == e.second.lock; };
      if (e.first.lock != lock || std::any_of(reached.begin(), reached.end(), same_end)) continue;
      reached.push_back(&e);
      came_from.push_back(by);
    }
  };
  constexpr auto start = static_cast<std::size_t>(-1);
  visit(from, start);
  for (std::size_t i = 0; i < reached.size(); i++) {
    if (reached[i]->second.lock != to) {
      visit(reached[i]->second.lock, i);
      continue;
    }
    std::vector<const edge*> way;
    for (std::size_t at = i; at != start; at = came_from[at])
      way.insert(way.begin(), reached[at]);
    return way;
  }
  return {};
}

const lock_order::edge* lock_order::note(const taken& first, const taken& second, unsigned thread,
                                         const graph& g) {
  auto known = std::find_if(edges_.begin(), edges_.end(), [&](const edge& e) {
    return e.first.lock == first.lock && e.second.lock == second.lock;
  });
  if (known == edges_.end()) {
    edges_.push_back({first, second, thread, false, nullptr});
    for (edge& e : edges_)
      e.in_cycle = !path(e.second.lock, e.first.lock).empty() || e.first.lock == e.second.lock;
    known = edges_.end() - 1;
  }
  if (!known->seen_in) known->seen_in = std::make_shared<const graph>(g);
  return known->in_cycle ? &*known : nullptr;
}

std::string lock_order::cycle_of(const edge& closing, unsigned cpus, const names& name) const {
  std::vector<const edge*> round{&closing};
  if (closing.first.lock != closing.second.lock)
    for (const edge* e : path(closing.second.lock, closing.first.lock))
      round.push_back(e);
  auto lock = [&](std::size_t i) {
    return "lock " + (name ? name(round[i]->first.lock) : std::to_string(i + 1));
  };
  std::string text = "locks are taken in a circle, so some timing deadlocks: ";
  for (std::size_t i = 0; i < round.size(); i++) {
    const edge& e = *round[i];
    if (i) text += "; ";
    text += thread_name(e.thread, cpus) +
            (e.first.cpu < 0 ? " holds " + lock(i) + ", taken in " : " has interrupts off, since ") +
            place_name(e.first.where) + ", and waits for " +
            (e.second.cpu < 0 ? lock((i + 1) % round.size())
                              : "an IPI to " + thread_name(static_cast<unsigned>(e.second.cpu), cpus)) +
            " in " + place_name(e.second.where);
  }
  return text;
}

std::string lock_order::note_use(const taken& lock, bool in_handler, unsigned thread, const graph& g,
                                 const names& name) {
  auto find = [&](bool way) {
    return std::find_if(uses_.begin(), uses_.end(),
                        [&](const use& u) { return u.lock.lock == lock.lock && u.in_handler == way; });
  };
  auto known = find(in_handler);
  if (known == uses_.end()) known = uses_.insert(uses_.end(), {lock, in_handler, thread, nullptr});
  if (!known->seen_in) known->seen_in = std::make_shared<const graph>(g);
  const auto handler = find(true);
  const auto other = find(false);
  if (handler == uses_.end() || other == uses_.end()) return {};
  return (name ? "lock " + name(lock.lock) : "a lock") + " is taken in an IPI handler, in " +
         place_name(handler->lock.where) + ", and with interrupts on, in " + place_name(other->lock.where) +
         ": the handler may come while its own CPU holds it";
}

void lock_order::forget_executions() {
  for (edge& e : edges_)
    e.seen_in = nullptr;
  for (use& u : uses_)
    u.seen_in = nullptr;
}

} // namespace racewalk::explore
