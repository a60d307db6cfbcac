// The search against an abstract machine: on random small programs of accesses, locks, waits, loops, RCU,
// IPIs, walks of page tables and TLB flushes, what the threads can have read is the same, and so is whether
// they can hang. The machine takes one step of one thread at a time and tries all orders. In tso each thread
// has a buffer that its stores, and the ends of its sections, leave one after the other in steps of their
// own. In the weak model more can have been read, but nothing less.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
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
  fence,
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
  map,          ///< gives the table's entry a value that nobody else does
  unmap,        ///< gives it 0, which hardware does not keep
  point,        ///< the directory's entry to the table
  access,       ///< reads both entries as hardware does, then the word
  flush,        ///< invalidates what all CPUs have kept
  flush_leaf,   ///< the same, but not of the directory
  local_flush,  ///< the same, of the own CPU
  shootdown,    ///< has the other CPUs do that, by an IPI
  notify,       ///< has the other CPUs store 5, by an IPI
};
struct instruction {
  op what = op::load;
  u8 word = 0; ///< or table
  auto operator<=>(const instruction&) const = default;
};
using thread_code = std::vector<instruction>;
using code = std::vector<thread_code>;

constexpr u64 MAX_EXECUTIONS = 5'000;
constexpr unsigned WORDS = 2;
constexpr unsigned THREADS = 3;
constexpr unsigned TABLES = WORDS; ///< of one entry each
constexpr unsigned DIRECTORY = TABLES;
constexpr unsigned ENTRIES = TABLES + 1;
constexpr u64 at_first(unsigned entry) { return entry == DIRECTORY ? 0 : 1000 + entry; }
constexpr u64 mapped(unsigned thread, unsigned at) { return 1000 + 100 * (thread + 1) + at; }
/// Hardware keeps no table's entry that is 0.
constexpr bool kept(unsigned entry, u64 value) { return entry == DIRECTORY || value != 0; }

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
    return 3;
  default:
    return 0;
  }
}

code random_program(unsigned seed) {
  static constexpr std::array anywhere{
      op::load,         op::load,       op::store,     op::store,      op::add,   op::take,
      op::loop,         op::wait,       op::ipi,       op::lock,       op::lock,  op::enter,
      op::enter,        op::try_lock,   op::down_read, op::down_write, op::mask,  op::access,
      op::access,       op::access,     op::map,       op::unmap,      op::point, op::flush,
      op::flush,        op::defer,      op::shootdown, op::shootdown,  op::defer, op::grace_period,
      op::grace_period, op::flush_leaf, op::notify,    op::notify,     op::fence, op::local_flush};
  static constexpr std::array in_section{op::load, op::load, op::store, op::add,   op::take,
                                         op::loop, op::wait, op::map,   op::point, op::access};
  static constexpr std::array in_lock{op::load,  op::store, op::add,   op::loop,      op::map,    op::unmap,
                                      op::point, op::flush, op::fence, op::shootdown, op::notify, op::access};
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
        begun == op::enter  ? add_one_of(in_rcu, &t)
        : begun == op::lock ? add_one_of(in_lock, &t)
                            : add_one_of(in_section, &t);
      t.push_back({end_of(begun), 0});
    }
  return p;
}

using values = std::vector<u64>;

/// The abstract machine. A result is what each thread has read, one after the other, and the words at the
/// end.
class machine {
 public:
  machine(const code& p, memory_model model) : p_(p), buffers_(model == memory_model::tso) {
    state s;
    s.threads.resize(p.size());
    for (unsigned i = 0; i < ENTRIES; i++)
      s.entry.at(i) = {at_first(i)};
    visit(s);
    for (std::vector<unsigned> from = ends_; !from.empty();) {
      const unsigned id = from.back();
      from.pop_back();
      if (!can_end_.insert(id).second) continue;
      from.insert(from.end(), before_[id].begin(), before_[id].end());
    }
  }
  std::set<values> results;
  bool can_hang() const { return can_end_.size() < visited_.size(); }

