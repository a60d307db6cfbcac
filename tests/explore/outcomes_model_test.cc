// The search against an abstract machine: on random small programs of accesses, locks, waits, loops, RCU and
// IPIs, what the threads can have read is the same, and so is whether they can hang. The machine takes one
// step of one thread at a time and tries all orders: it is sequentially consistent. Under the other models
// more can have been read, but nothing less.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

enum class op : u8 {
  load,
  store,
  add,  ///< 1, and reads what was there
  take, ///< 9 for 0, and reads what was there
  lock, ///< ... unlock
  unlock,
  enter, ///< an RCU read-side section ... leave
  leave,
  mask, ///< interrupts ... unmask
  unmask,
  grace_period, ///< waits for sections and for who has interrupts off
  ipi,          ///< to all the others; waits for who has interrupts off
  wait,         ///< until the word is 1
  loop,         ///< while it is 0
  leaving_loop, ///< the same, and leaves and enters its section in each round
};
struct instruction {
  op what;
  u8 word;
};
using thread_code = std::vector<instruction>;
using code = std::vector<thread_code>;

constexpr unsigned WORDS = 2;
constexpr unsigned THREADS = 3;

code random_program(unsigned seed) {
  static constexpr std::array anywhere{op::load, op::load, op::store, op::store,        op::add,
                                       op::take, op::loop, op::wait,  op::grace_period, op::grace_period,
                                       op::ipi,  op::lock, op::enter, op::enter,        op::mask};
  static constexpr std::array in_section{op::load, op::load, op::store, op::add,
                                         op::take, op::loop, op::wait};
  static constexpr std::array in_rcu{op::load, op::load, op::store, op::add, op::loop, op::leaving_loop};
  std::mt19937 random(seed);
  auto pick = [&](auto n) { return static_cast<unsigned>(random() % n); };
  auto add_one_of = [&](const auto& ops, thread_code* t) {
    t->push_back({ops[pick(ops.size())], static_cast<u8>(pick(WORDS))});
    return t->back().what;
  };
  code p(2 + pick(THREADS - 1));
  for (thread_code& t : p)
    for (unsigned n = 1 + pick(p.size() == 2 ? 4U : 3U); n > 0; n--) {
      const op begun = add_one_of(anywhere, &t);
      if (begun != op::lock && begun != op::enter && begun != op::mask) continue;
      for (unsigned inside = 1 + pick(2U); inside > 0; inside--)
        begun == op::enter ? add_one_of(in_rcu, &t) : add_one_of(in_section, &t);
      t.push_back({begun == op::lock ? op::unlock : begun == op::enter ? op::leave : op::unmask, 0});
    }
  return p;
}

using values = std::vector<u64>;

/// The abstract machine. A result is what each thread has read, one after the other, and the words at the
/// end.
class machine {
 public:
  explicit machine(const code& p) : p_(p) {
    state s;
    s.at.resize(p.size());
    s.read.resize(p.size());
    visit(s);
    for (bool found = true; found;) {
      found = false;
      for (const auto& [from, to] : steps_)
        if (!can_end_.contains(from) && can_end_.contains(to)) found = can_end_.insert(from).second;
    }
  }
  std::set<values> results;
  bool can_hang() const { return can_end_.size() < visited_.size(); }

 private:
  struct state {
    std::vector<unsigned> at;
    std::vector<values> read;
    std::array<u64, WORDS> word{};
    u8 locked = 0;
    u8 in_rcu = 0, masked = 0;           ///< bit per thread
    u8 has_begun = 0;                    ///< its grace period or IPI
    std::array<u8, THREADS> waits_for{}; ///< ... which waits for these
    u8 between = 0;                      ///< out of its section in a round of its loop
    auto operator<=>(const state&) const = default;
  };

  unsigned visit(const state& s) {
    const auto [known, is_new] = visited_.try_emplace(s, static_cast<unsigned>(visited_.size()));
    const unsigned id = known->second;
    if (!is_new) return id;
    bool ended = true;
    for (unsigned t = 0; t < p_.size(); t++) {
      if (s.at[t] == p_[t].size()) continue;
      ended = false;
      state next = s;
      if (step(&next, t)) {
        const unsigned to = visit(next);
        if (to != id) steps_.insert({id, to});
      }
    }
    if (ended) {
      can_end_.insert(id);
      values all;
      for (const values& r : s.read)
        all.insert(all.end(), r.begin(), r.end());
      all.insert(all.end(), s.word.begin(), s.word.end());
      results.insert(all);
    }
    return id;
  }

