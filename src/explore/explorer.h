// The search: visits each consistent execution of a program once, in the style of TruSt (Kokologiannakis et al.,
// POPL 2022).
//
// A program's threads run on fibres; at each primitive a fibre asks what it reads or says what it writes. The
// explorer adds the step to the graph with the newest choice and remembers the others: older sources of a read
// and earlier places of a write are forward choices (cut the graph back, choose again); a write that an earlier
// read could have seen is a backward revisit (a new graph without what was added after that read, unless it is in
// the write's past). A revisit is made only if everything it removes was itself added with the newest choice, so
// each execution has one way to be reached. Nothing visited is remembered.
//
// Variables that one thread only uses, or that nobody writes, are no events: what is private is found out while
// exploring, and the search starts again when it turns out wrong. The same holds for RCU, interrupt and
// translation sections: they are events only if somebody waits for them.
//
// Verdicts are never `safe` when a bound cut anything off.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "explore/consistency.h"
#include "explore/fibre.h"
#include "explore/locations.h"

namespace racewalk::explore {

/// What is explored: one body per CPU, and a property of the final state.
struct program {
  std::vector<std::function<void()>> threads;
  std::function<void()> finally; ///< runs on each complete execution; calls violation() if the property fails
};

struct progress {
  u64 executions;
  u64 blocked;
  unsigned depth;
};

struct search_options {
  memory_model model = memory_model::sc;
  model_options hardware;
  u64 max_executions = 0;          ///< 0: no bound
  u64 shrink_executions = 20'000;  ///< after the first violation, how many more may be tried for a shorter one
  std::function<void(const progress&)> report;
  const std::atomic<bool>* stop = nullptr;
  std::function<void(const graph&)> on_execution; ///< tests: sees each complete execution
};

enum class verdict : u8 { safe, violation, inconclusive };

struct failure {
  graph execution;
  std::string invariant;
  std::string text;
  site where;
  unsigned thread = 0; ///< that noticed; MAX_THREADS: the property of the final state
};

struct outcome {
  explore::verdict verdict = verdict::inconclusive;
  u64 executions = 0;
  u64 blocked = 0;
  unsigned max_events = 0;
  std::string reason; ///< inconclusive: the bound that was hit
  std::vector<failure> failures; ///< the shortest found, at most one
};

/// A step of a recorded execution: what the thread does next and what it sees.
struct choice {
  unsigned thread = 0;
  int source_thread = -1; ///< reads: who wrote it; -1: the initial value
  unsigned source_po = 0;
  int after_thread = -1; ///< writes: which write they follow in coherence order
  unsigned after_po = 0;
  std::string what; ///< kind and place, to say where the code differs now
};

class explorer final : public engine {
public:
  explorer(const program& p, search_options options);
  ~explorer() override;
  explorer(const explorer&) = delete;
  explorer& operator=(const explorer&) = delete;

  /// Explores until decided or stopped. The settings and the machine of the run must be in place.
  outcome run();
  /// Runs one recorded execution. Its failure, or a reason where the program does something else.
  outcome replay(const std::vector<choice>& schedule);

  const locations& places() const { return places_; }
  unsigned cpus() override { return n_cpus_; }

  // engine: called on the fibres
  u64 read(const access& a) override;
  void write(const access& a, u64 value) override;
  rmw_result rmw(const access& a, const rmw_op& op) override;
  void fence(fence_kind kind, site where) override;
  u64 await(const access& a, const wait_condition& until) override;
  rmw_result await_rmw(const access& a, const rmw_op& op) override;
  void section_begin(domain d, site where) override;
  void section_end(domain d, site where) override;
  void quiesce(domain d, cpumask_bits mask, const tlb_range* range, site where) override;
  u64 translation_read(const access& a, const translation& t) override;
  void invalidate(const tlb_range& range, site where) override;
  void free_object(const void* p, std::size_t bytes, site where) override;
  [[noreturn]] void violation(const char* invariant, const char* text, site where) override;
  dep_t last_read() override;
  thread_state& self() override { return running_->state; }
  thread_state& peer(unsigned thread) override { return threads_[thread].state; }

private:
  enum class status : u8 { fresh, ready, parked, stuck, failed };
  struct thread {
    fibre stack;
    thread_state state;
    status st = status::fresh;
    bool body_done = false;
    unsigned id = 0;
    unsigned pos = 0; ///< events of the graph that it has gone through
    event pending;    ///< parked: the event it wants to add
    u64 result = 0;
    u16 last_read_po = 0; ///< 1 + po of its last read
    private_values values;
    bool sections[N_DOMAINS] = {}; ///< sections it is in that are events
    const char* bad_invariant = nullptr;
    std::string bad_text;
    site bad_where;
    explorer* owner = nullptr;
  };
  struct item {
    enum { other_source, other_place, revisit } kind;
    unsigned length = 0; ///< of the graph before the event
    event e;
    eid choice = NONE; ///< source, or the write to follow in coherence order
    graph revisited;
    eid revisited_read = NONE;
  };
  struct frame {
    graph g;
    std::vector<item> items;
  };

  // the search
  void explore_all();
  bool next_item();
  void run_forward();
  void restart_search();
  thread* next_thread();
  bool enabled(const thread& t);
  void add(thread& t);
  void add_read(thread& t);
  void add_write(thread& t, eid prev_if_rmw);
  bool add_write_half(thread& t, eid read);
  void add_revisits(eid w);
  bool maximal(eid e, eid w) const;
  bool may_revisit(eid r, eid w, event_set* keep) const;
  bool take(item& it);
  void finish_step(thread& t, u64 result);
  bool stuck();
  void complete();
  void settle_source(event& e, eid source);
  u64 value_of(u16 loc, eid w) const;
  bool plausible(const event& e, eid source) const;
  bool section_open(unsigned cpu, domain d) const;
  void count_execution();

  // checks
  void check_access(eid id);
  void check_free(eid id);
  void check_race(eid id);
  void fail(const char* invariant, std::string text, site where, unsigned thread_id);

  // the fibres
  void resume(thread& t);
  void restart(thread& t);
  void restart_threads_beyond_graph();
  static void thread_main(void* arg);
  event* replayed(event_kind kind, u16 loc);
  u64 park(event e);
  event new_event(event_kind kind, const access& a, u16 loc);
  std::optional<u64> private_access(u16 loc, const access& a, bool writes, bool ordered);
  void private_fence(const access& a);

  graph& g() { return frames_.back().g; }
  const graph& g() const { return frames_.back().g; }

  const program& program_;
  search_options options_;
  unsigned n_cpus_;
  unsigned n_threads_;
  locations places_;
  std::vector<frame> frames_;
  std::array<thread, MAX_THREADS> threads_;
  thread* running_ = nullptr;
  bool final_state_ = false;
  bool execution_over_ = false;
  bool restart_wanted_ = false;
  eid owed_ = NONE; ///< a read whose write half must come next
  outcome result_;
  u64 shrink_until_ = 0;
};

} // namespace racewalk::explore
