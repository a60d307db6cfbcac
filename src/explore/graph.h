// The execution graph: events, program order, reads-from, coherence.
//
// Invariants:
//  - ev[0..n) is in insertion order; a cut to an earlier length gives back the graph as it was then (cut()),
//  except
//    that a revisit re-sources an event in place, for which the search keeps a copy.
//  - a thread's events are in ev in program order; po counts them from 0.
//  - the writes of a location form one list in coherence order, from co_first to co_last; the initial value
//  stands
//    before them and is not an event (INIT).
//  - a counter to which threads only add has no coherence order: a read of it has a set of sources, of each
//    thread the additions up to some point.
//  - precedes(a, e) holds for the events before e in (po u rf)+, which is acyclic. Since that is closed under
//  program
//    order, each event keeps it as a number of events per thread.
//  - with identical threads, needs(a, e) holds for these and for what mirrors e and its past in the thread's
//    twin: a thread that has done the same as its twin so far comes after it, or the two could swap names.
//  - known(a, e) implies that a is performed and visible before e in the weak model: what fences, acquires
//  and releases
//    have passed on. It is what can be kept per event; the model itself may order more.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "sync/sync.h"

namespace racewalk::explore {

using eid = u16;
inline constexpr eid INIT = 0xffff; ///< the initial value of a location
inline constexpr eid NONE = 0xfffe;
inline constexpr u16 NO_LOCATION = 0xffff;
inline constexpr unsigned MAX_EVENTS = 320;
inline constexpr unsigned MAX_STEPS = 255; ///< of one thread: what a clock counts to
inline constexpr unsigned MAX_THREADS = 16;

/// A set of events.
class event_set {
 public:
  static constexpr unsigned WORDS = MAX_EVENTS / 64;
  bool test(eid e) const { return w_[e / 64] >> (e % 64) & 1; }
  void set(eid e) { w_[e / 64] |= u64{1} << (e % 64); }
  /// All of the first `n`.
  void set_first(unsigned n) {
    for (u64& w : w_) {
      w |= n >= 64 ? ~u64{0} : (u64{1} << n) - 1;
      n -= std::min(n, 64U);
    }
  }

 private:
  std::array<u64, WORDS> w_{};
};

enum class event_kind : u8 {
  read,
  write,
  fence,
  translation,   ///< a read by the MMU
  invalidate,    ///< this CPU's TLB dropped a range
  section_begin, ///< of a domain, on the location that counts its sections
  quiesce,       ///< a wait for sections begins; its reads of the counting locations follow
  free_object,
};

/// Of each thread, the events up to some point in program order.
struct clock {
  std::array<u8, MAX_THREADS> upto{};
  void join(clock o) { // by value: nothing overlaps, so this is one instruction
    for (unsigned t = 0; t < MAX_THREADS; t++)
      upto[t] = std::max(upto[t], o.upto[t]);
  }
  void include(unsigned thread, unsigned po) {
    upto[thread] = std::max(upto[thread], static_cast<u8>(po + 1));
  }
  /// With the next event of the thread. (As a sum of two clocks: to write one byte of a clock that is then
  /// read as a whole takes longer.)
  clock with_next_of(unsigned thread) const;
  /// Does it have all that `o` has, but for what is the thread's?
  bool covers(clock o, unsigned thread) const;
};
/// For each thread, so many events of it and none of others.
constexpr std::array<clock, MAX_THREADS> events_of_one(u8 n) {
  std::array<clock, MAX_THREADS> one{};
  for (unsigned t = 0; t < MAX_THREADS; t++)
    one[t].upto[t] = n;
  return one;
}
inline constexpr std::array<clock, MAX_THREADS> FIRST_OF = events_of_one(1);
inline constexpr std::array<clock, MAX_THREADS> ALL_OF = events_of_one(0xff);
inline clock clock::with_next_of(unsigned thread) const {
  clock sum;
  for (unsigned t = 0; t < MAX_THREADS; t++)
    sum.upto[t] = static_cast<u8>(upto[t] + FIRST_OF[thread].upto[t]);
  return sum;
}
inline bool clock::covers(clock o, unsigned thread) const {
  clock mine = *this;
  mine.join(ALL_OF[thread]);
  o.join(mine);
  return o.upto == mine.upto;
}

/// What a thread does, and what came of it there.
struct action {
  event_kind kind{};
  u8 thread = 0;
  order ord = order::relaxed;
  fence_kind fence{};
  domain dom{};
  u8 counted = 0;   ///< counts_sections: the thread whose sections are counted
  bool rmw = false; ///< half of a read-modify-write: the write follows its read directly
  bool succeeds =
      false; ///< rmw read: the operation succeeds on the value read, so its write half must come next
  bool is_plain = false;
  bool lock = false;        ///< on a lock's word
  bool adds = false;        ///< a write: an addition to a counter, which has no order with others
  bool sums = false;        ///< a read of a counter: of each thread's additions it sees those up to u.seen
  bool await = false;       ///< a read that blocks its thread while the value does not meet `until`
  bool blocked = false;     ///< such a read with such a value
  bool section_end = false; ///< a write: ends a section of `dom`
  bool counts_sections = false; ///< a read by a quiesce event
  bool coherent = true;         ///< false: a cached translation, not bound by coherence
  bool sc = true;               ///< the graph up to here is known to be sequentially consistent
  bool has_range = false;       ///< quiesce, its reads, invalidate: `range` is meant
  u16 po = 0;
  u16 loc = NO_LOCATION;
  eid rf = NONE;      ///< reads: the write, or INIT
  eid dep = NONE;     ///< the read this one's address depends on
  u16 quiesce_po = 0; ///< counts_sections: po of its quiesce event
  u64 value = 0;      ///< read or written
  union detail {
    detail() : op{} {}
    rmw_op op;            ///< rmw
    wait_condition until; ///< await, not rmw
    translation tr;       ///< translation
    clock seen;           ///< sums
    tlb_range range;      ///< quiesce, its reads, invalidate; if has_range
    struct {
      const void* object;
      u64 bytes;
    } freed; ///< free_object
  } u;
  site where;