  /// False: the thread waits.
  bool step(state* s, unsigned t) const {
    const auto me = static_cast<u8>(1U << t);
    const instruction i = p_[t][s->at[t]];
    u64& word = s->word[i.word];
    auto read = [&](u64 v) { s->read[t].push_back(v); };
    switch (i.what) {
    case op::load:
      read(word);
      break;
    case op::store:
      word = t + 1;
      break;
    case op::add:
      read(word++);
      break;
    case op::take:
      read(word);
      if (word == 0) word = 9;
      break;
    case op::lock:
      if (s->locked) return false;
      s->locked = 1;
      break;
    case op::unlock:
      s->locked = 0;
      break;
    case op::wait:
      if (word != 1) return false;
      break;
    case op::loop:
      if (word == 0) return false;
      break;
    case op::enter:
      s->in_rcu |= me;
      break;
    case op::leave:
      s->in_rcu &= static_cast<u8>(~me);
      released(s, me);
      break;
    case op::mask:
      s->masked |= me;
      break;
    case op::unmask:
      s->masked &= static_cast<u8>(~me);
      released(s, me);
      break;
    case op::grace_period:
      return quiesce(s, t, s->in_rcu | s->masked); // interrupts off is a section, too
    case op::ipi:
      return quiesce(s, t, s->masked);
    case op::leaving_loop:
      if (s->between & me) {
        s->between &= static_cast<u8>(~me);
        s->in_rcu |= me;
        return true;
      }
      if (word != 0) break;
      s->between |= me;
      s->in_rcu &= static_cast<u8>(~me);
      released(s, me);
      return true;
    }
    s->at[t]++;
    return true;
  }
  /// Sections do not nest here: who waits for this thread waits no more.
  static void released(state* s, u8 me) {
    for (u8& waits : s->waits_for)
      waits &= static_cast<u8>(~me);
  }
  static bool quiesce(state* s, unsigned t, unsigned in) {
    if (!(s->has_begun >> t & 1)) {
      s->has_begun |= static_cast<u8>(1U << t);
      s->waits_for[t] = static_cast<u8>(in);
      return true;
    }
    if (s->waits_for[t]) return false;
    s->has_begun &= static_cast<u8>(~(1U << t));
    s->at[t]++;
    return true;
  }

  const code& p_;
  std::map<state, unsigned> visited_;
  std::set<std::pair<unsigned, unsigned>> steps_;
  std::set<unsigned> can_end_;
};

/// The same code on the library's primitives.
class library {
 public:
  explicit library(const code& p) {
    for (unsigned t = 0; t < p.size(); t++)
      code_.threads.push_back([this, t, &c = p[t]] { run(t, c); });
    code_.finally = [this, &p] {
      values all;
      for (unsigned t = 0; t < p.size(); t++)
        for (unsigned i = 0; i < p[t].size(); i++)
          if (p[t][i].what == op::load || p[t][i].what == op::add || p[t][i].what == op::take)
            all.push_back(read_[t][i]);
      for (const word_t& w : words_)
        all.push_back(READ_ONCE(w));
      results.insert(all);
    };
  }
  outcome decide(memory_model m, bool reduced) {
    search_options o;
    o.model = m;
    o.symmetry = o.unordered_locks = o.commuting = reduced;
    return explorer(code_, o).run();
  }
  std::set<values> results;

 private:
  void run(unsigned t, const thread_code& c) {
    for (unsigned i = 0; i < c.size(); i++)
      run(t, c[i], &read_[t][i]);
  }
  void run(unsigned t, instruction i, u64* read) {
    word_t& word = words_[i.word];
    switch (i.what) {
    case op::load:
      *read = READ_ONCE(word);
      return;
    case op::store:
      WRITE_ONCE(word, t + 1);
      return;
    case op::add:
      *read = atomic_fetch_add(word, 1);
      return;
    case op::take:
      *read = cmpxchg(word, 0, 9);
      return;
    case op::lock:
      spin_lock(lock_);
      return;
    case op::unlock:
      spin_unlock(lock_);
      return;
    case op::wait:
      smp_cond_load_acquire(word, ~u64{0}, 1);
      return;
    case op::loop:
      while (!READ_ONCE(word))
        cpu_relax();
      return;
    case op::enter:
      rcu_read_lock();
      return;
    case op::leave:
      rcu_read_unlock();
      return;
    case op::grace_period:
      synchronize_rcu();
      return;
    case op::mask:
      local_irq_disable();
      return;
    case op::unmask:
      local_irq_enable();
      return;
    case op::ipi:
      smp_call_function_many((u64{1} << code_.threads.size()) - 1, nullptr, nullptr, 0);
      return;
    case op::leaving_loop:
      while (!READ_ONCE(word)) {
        rcu_read_unlock();
        cpu_relax();
        rcu_read_lock();
      }
      return;
    }
  }

  program code_;
  std::array<word_t, WORDS> words_;
  spinlock_t lock_;
  std::array<std::array<u64, 16>, THREADS> read_{}; // at most 4 items of 4 instructions
};

std::string told(const code& p) {
  static constexpr std::array names{"load",         "store", "add",   "take", "lock",
                                    "unlock",       "enter", "leave", "mask", "unmask",
                                    "grace_period", "ipi",   "wait",  "loop", "leaving_loop"};
  std::string s;
  for (const thread_code& t : p) {
    for (const instruction& i : t)
      s += std::string(names.at(static_cast<unsigned>(i.what))) + " " + std::to_string(i.word) + ", ";
    s += "end; ";
  }
  return s;
}

TEST(outcomes, are_those_of_an_abstract_machine) {
  constexpr unsigned PROGRAMS = 7'000;
  for (unsigned seed = 1; seed <= PROGRAMS; seed++) {
    const code p = random_program(seed);
    const machine all(p);
    for (bool reduced : {false, true}) {
      library lib(p);
      const outcome o = lib.decide(memory_model::sc, reduced);
      EXPECT_EQ(o.verdict, all.can_hang() ? verdict::violation : verdict::safe) << o.reason << told(p);
      if (o.verdict == verdict::safe) {
        EXPECT_EQ(lib.results, all.results) << told(p);
      }
    }
    for (auto m : {memory_model::tso, memory_model::weak}) {
      library lib(p);
      const outcome o = lib.decide(m, true);
      if (all.can_hang()) {
        EXPECT_EQ(o.verdict, verdict::violation) << told(p);
      } else if (o.verdict != verdict::violation) {
        EXPECT_TRUE(std::ranges::includes(lib.results, all.results)) << to_string(m) << ": " << told(p);
      }
    }
  }
}

} // namespace
} // namespace racewalk::explore
