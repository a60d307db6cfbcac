// The search against an abstract machine: on random small programs of accesses, locks, waits, loops, RCU,
// IPIs and translations, what the threads can have read is the same, and so is whether they can hang. The
// machine takes one step of one thread at a time and tries all orders: it is sequentially consistent. Under
// the other models more can have been read, but nothing less.
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
  lock, ///< a spinlock ... unlock
  try_lock,
  unlock,
  down_read, ///< a semaphore ... up_read
  up_read,
  down_write,
  up_write,
  enter, ///< an RCU read-side section ... leave
  leave,
  mask, ///< interrupts ... unmask
  unmask,
  grace_period,
  defer,        ///< a store of 7, to after a grace period
  ipi,          ///< to all the others
  wait,         ///< until the word is 1
  loop,         ///< while it is 0
  leaving_loop, ///< the same, and leaves and enters its section in each round
  map,          ///< gives the entry a value that nobody else does
  unmap,        ///< gives it 0, which hardware does not keep
  access,       ///< reads the entry as hardware does, then the word
  flush,        ///< invalidates the entry everywhere
};
struct instruction {
  op what;
  u8 word;
};
using thread_code = std::vector<instruction>;
using code = std::vector<thread_code>;

constexpr unsigned WORDS = 2;
constexpr unsigned THREADS = 3;
constexpr u64 AT_FIRST = 1000; ///< the entry
constexpr u64 mapped(unsigned thread, unsigned at) { return AT_FIRST + 100 * (thread + 1) + at; }

/// What ends the section that the instruction begins; the same, if it begins none.
constexpr op end_of(op begin) {
  switch (begin) {
  case op::lock:
  case op::try_lock:
    return op::unlock;
  case op::down_read:
    return op::up_read;
  case op::down_write:
    return op::up_write;
  case op::enter:
    return op::leave;
  case op::mask:
    return op::unmask;
  default:
    return begin;
  }
}

/// How many values the instruction reads for the result.
constexpr unsigned reads(op what) {
  switch (what) {
  case op::load:
  case op::add:
  case op::take:
  case op::try_lock:
    return 1;
  case op::access:
    return 2;
  default:
    return 0;
  }
}