 private:
  /// A wait for others to end so many sections each, or to answer.
  struct waiting {
    bool begun = false;
    std::array<u8, THREADS> on{};
    auto operator<=>(const waiting&) const = default;
  };
  /// What others do not see yet: a store, or the end of what the instruction began.
  struct delayed {
    op what;
    u8 word = 0;
    u64 value = 0;
    auto operator<=>(const delayed&) const = default;
  };
  struct thread {
    unsigned at = 0;
    values read;
    std::vector<delayed> buffer;
    u8 sections = 0; ///< that have not ended for others: of RCU, or with interrupts off
    u8 masked = 0;   ///< of these, with interrupts off
    u8 accesses = 0; ///< by hardware, that have not ended for others
    waiting grace_period;
    waiting interrupts;       ///< in an IPI
    std::vector<u8> deferred; ///< the words that its deferred stores go to
    waiting deferral;         ///< the grace period of the first of these
    bool left = false;        ///< its section, in a round of its loop
    std::vector<u8> walk;     ///< the entries that its hardware has read, in an access
    std::array<unsigned, ENTRIES>
        oldest{};    ///< of the values that each has had, the first that it may still use
    waiting answers; ///< in a flush
    std::array<unsigned, ENTRIES> flushed{}; ///< what that leaves behind is older than these values
    bool irqs_off = false;
    std::array<instruction, THREADS> requested; ///< what this thread has sent an IPI for
    waiting answered;                           ///< those that it has sent
    auto operator<=>(const thread&) const = default;
  };
  struct state {
    std::vector<thread> threads;
    std::array<u64, WORDS> word{};
    std::array<values, ENTRIES> entry; ///< all that each has had, the last one now
    bool locked = false;
    bool written = false; ///< the semaphore
    u8 readers = 0;
    auto operator<=>(const state&) const = default;
  };

  unsigned visit(const state& s) {
    const auto [known, is_new] = visited_.try_emplace(s, static_cast<unsigned>(visited_.size()));
    const unsigned id = known->second;
    if (!is_new) return id;
    before_.emplace_back();
    for (const state& next : successors(s))
      before_[visit(next)].push_back(id);
    const auto is_over = [&](unsigned t) {
      const thread& me = s.threads[t];
      return me.at == p_[t].size() && me.buffer.empty() && me.deferred.empty();
    };
    for (unsigned t = 0; t < p_.size(); t++)
      if (!is_over(t)) return id;
    ends_.push_back(id);
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
      if (!me.buffer.empty()) drain(&all.emplace_back(s), t);
      if (state next = s; run_deferred(&next, t)) all.push_back(next);
      for (unsigned other = 0; other < p_.size(); other++) {
        if (state next = s; handle(&next, t, other)) all.push_back(next);
        if (state next = s; answer(&next, t, other)) all.push_back(next);
      }
      if (me.at == p_[t].size()) continue;
      if (p_[t][me.at].what == op::access && me.walk.size() < 2)
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
    if (is_fence(i.what) && !me.buffer.empty()) return false;
    u64& word = s->word[i.word];
    switch (i.what) {
    case op::load:
      me.read.push_back(seen(*s, t, i.word));
      break;
    case op::store:
      put(s, t, {i.what, i.word, t + 1});
      break;
    case op::add:
      me.read.push_back(word++);
      break;
    case op::take:
      me.read.push_back(word);
      if (word == 0) word = 9;
      break;
    case op::fence:
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
      put(s, t, {i.what});
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
      me.sections++;
      break;
    case op::leave:
      put(s, t, {i.what});
      break;
    case op::mask: // interrupts off is a section, too
      me.sections++;
      me.masked++;
      me.irqs_off = true;
      break;
    case op::unmask:
      me.irqs_off = false;
      put(s, t, {i.what});
      break;
    case op::grace_period:
      if (!me.grace_period.begun) return begin(&me.grace_period, *s, &thread::sections);
      if (!end(&me.grace_period)) return false;
      break;
    case op::defer:
      put(s, t, {i.what, i.word});
      break;
    case op::ipi:
      if (!me.interrupts.begun) return begin(&me.interrupts, *s, &thread::masked);
      if (!end(&me.interrupts)) return false;
      break;
    case op::wait:
      if (seen(*s, t, i.word) != 1) return false;
      break;
    case op::loop:
      if (seen(*s, t, i.word) == 0) return false;
      break;
    case op::leaving_loop:
      if (!me.left && seen(*s, t, i.word) != 0) break;
      if (!me.left && !me.buffer.empty() && me.buffer.back().what == op::leave)
        return false; // or it has no end
      me.left ? void(me.sections++) : put(s, t, {op::leave});
      me.left = !me.left;
      return true;
    case op::map:
      put(s, t, {i.what, i.word, mapped(t, me.at)});
      break;
    case op::unmap:
      put(s, t, {op::map, i.word, 0});
      break;
    case op::point:
      put(s, t, {op::map, DIRECTORY, i.word});
      break;
    case op::access:
      me.read.push_back(seen(*s, t, i.word));
      me.walk.clear();
      put(s, t, {i.what});
      break;
    case op::flush:
    case op::flush_leaf:
      if (!me.answers.begun) {
        me.flushed = newest(*s, i.what == op::flush);
        drop(&me, me.flushed);
        return begin(&me.answers, *s, t);
      }
      if (!end(&me.answers)) return false;
      break;
    case op::local_flush:
      drop(&me, newest(*s, true));
      break;
    case op::shootdown:
    case op::notify:
      if (!me.answered.begun) {
        for (thread& other : s->threads)
          if (&other != &me) other.requested.at(t) = i;
        return begin(&me.answered, *s, t);
      }
      if (!end(&me.answered)) return false;
      break;
    }
    me.at++;
    return true;
  }