  /// In the weak model: is nothing of the thread ordered across it?
  bool is_full_fence() const {
    return kind == event_kind::quiesce || counts_sections ||
           (rmw && ord == order::full && (is_write() || succeeds)) ||
           (kind == event_kind::fence && (fence == fence_kind::mb || fence == fence_kind::atomic));
  }
  /// Is it a wait for sections that does not end in this execution? It is its thread's last event.
  bool gives_up() const { return counts_sections && blocked; }
  /// ... for the thread's own: does it stay in a section?
  bool never_leaves() const { return gives_up() && counted == thread; }
  bool is_read() const { return kind == event_kind::read || kind == event_kind::translation; }
  bool is_write() const { return kind == event_kind::write; }
};

struct halt; // halts.h

/// A step in a graph.
struct event : action {
  event() = default;
  explicit event(const action& s) : action(s) {}

  bool mirrors = false;       ///< its thread has done the same as its twin up to here
  bool read_by_older = false; ///< a write: it is the source of a read that was added before it
  eid co_prev = NONE;         ///< writes
  eid co_next = NONE;
  eid before_at = NONE; ///< the event of the same location that was added last before this one
  eid next_at = NONE;   ///< ... and first after it
  u8 used_upto = 0;     ///< as graph::uses() of its location, for its thread, before it was added
  halt* then = nullptr; ///< where its thread halts after it, if that has been looked up
  clock past;           ///< what comes before this one causally
  clock prefix;         ///< what the graph has to have for it
  clock known;          ///< what the thread's later reads know of
  clock unfenced;       ///< what they will know of after a fence
  clock fenced;         ///< what the thread's later writes pass on
  clock released;       ///< writes: what they pass on
};

class graph {
 public:
  graph() { ev_.reserve(64); }

  /// Which thread, with a lower number, is the twin of each: runs the same code; -1: none.
  using twins = std::array<std::int8_t, MAX_THREADS>;
  void set_twins(const twins& t) {
    twin_ = t;
    symmetric_ = true;
  }
  /// Is known() asked?
  void set_weak(bool weak) { weak_ = weak; }
  /// What the twin of `thread` did at `po`, if the two have done the same before that; or NONE.
  eid counterpart(unsigned thread, unsigned po) const;

  unsigned size() const { return static_cast<unsigned>(ev_.size()); }
  event& operator[](eid e) { return ev_[e]; }
  const event& operator[](eid e) const { return ev_[e]; }

  /// All locations of its events are below this.
  unsigned locations() const { return static_cast<unsigned>(at_.size()); }
  /// The event of this location that was added first, or NONE; event::next_at leads to the others.
  eid first_at(u16 loc) const { return loc < at_.size() ? at_[loc].first : NONE; }
  /// All events of this location, which has some.
  const clock& uses(u16 loc) const { return at_[loc].uses; }

  unsigned thread_size(unsigned t) const { return static_cast<unsigned>(po_[t].size()); }
  eid at(unsigned t, unsigned po) const { return po_[t][po]; }
  eid last(unsigned t) const { return po_[t].empty() ? NONE : po_[t].back(); }