code random_program(unsigned seed) {
  static constexpr std::array anywhere{
      op::load,  op::load,         op::store,        op::store,  op::add,       op::take,
      op::loop,  op::wait,         op::ipi,          op::lock,   op::try_lock,  op::enter,
      op::enter, op::mask,         op::access,       op::flush,  op::down_read, op::down_write,
      op::defer, op::grace_period, op::grace_period, op::access, op::map,       op::unmap};
  static constexpr std::array in_section{op::load, op::load, op::store, op::add,
                                         op::take, op::loop, op::wait,  op::map};
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
      if (end_of(begun) == begun) continue;
      for (unsigned inside = 1 + pick(2U); inside > 0; inside--)
        begun == op::enter ? add_one_of(in_rcu, &t) : add_one_of(in_section, &t);
      t.push_back({end_of(begun), 0});
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
    s.threads.resize(p.size());
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
  using set_of_threads = u8;
  static set_of_threads bit(unsigned t) { return static_cast<set_of_threads>(1U << t); }

  /// A wait for others to leave their sections, or to answer.
  struct waiting {
    bool begun = false;
    set_of_threads on = 0;
    auto operator<=>(const waiting&) const = default;
  };
  struct thread {
    unsigned at = 0;
    values read;
    waiting sections;         ///< in a grace period or an IPI
    std::vector<u8> deferred; ///< the words that its deferred stores go to
    waiting grace_period;     ///< of the first of these
    bool left = false;        ///< its section, in a round of its loop
    bool in_access = false;
    unsigned oldest = 0; ///< of the values that the entry has had, the first that hardware may still use
    waiting answers;     ///< in a flush
    unsigned flushed_from = 0; ///< what it leaves behind begins with this value
    auto operator<=>(const thread&) const = default;
  };
  struct state {
    std::vector<thread> threads;
    std::array<u64, WORDS> word{};
    values entry{AT_FIRST}; ///< all that it has had, the last one now
    bool locked = false;
    bool written = false; ///< the semaphore
    u8 readers = 0;
    set_of_threads in_rcu = 0;
    set_of_threads masked = 0;
    auto operator<=>(const state&) const = default;
  };

  unsigned visit(const state& s) {
    const auto [known, is_new] = visited_.try_emplace(s, static_cast<unsigned>(visited_.size()));
    const unsigned id = known->second;
    if (!is_new) return id;
    for (const state& next : successors(s))
      if (const unsigned to = visit(next); to != id) steps_.insert({id, to});
    const auto is_over = [&](unsigned t) {
      return s.threads[t].at == p_[t].size() && s.threads[t].deferred.empty();
    };
    for (unsigned t = 0; t < p_.size(); t++)
      if (!is_over(t)) return id;
    can_end_.insert(id);
    values all;
    for (const thread& t : s.threads)
      all.insert(all.end(), t.read.begin(), t.read.end());
    all.insert(all.end(), s.word.begin(), s.word.end());
    results.insert(all);
    return id;
  }

  std::vector<state> successors(const state& s) const {
    std::vector<state> all;
    for (unsigned t = 0; t < p_.size(); t++) {
      const thread& me = s.threads[t];
      if (state next = s; run_deferred(&next, t)) all.push_back(next);
      for (unsigned other = 0; other < p_.size(); other++)
        if (state next = s; answer(&next, t, other)) all.push_back(next);
      if (me.at == p_[t].size()) continue;
      if (p_[t][me.at].what == op::access && !me.in_access)
        translate(s, t, &all);
      else if (state next = s; step(&next, t))
        all.push_back(next);
    }
    return all;
  }

  /// False: the thread waits.
  bool step(state* s, unsigned t) const {
    thread& me = s->threads[t];
    const instruction i = p_[t][me.at];
    u64& word = s->word[i.word];
    switch (i.what) {
    case op::load:
      me.read.push_back(word);
      break;
    case op::store:
      word = t + 1;
      break;
    case op::add:
      me.read.push_back(word++);
      break;
    case op::take:
      me.read.push_back(word);
      if (word == 0) word = 9;
      break;
    case op::lock:
      if (s->locked) return false;
      s->locked = true;
      break;
    case op::try_lock:
      me.read.push_back(!s->locked);
      if (s->locked) skip_section(&me, p_[t]);
      s->locked = true;
      break;
    case op::unlock:
      s->locked = false;
      break;
    case op::down_read:
      if (s->written) return false;
      s->readers++;
      break;
    case op::up_read:
      s->readers--;
      break;
    case op::down_write:
      if (s->written || s->readers) return false;
      s->written = true;
      break;
    case op::up_write:
      s->written = false;
      break;
    case op::enter:
      s->in_rcu |= bit(t);
      break;
    case op::leave:
      leave(s, t, &s->in_rcu);
      break;
    case op::mask:
      s->masked |= bit(t);
      break;
    case op::unmask:
      leave(s, t, &s->masked);
      break;
    case op::grace_period: // interrupts off is a section, too
      if (!me.sections.begun) return begin(&me.sections, s->in_rcu | s->masked);
      if (!end(&me.sections)) return false;
      break;
    case op::defer:
      me.deferred.push_back(i.word);
      break;
    case op::ipi:
      if (!me.sections.begun) return begin(&me.sections, s->masked);
      if (!end(&me.sections)) return false;
      break;
    case op::wait:
      if (word != 1) return false;
      break;
    case op::loop:
      if (word == 0) return false;
      break;
    case op::leaving_loop:
      if (word != 0 && !me.left) break;
      me.left ? void(s->in_rcu |= bit(t)) : leave(s, t, &s->in_rcu);
      me.left = !me.left;
      return true;
    case op::map:
      s->entry.push_back(mapped(t, me.at));
      break;
    case op::unmap:
      s->entry.push_back(0);
      break;
    case op::access:
      me.read.push_back(word);
      me.in_access = false;
      break;
    case op::flush:
      if (!me.answers.begun) {
        me.oldest = me.flushed_from = static_cast<unsigned>(s->entry.size() - 1);
        return begin(&me.answers, (1U << p_.size()) - 1 - bit(t));
      }
      if (!end(&me.answers)) return false;
      break;
    }
    me.at++;
    return true;
  }

  static bool begin(waiting* w, unsigned on) {
    *w = {true, static_cast<set_of_threads>(on)};
    return true;
  }
  static bool end(waiting* w) {
    if (w->on) return false;
    *w = {};
    return true;
  }
  static void leave(state* s, unsigned t, set_of_threads* sections) {
    const auto others = static_cast<set_of_threads>(~bit(t));
    *sections &= others;
    for (thread& waits : s->threads) {
      waits.sections.on &= others;
      waits.grace_period.on &= others;
    }
  }
  /// To its end; what would have been read in it is 0.
  static void skip_section(thread* me, const thread_code& c) {
    while (c[me->at].what != op::unlock)
      me->read.resize(me->read.size() + reads(c[++me->at].what));
  }

  /// The first deferred store waits for its grace period, or is made; false: it waits.
  static bool run_deferred(state* s, unsigned t) {
    thread& me = s->threads[t];
    if (me.deferred.empty()) return false;
    if (!me.grace_period.begun) return begin(&me.grace_period, s->in_rcu | s->masked);
    if (!end(&me.grace_period)) return false;
    s->word[me.deferred.front()] = 7;
    me.deferred.erase(me.deferred.begin());
    return true;
  }

  /// The hardware of `other` drops what the flush of `t` leaves behind; false: there is none, or it is in an
  /// access.
  static bool answer(state* s, unsigned t, unsigned other) {
    thread& me = s->threads[t];
    if (!(me.answers.on & bit(other)) || s->threads[other].in_access) return false;
    me.answers.on &= static_cast<set_of_threads>(~bit(other));
    s->threads[other].oldest = std::max(s->threads[other].oldest, me.flushed_from);
    return true;
  }

  /// The hardware reads the entry, or what it has kept of it.
  static void translate(const state& s, unsigned t, std::vector<state>* all) {
    for (std::size_t i = s.threads[t].oldest; i < s.entry.size(); i++) {
      if (s.entry[i] == 0 && i + 1 < s.entry.size()) continue;
      state& next = all->emplace_back(s);
      next.threads[t].read.push_back(s.entry[i]);
      next.threads[t].in_access = true;
    }
  }

  const code& p_;
  std::map<state, unsigned> visited_;
  std::set<std::pair<unsigned, unsigned>> steps_;
  std::set<unsigned> can_end_;
};