  /// Does the instruction wait until the buffer is empty? (The ends of a semaphore's sections are additions.)
  static bool is_fence(op what) {
    switch (what) {
    case op::add:
    case op::take:
    case op::fence:
    case op::lock:
    case op::try_lock:
    case op::down_read:
    case op::up_read:
    case op::down_write:
    case op::up_write:
    case op::grace_period:
    case op::ipi:
    case op::flush:
    case op::flush_leaf:
    case op::local_flush:
    case op::shootdown:
    case op::notify:
      return true;
    default:
      return false;
    }
  }
  /// What the thread finds in the word: its own newest store, if others have not seen that yet.
  static u64 seen(const state& s, unsigned t, u8 word) {
    const std::vector<delayed>& buffer = s.threads[t].buffer;
    const auto own = std::find_if(buffer.rbegin(), buffer.rend(),
                                  [&](const delayed& d) { return d.what == op::store && d.word == word; });
    return own == buffer.rend() ? s.word[word] : own->value;
  }
  /// In sc others see it at once.
  void put(state* s, unsigned t, const delayed& d) const {
    if (d.what == op::access) s->threads[t].accesses++;
    s->threads[t].buffer.push_back(d);
    if (!buffers_) drain(s, t);
  }
  /// Others see the first in the buffer.
  static void drain(state* s, unsigned t) {
    thread& me = s->threads[t];
    const delayed d = me.buffer.front();
    me.buffer.erase(me.buffer.begin());
    switch (d.what) {
    case op::store:
      s->word[d.word] = d.value;
      break;
    case op::map:
      s->entry.at(d.word).push_back(d.value);
      break;
    case op::shootdown:
      s->threads[d.word].answered.on.at(t) = 0;
      break;
    case op::unlock:
      s->locked = false;
      break;
    case op::leave:
      leave(s, t);
      break;
    case op::unmask:
      leave(s, t);
      me.masked--;
      for (thread& other : s->threads)
        one_less(&other.interrupts, t);
      break;
    case op::defer:
      me.deferred.push_back(d.word);
      break;
    default:
      me.accesses--;
    }
  }
  static void leave(state* s, unsigned t) {
    s->threads[t].sections--;
    for (thread& other : s->threads) {
      one_less(&other.grace_period, t);
      one_less(&other.deferral, t);
    }
  }
  static void one_less(waiting* w, unsigned t) {
    if (w->on.at(t) > 0) w->on.at(t)--;
  }

  static bool begin(waiting* w, const state& s, u8 thread::*sections) {
    w->begun = true;
    for (unsigned t = 0; t < s.threads.size(); t++)
      w->on.at(t) = s.threads[t].*sections;
    return true;
  }
  /// A wait for all but `t`.
  static bool begin(waiting* w, const state& s, unsigned t) {
    w->begun = true;
    for (unsigned other = 0; other < s.threads.size(); other++)
      w->on.at(other) = other != t;
    return true;
  }
  static bool end(waiting* w) {
    if (w->on != decltype(w->on){}) return false;
    *w = {};
    return true;
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
    if (!me.deferral.begun) return begin(&me.deferral, *s, &thread::sections);
    if (!end(&me.deferral)) return false;
    s->word[me.deferred.front()] = 7;
    me.deferred.erase(me.deferred.begin());
    return true;
  }