  eid co_first(u16 loc) const { return loc < at_.size() ? at_[loc].co_first : NONE; }
  eid co_last(u16 loc) const {
    return loc < at_.size() && at_[loc].co_last != NONE ? at_[loc].co_last : INIT;
  }
  /// The write after `w` (or after the initial value) in coherence order, or NONE.
  eid co_after(u16 loc, eid w) const { return w == INIT ? co_first(loc) : ev_[w].co_next; }
  /// Does `a` come before `e` causally, in program order and reads-from?
  bool precedes(eid a, eid e) const { return ev_[a].po < ev_[e].past.upto[ev_[a].thread]; }
  /// Must the graph have `a` if it has `e`?
  bool needs(eid a, eid e) const { return ev_[a].po < ev_[e].prefix.upto[ev_[a].thread]; }
  /// ... all of these that are other threads'?
  bool needs_others(const clock& events, eid e) const { return ev_[e].prefix.covers(events, ev_[e].thread); }
  /// Does the thread of `e` know of `a` after `e`, by fences, acquires and releases?
  bool known(eid a, eid e) const { return ev_[a].po < ev_[e].known.upto[ev_[a].thread]; }
  /// Calls f for the last addition of each thread that the read `e` of a counter sees.
  template <class F> void for_each_source(const event& e, F f) const {
    for (unsigned t = 0; t < MAX_THREADS; t++)
      if (e.u.seen.upto[t] > 0) f(at(t, e.u.seen.upto[t] - 1u));
  }
  /// The first addition of `thread` to the counter at or after `po`, or NONE.
  eid next_addition(u16 loc, unsigned thread, unsigned po) const;
  /// All additions to the counter.
  clock additions(u16 loc) const;
  /// Is `a` before `b` in coherence order? Both are writes of one location; INIT is before all.
  bool co_before(eid a, eid b) const;

  /// Is it known to be sequentially consistent?
  bool sc() const { return ev_.empty() || ev_.back().sc; }
  void set_sc(bool known) { ev_.back().sc = known; }
  /// Appends an event to its thread; fills in its position and past (rf is set).
  eid append(const action& s);
  /// Puts the write `w` directly after `prev` (or INIT) in coherence order.
  void place(eid w, eid prev);
  /// Takes the write `w` out of coherence order.
  void displace(eid w);
  /// Gives the read `r` the source `w`, and its past. (The last step of a revisit.)
  void set_source(eid r, eid w);
  /// Lets the read `r` of a counter see these additions.
  void set_seen(eid r, const clock& seen);
  /// Forgets where threads halt.
  void forget_halts();
  /// Removes the events from `n` on.
  void cut(unsigned n);
  /// Becomes the graph that has these events, in insertion order.
  void restore(std::vector<event> events);
  /// Makes *to a copy that keeps only the events of `keep`; *renamed gets the new name of each old event, or
  /// NONE.
  void restrict_to(const event_set& keep, graph* to, std::vector<eid>* renamed) const;

 private:
  static constexpr twins no_twins() {
    twins none{};
    none.fill(-1);
    return none;
  }
  /// What there is of a location.
  struct at_location {
    eid first = NONE; ///< in insertion order
    eid last = NONE;
    eid co_first = NONE; ///< writes, in coherence order
    eid co_last = NONE;
    clock uses;
  };
  at_location& at_location_of(u16 loc);
  void link(eid e);
  void note_older_readers();
  void mark_sources(eid r);
  void compute_past(eid e);
  void compute_known(eid e);

  std::vector<event> ev_;
  twins twin_ = no_twins();
  bool symmetric_ = false; ///< there are twins
  bool weak_ = true;
  std::array<std::vector<eid>, MAX_THREADS> po_;
  std::vector<at_location> at_;
};

/// A hash of what the threads read and in which order the writes came; the same in whatever order the events
/// were added.
u64 fingerprint_of(const graph& g);

/// Graphs that are used again, with the memory they have: a search makes one for each revisit.
class graph_pool {
 public:
  std::unique_ptr<graph> take() {
    if (spare_.empty()) return std::make_unique<graph>();
    std::unique_ptr<graph> g = std::move(spare_.back());
    spare_.pop_back();
    return g;
  }
  std::unique_ptr<graph> copy(const graph& of) {
    std::unique_ptr<graph> g = take();
    *g = of;
    return g;
  }
  void put(std::unique_ptr<graph> g) { spare_.push_back(std::move(g)); }

 private:
  std::vector<std::unique_ptr<graph>> spare_;
};

} // namespace racewalk::explore
