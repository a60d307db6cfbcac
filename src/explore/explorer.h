// The search: visits each consistent execution of a program once, in the style of TruSt (Kokologiannakis et
// al., POPL 2022).
//
// A program's threads run on fibres; at each primitive a fibre asks what it reads or says what it writes. The
// explorer adds the step to the graph with the newest choice and remembers the others: older sources of a
// read and earlier places of a write are forward choices (cut the graph back, choose again); a write that an
// earlier read could have seen is a backward revisit (a new graph without what was added after that read,
// unless it is in the write's past). A revisit is made only if everything it removes was itself added with
// the newest choice, so each execution has one way to be reached. Nothing visited is remembered.
//
// Variables that one thread only uses, or that nobody writes, are no events: what is private is found out
// while exploring, and the search starts again when it turns out wrong. The same holds for RCU, interrupt and
// translation sections: they are events only if somebody waits for them.
//
// Verdicts are never `safe` when a bound cut anything off.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "explore/consistency.h"
#include "explore/crew.h"
#include "explore/fibre.h"
#include "explore/halts.h"
#include "explore/locations.h"
#include "explore/lock_order.h"
#include "explore/program.h"
#include "explore/random.h"

namespace racewalk::explore {

struct progress {
  u64 executions;
  u64 blocked;
  unsigned depth;
};

struct search_options {
  memory_model model = memory_model::sc;
  model_options hardware;
  u64 max_executions = 0;        ///< 0: no bound
  u64 shrink_executions = 5'000; ///< after the first violation, how many more may be tried for a shorter one
  /// How many choices that are not the newest (an older source, an earlier place, a revisit) there may be on
  /// the way to an execution. None: no bound. 0: one execution, in which one thread after the other runs.
  std::optional<unsigned> departures;
  /// How many context switches an execution may take at least. Others are visited only where it is not known
  /// early enough that they take more. None: no bound.
  std::optional<unsigned> switches;
  bool symmetry = true;           ///< of executions in which identical threads swap names one is visited
  bool commuting = true;          ///< additions whose result nobody reads have no order
  bool unordered_locks = true;    ///< a lock under which nothing happens that others see has no order
  std::optional<sampling> random; ///< draw so many executions instead of visiting all
  std::function<void(const progress&)> report;
  const std::atomic<bool>* stop = nullptr;
  std::function<void(const graph&)> on_execution; ///< tests: sees each complete execution

  /// How many more processes the search may be split over; asked when it turns out to be long and now and
  /// then after that. What is answered has been taken. None: it is not split.
  std::function<unsigned()> more_workers;
  u64 split_after = 20'000; ///< executions
  /// Helpers that have come to share the search, asked when more_workers is. None: there are no others.
  std::function<std::vector<helper>()> helpers;
  /// Take part in the search of another process, over this socket, instead of searching; run() then does not
  /// return.
  std::optional<int> assist_over;
  u64 rerun_executions = 0; ///< so many are run a second time: is the program a function of what it reads?
  bool fingerprint = false; ///< tests: sum up outcome::fingerprint
};

enum class verdict : u8 { safe, violation, inconclusive };

struct failure {
  graph execution;
  std::string invariant;
  std::string text;
  site where;
  unsigned thread = 0; ///< that noticed; MAX_THREADS: the property of the final state
  eid loss = NONE;     ///< the event that breaks it, if it is one
  eid after = NONE;    ///< what must be told before it for that to be seen
};

struct outcome {
  explore::verdict verdict = verdict::inconclusive;
  u64 executions = 0;
  u64 blocked = 0;
  unsigned max_events = 0;
  u64 fingerprint = 0; ///< the same whatever order the executions are visited in
  std::string reason;  ///< inconclusive: the bound that was hit, or what was sampled
  /// The samples after which all was known of the variables that the failure hangs on: replay() needs it.
  std::optional<sampling> learned_from;
  std::vector<failure> failures; ///< the shortest found, at most one
};

/// A step of a recorded execution: what the thread does next and what it sees.
struct choice {
  unsigned thread = 0;
  int source_thread = -1; ///< reads: who wrote it; -1: the initial value
  unsigned source_po = 0;
  int after_thread = -1; ///< writes: which write they follow in coherence order
  unsigned after_po = 0;
  std::string what; ///< the function that it is in, to say where the code differs now
  std::string kind; ///< kind_name(); empty if it was not recorded
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
  bool in_body() override { return running_ != nullptr; }
  void cut_short(mishap what, const char* text, const void* address) override;
  void callbacks_wanted(site where) override;