/// The same code on the library's primitives.
class library {
 public:
  explicit library(const code& p) : p_(p) {
    for (unsigned t = 0; t < p.size(); t++)
      code_.threads.push_back([this, t] { run(t); });
    code_.finally = [this] { results.insert(result()); };
  }
  outcome decide(memory_model m, bool reduced) {
    search_options o;
    o.model = m;
    o.symmetry = o.unordered_locks = o.commuting = reduced;
    return explorer(code_, o).run();
  }
  std::set<values> results;

 private:
  struct deferred_store : rcu_head {
    word_t* word = nullptr;
  };
  static constexpr unsigned MAX_INSTRUCTIONS = 16; // 4 sections of 2

  void run(unsigned t) {
    for (unsigned i = 0; i < p_[t].size(); i++) {
      run(t, i);
      if (p_[t][i].what == op::try_lock && read_[t][i][0] == 0)
        while (p_[t][i].what != op::unlock)
          read_[t][++i] = {};
    }
  }
  void run(unsigned t, unsigned at) {
    const instruction i = p_[t][at];
    word_t& word = words_[i.word];
    auto& [first, second] = read_[t][at];
    switch (i.what) {
    case op::load:
      first = READ_ONCE(word);
      return;
    case op::store:
      WRITE_ONCE(word, t + 1);
      return;
    case op::add:
      first = atomic_fetch_add(word, 1);
      return;
    case op::take:
      first = cmpxchg(word, 0, 9);
      return;
    case op::lock:
      spin_lock(lock_);
      return;
    case op::try_lock:
      first = spin_trylock(lock_);
      return;
    case op::unlock:
      spin_unlock(lock_);
      return;
    case op::down_read:
      down_read(semaphore_);
      return;
    case op::up_read:
      up_read(semaphore_);
      return;
    case op::down_write:
      down_write(semaphore_);
      return;
    case op::up_write:
      up_write(semaphore_);
      return;
    case op::enter:
      rcu_read_lock();
      return;
    case op::leave:
      rcu_read_unlock();
      return;
    case op::mask:
      local_irq_disable();
      return;
    case op::unmask:
      local_irq_enable();
      return;
    case op::grace_period:
      synchronize_rcu();
      return;
    case op::defer:
      deferred_[t][at].word = &word;
      call_rcu(&deferred_[t][at], [](rcu_head* h) { WRITE_ONCE(*static_cast<deferred_store*>(h)->word, 7); });
      return;
    case op::ipi:
      smp_call_function_many(everybody(), nullptr, nullptr, 0);
      return;
    case op::wait:
      smp_cond_load_acquire(word, ~u64{0}, 1);
      return;
    case op::loop:
      while (!READ_ONCE(word))
        cpu_relax();
      return;
    case op::leaving_loop:
      while (!READ_ONCE(word)) {
        rcu_read_unlock();
        cpu_relax();
        rcu_read_lock();
      }
      return;
    case op::map:
      WRITE_ONCE(entry_, mapped(t, at));
      return;
    case op::unmap:
      WRITE_ONCE(entry_, 0);
      return;
    case op::access:
      first = translation_read(entry_, {1, 0, 0, [](u64 v) { return v != 0; }}).value;
      second = READ_ONCE(word);
      user_access_end();
      return;
    case op::flush:
      tlb_broadcast(everybody(), {1, 0, 4096, 1});
      return;
    }
  }
  cpumask_bits everybody() const { return (cpumask_bits{1} << p_.size()) - 1; }

