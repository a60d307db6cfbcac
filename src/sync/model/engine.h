// What the model backend reports to, and what it keeps per thread.
//
// Each primitive of sync.h becomes one or a few calls on the current `engine`, which records an event and
// decides what a read returns. With no engine (set-up, tear-down) the primitives act on the variables' own
// storage; with one the storage is never written: it holds the initial values, and the engine's graph holds
// all others. That is why a run can be cut back and replayed without restoring memory.
//
// Invariant: the sequence of calls a thread makes is a function of the values its earlier calls returned.
#pragma once

#include <cstddef>

#include "sync/types.h"

namespace racewalk::inline model {

/// Where in the source an access was asked for. (Not std::source_location: clang 14 has none.)
struct site {
  const char* file = "";
  const char* function = "";
  unsigned line = 0;

  static constexpr site here(const char* file = __builtin_FILE(), const char* function = __builtin_FUNCTION(),
                             unsigned line = __builtin_LINE()) {
    return {file, function, line};
  }
};
/// The default argument of a `site` parameter.
#define RW_HERE ::racewalk::site::here()

/// The read event that a value came from, in its thread's order; 0: none.
struct dep_t {
  u16 event = 0;
};

/// One access to a shared variable.
struct access {
  const void* addr;
  u8 size;       ///< bytes
  order ord;     ///< relaxed for READ_ONCE/WRITE_ONCE and void atomics
  bool is_plain; ///< a plain<T>: takes part in data races
  dep_t dep;     ///< the address depends on this read
  site where;
};

/// Read-modify-write operations; the engine applies them to the value it chose.
enum class rmw_kind : u8 {
  add,              ///< v + a
  add_unless,       ///< v + a unless v == b
  add_positive,     ///< v + a if v > 0 as a signed number
  add_unless_bits,  ///< v + a unless v & b
  exchange,         ///< a
  compare_exchange, ///< a if v == b
  bit_or,           ///< v | a
  bit_and,          ///< v & a
};

struct rmw_op {
  rmw_kind kind;
  u64 a;
  u64 b = 0;
  bool blind = false; ///< nobody looks at the result
};

struct rmw_result {
  u64 old;
  bool done; ///< false: the condition failed and nothing was written
};

/// Applies `op` to a value of `size` bytes. Returns false if the condition fails.
bool apply(const rmw_op& op, u8 size, u64 old, u64* result);

enum class fence_kind : u8 { mb, wmb, rmb, atomic };

/// When a wait is over: ((value & mask) == want) == equal.
struct wait_condition {
  u64 mask;
  u64 want;
  bool equal;
  bool met_by(u64 v) const { return ((v & mask) == want) == equal; }
};

/// What a translation read is for: the entry of `level` that maps `va` in address space `ctx`.
struct translation {
  u64 ctx;
  vaddr_t va;
  u8 level;
  bool (*cacheable)(u64 entry); ///< may hardware keep this value? (invalid entries are not cached)
};

/// What an invalidation removes from this CPU's TLB.
struct tlb_range {
  u64 ctx;
  vaddr_t start;
  vaddr_t end; ///< exclusive
  u8 levels;   ///< bit L: cached entries of level L are removed
};

/// What a quiescence event waits for, on each CPU of its mask: the sections of this kind that began before
/// it.
enum class domain : u8 {
  irq, ///< interrupts off (a rendezvous IPI waits for it); orders everything around it
  rcu, ///< rcu_read_lock..unlock and interrupts off (a grace period waits for it)
  tlb, ///< a translation and the access that uses it (a broadcast invalidation waits for it)
};
inline constexpr unsigned N_DOMAINS = 3;

/// Per-thread state that follows from the thread's own calls; reset when it is replayed.
struct thread_state {
  unsigned thread = 0;
  unsigned cpu = 0;
  unsigned irq_depth = 0;
  unsigned rcu_depth = 0;
  unsigned spin_depth = 0;
  unsigned allocations = 0;
  unsigned callbacks_made = 0;
  unsigned ipis_handled = 0;
  site irqs_off_at{}; ///< where the outermost of each began
  site rcu_begun_at{};
  site spin_taken_at{};
  bool in_handler = false;
  bool idle = false;      ///< its thread has ended and it waits for requests
  bool in_access = false; ///< between a translation and the access that uses it
};

/// Where the next request to this thread's CPU arrives, if it would take it now: interrupts are on, and it is
/// not in a user access. Else null.
const void* next_request(const thread_state& t);

/// What can go wrong with a body by itself.
enum class mishap : u8 { fault, endless };

/// How a thread has a lock.
enum class hold : u8 { none, shared, exclusive };

/// Decides what happens next. Implemented by the explorer.
class engine {
 public:
  virtual ~engine() = default;
  /// Can others notice the access, or this thread's interrupt handlers, as far as is known?
  virtual bool noticed(const access& a) = 0;
  /// Does anybody wait for this CPU's sections?
  virtual bool noticed(domain d) = 0;
  virtual u64 read(const access& a) = 0;
  virtual void write(const access& a, u64 value) = 0;
  virtual rmw_result rmw(const access& a, const rmw_op& op) = 0;
  virtual void fence(fence_kind kind, site where) = 0;
  /// Blocks until the condition holds for a value that the read may return.
  virtual u64 await(const access& a, const wait_condition& until) = 0;
  /// Blocks until `op` succeeds.
  virtual rmw_result await_rmw(const access& a, const rmw_op& op) = 0;
  /// Begins or ends a section of `d` on this CPU. Sections of a domain do not nest.
  virtual void section_begin(domain d, site where) = 0;
  virtual void section_end(domain d, site where) = 0;
  /// Waits until each section of `d` on the CPUs of `mask` has ended that did not begin after this call did.
  /// With a range, translation reads in sections that begin later see it invalidated.
  virtual void quiesce(domain d, cpumask_bits mask, const tlb_range* range, site where) = 0;
  virtual u64 translation_read(const access& a, const translation& t) = 0;
  virtual void invalidate(const tlb_range& range, site where) = 0;
  /// This thread is about to take a lock, or (`waits` false) has got one that it did not wait for.
  virtual void takes_lock(const void* lock, hold as, bool waits, site where) = 0;
  virtual void drops_lock(const void* lock) = 0;
  virtual hold has_lock(const void* lock) const = 0;
  /// It is about to wait until each CPU of the mask has had interrupts on.
  virtual void waits_for_interrupts(cpumask_bits mask, site where) = 0;
  /// A round of a loop is over that goes on until something changes that it reads.
  virtual void relax(site where) = 0;
  virtual void free_object(const void* p, std::size_t bytes, site where) = 0;
  [[noreturn]] virtual void violation(const char* invariant, const char* text, site where) = 0;
  /// The id of the last read of the running thread, for dependencies.
  virtual dep_t last_read() = 0;
  virtual thread_state& self() = 0;
  /// A number, not 0, for these bytes, which threads can then send each other through a word; and the bytes
  /// again.
  virtual u64 intern(const void* bytes, std::size_t n) = 0;
  virtual const void* interned(u64 id) = 0;
  virtual unsigned cpus() = 0;
  /// There are RCU callbacks: the threads that run them are needed.
  virtual void callbacks_wanted(site where) = 0;
  /// For signal handlers: is the body of a CPU running? And if one is, it will not go on (`address`: where it
  /// faulted, if it did): does not return then.
  virtual bool in_body() = 0;
  virtual void cut_short(mishap what, const char* text, const void* address) = 0;
};

/// The engine of this OS thread while fibres run; null during set-up.
extern thread_local engine* current_engine;

/// Told of accesses without an engine while fibres run in another OS thread of the process, where somebody
/// looks out for them; null: they are set-up.
using stray_access_fn = void (*)(site where);
inline constinit stray_access_fn stray_access = nullptr;

/// Makes an engine that of this OS thread while it lives.
class engine_scope {
 public:
  explicit engine_scope(engine* e) : previous_(current_engine) { current_engine = e; }
  ~engine_scope() { current_engine = previous_; }
  engine_scope(const engine_scope&) = delete;
  engine_scope& operator=(const engine_scope&) = delete;

 private:
  engine* previous_;
};

/// The settings of the run (architecture, policy, geometry ...), by type; null: the default.
template <class T> inline thread_local const T* current_setting = nullptr;

} // namespace racewalk::inline model