  // engine: called on the fibres
  bool noticed(const access& a) override;
  bool noticed(domain d) override;
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
  void takes_lock(const void* lock, hold as, bool waits, site where) override;
  void drops_lock(const void* lock) override;
  hold has_lock(const void* lock) const override;
  void waits_for_interrupts(cpumask_bits mask, site where) override;
  void relax(site where) override;
  void free_object(const void* p, std::size_t bytes, site where) override;
  [[noreturn]] void violation(const char* invariant, const char* text, site where) override;
  dep_t last_read() override;
  thread_state& self() override { return running_ ? running_->state : observer_; }
  u64 intern(const void* bytes, std::size_t n) override;
  const void* interned(u64 id) override;

 private:
  /// A thread as the search sees it, and the fibre that its body runs on. The fibre may be elsewhere: it is
  /// run only to find out what is not known yet (halts.h), or what the body leaves behind for the property.
  struct thread {
    unsigned id = 0;
    explorer* owner = nullptr;
    const halt* at = nullptr; ///< after its events in the graph; null: to be found out

    fibre stack;
    halt own; ///< where the fibre is; own.next is meant for the graph's events up to there
    thread_state state;
    unsigned pos = 0;      ///< events of the graph that it has gone through
    unsigned upto = 0;     ///< so many it goes through without halting
    std::vector<u64> seen; ///< their values
    u16 last_read = 0;     ///< 1 + po of its last read
    private_values values;
    std::vector<u16> held;                ///< unordered locks
    std::vector<lock_order::taken> locks; ///< all that it holds
    struct {
      unsigned before = 0; ///< po of the first step of the round before
      unsigned begin = 0;  ///< po of its own first step
      bool reads = false;  ///< anything, an event or not
      bool writes = false;
      u8 ended = 0; ///< sections: a bit per domain
    } round;        ///< of a loop: since the last cpu_relax()
    struct {
      bool on = false;
      std::vector<action> steps;
      bool in_vain = false;
    } trial; ///< of one more round, whose steps do not get into the graph
    const char* bad_invariant = nullptr;
    std::string bad_text; ///< may be set in a signal handler, so there is room for it
    site bad_where;

    bool parked() const { return at && at->st == status::parked; }
    /// Has its body ended, and does it wait for requests?
    bool idle() const { return parked() && at->idle; }
  };
  /// A choice not yet made: another source for the read `e`, another place for the write `e` (both on the
  /// graph cut to `length`), or a whole graph in which `read` has a source that came later.
  struct item {
    enum class what : u8 { source, place, revisit } kind{};
    unsigned length = 0;
    action e;
    eid choice = NONE;
    bool judged = false;     ///< known to be consistent
    bool may_be_sc = true;   ///< false: known not to be sequentially consistent, unless it is judged already
    unsigned departures = 0; ///< on the way to it, this one included
    std::unique_ptr<graph> revisited;
    eid read = NONE;
  };
  struct frame {
    std::unique_ptr<graph> g;
    std::vector<item> items;
    unsigned departures = 0; ///< on the way to the graph as it is now
  };