  /// The newest value of each entry; of the directory, the oldest there was, if it is not to be dropped.
  static std::array<unsigned, ENTRIES> newest(const state& s, bool directory) {
    std::array<unsigned, ENTRIES> n{};
    for (unsigned i = 0; i < (directory ? ENTRIES : TABLES); i++)
      n.at(i) = static_cast<unsigned>(s.entry.at(i).size() - 1);
    return n;
  }
  /// Its hardware has nothing any more that is older than these.
  static void drop(thread* cpu, const std::array<unsigned, ENTRIES>& older) {
    for (unsigned i = 0; i < ENTRIES; i++)
      cpu->oldest.at(i) = std::max(cpu->oldest.at(i), older.at(i));
  }
  /// The hardware of `other` drops what the flush of `t` leaves behind; false: there is none, or it is in an
  /// access.
  static bool answer(state* s, unsigned t, unsigned other) {
    thread& me = s->threads[t];
    thread& answers = s->threads[other];
    if (me.answers.on.at(other) == 0 || !answers.walk.empty() || answers.accesses > 0) return false;
    me.answers.on.at(other) = 0;
    drop(&answers, me.flushed);
    return true;
  }
  /// The CPU of `t` takes the interrupt that `other` has sent; false: there is none, or it cannot.
  bool handle(state* s, unsigned t, unsigned other) const {
    thread& me = s->threads[t];
    const instruction request = me.requested.at(other);
    if (request == instruction{} || me.irqs_off || !me.walk.empty() || !me.buffer.empty()) return false;
    me.requested.at(other) = {};
    if (request.what == op::shootdown)
      drop(&me, newest(*s, true));
    else
      s->word[request.word] = 5;
    put(s, t, {op::shootdown, static_cast<u8>(other)}); // that it has
    return true;
  }

  /// The hardware reads the next entry as its CPU sees it, or what it has kept of it.
  static void translate(const state& s, unsigned t, std::vector<state>* all) {
    const thread& me = s.threads[t];
    const u8 entry = me.walk.empty() ? u8{DIRECTORY} : static_cast<u8>(me.read.back());
    const values& since_flush = s.entry.at(entry);
    values had(since_flush.begin() + me.oldest.at(entry), since_flush.end());
    for (const delayed& d : me.buffer)
      if (d.what == op::map && d.word == entry) had.push_back(d.value);
    for (std::size_t i = 0; i < had.size(); i++) {
      if (!kept(entry, had[i]) && i + 1 < had.size()) continue;
      state& next = all->emplace_back(s);
      next.threads[t].read.push_back(had[i]);
      next.threads[t].walk.push_back(entry);
    }
  }

  const code& p_;
  const bool buffers_;
  std::map<state, unsigned> visited_;
  std::vector<std::vector<unsigned>> before_; ///< of each state, those from which a step leads to it
  std::vector<unsigned> ends_;
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
    o.max_executions = MAX_EXECUTIONS;
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
    auto& [first, second, third] = read_[t][at];
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
    case op::fence:
      smp_mb();
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
      WRITE_ONCE(entries_[i.word], mapped(t, at));
      return;
    case op::unmap:
      WRITE_ONCE(entries_[i.word], 0);
      return;
    case op::point:
      WRITE_ONCE(entries_[DIRECTORY], i.word);
      return;
    case op::access: {
      const auto table = translation_read(entries_[DIRECTORY], {1, 0, 1, [](u64) { return true; }});
      first = table.value;
      second =
          translation_read(ref<u64>(&entries_[first], table.dep), {1, 0, 0, [](u64 v) { return kept(0, v); }})
              .value;
      third = READ_ONCE(word);
      user_access_end();
      return;
    }
    case op::flush:
      tlb_broadcast(everybody(), everything);
      return;
    case op::flush_leaf:
      tlb_broadcast(everybody(), {1, 0, 4096, 1});
      return;
    case op::local_flush:
      tlb_invalidated(everything);
      return;
    case op::shootdown:
      smp_call_function_many(
          everybody(), [](unsigned, const void*) { tlb_invalidated(everything); }, nullptr, 0);
      return;
    case op::notify: {
      word_t* const to = &word;
      const auto store = [](unsigned, const void* arg) { WRITE_ONCE(**static_cast<word_t* const*>(arg), 5); };
      smp_call_function_many(everybody(), store, static_cast<const void*>(&to), sizeof to);
      return;
    }
    }
  }
  static constexpr tlb_range everything{1, 0, 4096, 3};
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
  std::array<word_t, ENTRIES> entries_{word_t{at_first(0)}, word_t{at_first(1)}, word_t{at_first(2)}};
  spinlock_t lock_;
  rwsem_t semaphore_;
  std::array<std::array<deferred_store, MAX_INSTRUCTIONS>, THREADS> deferred_;
  std::array<std::array<std::array<u64, 3>, MAX_INSTRUCTIONS>, THREADS> read_{};
};