  values result() const {
    values all;
    for (unsigned t = 0; t < p_.size(); t++)
      for (unsigned i = 0; i < p_[t].size(); i++)
        all.insert(all.end(), read_[t][i].begin(), read_[t][i].begin() + reads(p_[t][i].what));
    for (const word_t& w : words_)
      all.push_back(READ_ONCE(w));
    return all;
  }

  const code& p_;
  program code_;
  std::array<word_t, WORDS> words_;
  word_t entry_{AT_FIRST};
  spinlock_t lock_;
  rwsem_t semaphore_;
  std::array<std::array<deferred_store, MAX_INSTRUCTIONS>, THREADS> deferred_;
  std::array<std::array<std::array<u64, 2>, MAX_INSTRUCTIONS>, THREADS> read_{};
};

std::string told(const code& p) {
  static constexpr std::array names{"load",         "store",  "add",       "take",    "lock",
                                    "try_lock",     "unlock", "down_read", "up_read", "down_write",
                                    "up_write",     "enter",  "leave",     "mask",    "unmask",
                                    "grace_period", "defer",  "ipi",       "wait",    "loop",
                                    "leaving_loop", "map",    "unmap",     "access",  "flush"};
  std::string s;
  for (const thread_code& t : p) {
    for (const instruction& i : t)
      s += std::string(names.at(static_cast<unsigned>(i.what))) + " " + std::to_string(i.word) + ", ";
    s += "end; ";
  }
  return s;
}

void compare(const code& p) {
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

TEST(outcomes, are_those_of_an_abstract_machine) {
  constexpr unsigned PROGRAMS = 8'000;
  for (unsigned seed = 1; seed <= PROGRAMS; seed++)
    compare(random_program(seed));
}

TEST(outcomes, through_a_stale_translation_of_what_is_stored_after_a_wait) {
  compare({{{op::map, 0}, {op::store, 1}, {op::flush, 0}},
           {{op::grace_period, 0}, {op::access, 1}},
           {{op::access, 1}, {op::defer, 1}}});
  compare({{{op::enter, 0}, {op::leave, 0}, {op::map, 0}, {op::flush, 0}},
           {{op::grace_period, 0}, {op::access, 1}},
           {{op::access, 1}, {op::defer, 1}}});
}

} // namespace
} // namespace racewalk::explore