  // the search (explorer.cc)
  void search();
  bool take_next_item();
  bool take(item& it);
  bool make_choice(item& it);
  void run_forward();
  void restart_search();
  bool cut_off();
  thread* next_thread();
  void advance(thread& t);
  bool enabled(const thread& t) const;
  void add(thread& t);
  void add_read(thread& t);
  void add_write(thread& t);
  bool add_write_half(eid read);
  eid append_write_half(eid read);
  bool would_revisit(eid read);
  bool stays_overwritten(eid read) const;
  void remember(item&& it);
  void remember_source(const action& e, unsigned length, eid source, bool judged, bool may_be_sc);
  bool takes_too_many_switches();
  std::string bounds_that_cut() const;
  bool judged(graph& in, bool may_be_sc = true);
  bool may_be_sc_with_more() const;
  bool happens() const;
  bool wait_did_not_see(const action& end) const;
  bool visit_in_full();
  /// What is known of a choice before it is made.
  enum class outlook : u8 { impossible, possible, open };
  outlook outlook_of(const std::optional<extension>& past, eid next) const;
  bool judged_half(eid w);
  bool judged_by_extension(const graph& in, const action& e) const;
  void try_conflicting(const action& read, eid source, bool judged_already);
  void push_other_sources(const action& e, unsigned length, eid except);
  u64 sum(const graph& in, u16 loc, const clock& seen) const;
  bool keep_sources(eid r, eid w, event_set* keep) const;
  template <class F> void for_each_sum(const graph& in, const action& e, const clock& least, F f);
  void add_sum(action e);
  void push_other_sums(const action& e);
  void nothing_runs();
  static bool waits_for_sections(const thread& t);
  std::optional<action> awaited_sections(const thread& t) const;
  bool wait_ends(const action& wait) const;
  void remember_to_give_up(const action& step, unsigned length);
  void complete();
  bool blocks(const action& e, u64 value) const;
  void settle(action& e, eid source, u64 value) const;
  void settle(action& e, eid source) const;
  u64 value_of(u16 loc, eid w) const;
  eid open_section(unsigned cpu, domain d) const;

  // sampling (random.cc)
  void sample();
  void run_sample(random_schedule& schedule);
  bool add_with(thread& t, eid choice);
  bool add_older(thread& t, random_schedule& schedule);
  bool add_before_section();

  // splitting the search over processes (split.cc)
  struct hands {
    unsigned workers = 0;
    std::vector<helper> helpers;
  };
  hands hands_to_split_over();
  bool split(hands more);
  [[noreturn]] void assist(int socket);
  u64 layout();
  packet knowledge() const;
  void learn(packet* from);
  [[noreturn]] void work(worker_link& link);
  void give_away();
  bool accept(packet p);
  void put_graph(packet* p, const graph& of) const;
  std::unique_ptr<graph> get_graph(packet* p);
  packet report() const;
  void add_report(packet r);

  // replay (replay.cc)
  std::string follow(const choice& c);

  // backward revisits (revisit.cc)
  void push_revisits(eid w);
  void push_sum_revisits(std::unique_ptr<graph> h, eid r);
  /// Is `r`, of the location of the write `w`, a read that `w` could be the source of?
  static bool may_revisit(const graph& in, eid r, eid w) {
    return in[r].is_read() && !in[r].gives_up() && !in.needs(r, w);
  }
  bool removable(eid r, eid w, event_set* keep) const;
  template <class Kept> bool maximal(eid e, eid w, const Kept& kept) const;
  template <class Kept> bool sees_all(eid r, eid w, const Kept& kept) const;
  bool takes_a_source(eid r, eid w) const;
  eid oldest_plausible(const graph& in, const action& e, unsigned po) const;
  bool in_order_of_twins(const graph& in, const action& e, unsigned po, eid choice) const;

  // checks (checks.cc)
  void check_access(eid id) {
    const location& l = places_[g()[id].loc];
    if (l.plain) check_race(id);
    if (l.freers && !execution_over_) check_use(id);
  }
  void check_use(eid id);
  void check_free(eid id);
  void check_race(eid id);
  void fail(const char* invariant, std::string text, site where, unsigned thread_id, eid loss = NONE,
            eid after = NONE);
  void must_leave_nothing(thread& t);
  void report_deadlock();
  std::string lock_in_words(const void* lock) const;
  std::string wait_in_words(const action& e) const;
  void note_lock_edge(const lock_order::edge& e, const graph& in);
  void note_lock_use(const lock_order::use& u, const graph& in);
  void remember_lock_failure(const graph& in, std::string text, site where, unsigned id);
  void report_lock_order();