std::string told(const code& p) {
  static constexpr std::array names{
      "load",         "store",     "add",          "take",       "fence",    "lock",  "try_lock",
      "unlock",       "down_read", "up_read",      "down_write", "up_write", "enter", "leave",
      "mask",         "unmask",    "grace_period", "defer",      "ipi",      "wait",  "loop",
      "leaving_loop", "map",       "unmap",        "point",      "access",   "flush", "flush_leaf",
      "local_flush",  "shootdown", "notify"};
  std::string s;
  for (const thread_code& t : p) {
    for (const instruction& i : t)
      s += std::string(names.at(static_cast<unsigned>(i.what))) + " " + std::to_string(i.word) + ", ";
    s += "end; ";
  }
  return s;
}

/// False: there are too many executions to tell.
[[nodiscard]] bool compare(const code& p) {
  for (auto m : {memory_model::sc, memory_model::tso}) {
    std::optional<machine> all;
    for (bool reduced : {true, false}) {
      library lib(p);
      const outcome o = lib.decide(m, reduced);
      if (o.reason.starts_with("the bound")) return false;
      if (!all) all.emplace(p, m);
      EXPECT_EQ(o.verdict, all->can_hang() ? verdict::violation : verdict::safe)
          << to_string(m) << ": " << o.reason << told(p);
      if (o.verdict == verdict::safe) {
        EXPECT_EQ(lib.results, all->results) << to_string(m) << ": " << told(p);
      }
    }
    library lib(p);
    const outcome o = lib.decide(memory_model::weak, true);
    if (o.reason.starts_with("the bound")) return false;
    if (all->can_hang()) {
      EXPECT_EQ(o.verdict, verdict::violation) << told(p);
    } else if (o.verdict != verdict::violation) {
      EXPECT_TRUE(std::ranges::includes(lib.results, all->results)) << to_string(m) << ": " << told(p);
    }
  }
  return true;
}

TEST(outcomes, are_those_of_an_abstract_machine) {
  constexpr unsigned PROGRAMS = 800;
  unsigned compared = 0;
  for (unsigned seed = 1; seed <= PROGRAMS; seed++)
    compared += compare(random_program(seed));
  EXPECT_GT(compared, PROGRAMS * 9 / 10);
}

TEST(outcomes, through_a_stale_translation_of_what_is_stored_after_a_wait) {
  EXPECT_TRUE(compare({{{op::map, 0}, {op::store, 1}, {op::flush, 0}},
                       {{op::grace_period, 0}, {op::access, 1}},
                       {{op::access, 1}, {op::defer, 1}}}));
  EXPECT_TRUE(compare({{{op::enter, 0}, {op::leave, 0}, {op::map, 0}, {op::flush, 0}},
                       {{op::grace_period, 0}, {op::access, 1}},
                       {{op::access, 1}, {op::defer, 1}}}));
}

TEST(outcomes, of_two_interrupts_at_one_place) {
  EXPECT_TRUE(compare({{{op::load, 1}}, {{op::shootdown, 0}, {op::shootdown, 0}, {op::store, 1}}}));
  EXPECT_TRUE(compare({{{op::wait, 1}}, {{op::shootdown, 0}, {op::shootdown, 0}}}));
}

TEST(outcomes, of_an_interrupt_before_a_broadcast) {
  EXPECT_TRUE(compare({{{op::notify, 1}, {op::access, 0}}, {{op::map, 0}, {op::store, 1}, {op::flush, 0}}}));
}

TEST(outcomes, of_an_interrupt_before_a_section) {
  EXPECT_TRUE(compare({{{op::enter, 0}, {op::load, 1}, {op::leave, 0}},
                       {{op::add, 0}, {op::grace_period, 0}, {op::store, 1}},
                       {{op::shootdown, 0}, {op::take, 0}}}));
}

TEST(outcomes, of_a_translation_whose_access_nobody_notices) {
  EXPECT_TRUE(compare({{{op::access, 0}, {op::map, 0}},
                       {{op::access, 0}, {op::access, 0}},
                       {{op::flush, 0}, {op::unmap, 0}}}));
}

} // namespace
} // namespace racewalk::explore