  // loops (loops.cc)
  bool has_news(const thread& t, unsigned round_begin) const;
  void wait_for_news(site where);
  bool goes_round_in_vain(thread& t);
  u64 try_step(const action& e);
  void wake_if_news(thread& t);
  void loop_without_end(site where);
  bool repeats_the_round_before(const thread& t) const;
  bool repeats_its_last_steps(const thread& t) const;
  bool has_room_for(const thread& t) const;
  std::string too_long() const;

  // where threads halt (halts.cc)
  const halt* where_it_halts(thread& t);
  const halt* find_out(thread& t, unsigned from);
  halt* halt_after(const thread& t, unsigned n) const;
  action wanted(const thread& t) const;
  void run(thread& t, unsigned upto);
  bool run_to_their_places();
  void start_over(thread& t);
  bool keeps_up(const thread& t) const;
  void forget_halts();

  // the fibres (steps.cc)
  void resume(thread& t);
  u64 go_through(thread& t, const event& e) const;
  static void thread_main(void* arg);
  void run_body(thread& t);
  void run_again();
  event* replayed(event_kind kind, u16 loc, site now);
  event* replayed_write(u16 loc, u64 value, site now);
  void diverge(const thread& t, const event* before, site now);
  u64 park(const action& e);
  [[noreturn]] void suspend_for_good(status st);
  action new_action(event_kind kind, site where) const;
  action new_action(event_kind kind, const access& a, u16 loc) const;
  bool is_private(u16 loc, const access& a, bool writes);
  [[noreturn]] void learned();
  [[noreturn]] void order_held_locks();
  bool may_be_unordered(u16 loc) const { return unordered_locks_ && places_.unordered_lock(loc); }
  bool counts(u16 loc) const { return commuting_ && places_[loc].shared && places_.counter(loc); }
  void note_change(u16 loc, bool adds);
  bool takes_unordered(u16 loc, const rmw_op& op);
  bool releases_unordered(u16 loc);
  void private_rmw_fence(const access& a, bool done);
  u64 private_value(u16 loc) const;
  u64 private_read(u16 loc, const access& a);
  u64 final_value(u16 loc) const;
  void add_plain_step(const action& e);

  graph& g() { return *frames_.back().g; }
  const graph& g() const { return *frames_.back().g; }

  const program& program_;
  search_options options_;
  unsigned n_cpus_;
  unsigned n_threads_; ///< the CPUs and, if there are RCU callbacks, one more for each to run them
  locations places_;
  std::vector<frame> frames_;
  graph_pool pool_;
  halts halts_;
  std::vector<eid> renamed_; ///< scratch of push_revisits()
  std::array<thread, MAX_THREADS> threads_;
  thread* running_ = nullptr;
  bool final_state_ = false;
  thread_state observer_{.irq_depth = 1}; ///< who looks at the final state: nobody interrupts it
  bool execution_over_ = false;
  unsigned quiet_accesses_ = 0; ///< private ones of the body that runs, since its last step
  bool restart_wanted_ = false; ///< something private turned out not to be
  bool replaying_ = false;      ///< no choices are collected: a replay, or a sample
  eid owed_ = NONE;             ///< a read whose write half must come next
  outcome result_;
  u64 shrink_until_ = 0;
  lock_order lock_order_;
  std::array<char, MAX_CPUS> irqs_off_{}; ///< their addresses stand for the CPUs' having interrupts off
  std::optional<failure> lock_failure_;   ///< reported if nothing worse is found
  std::unordered_set<u64> distinct_;      ///< fingerprints of the samples
  u64 samples_cut_ = 0;                   ///< by the bound on events
  u64 learning_samples_ = 0;
  graph::twins twins_;
  bool symmetry_ = false;
  bool unordered_locks_;
  bool commuting_;
  struct {
    u64 departures = 0; ///< choices that were not followed
    u64 switches = 0;   ///< ...
  } cut_;
  u64 ask_for_workers_at_ = 0;
  u64 layout_ = 0;              ///< of what the first execution showed; 0: there has been none
  worker_link* link_ = nullptr; ///< in a process that the search was split over
  struct payload {
    u64 id;
    std::vector<std::byte> bytes;
  };
  std::vector<payload> interned_;
};

} // namespace racewalk::explore
