// The model backend's primitives, over the current engine.
#include "sync/model/sync.h"

#include <cstdio>
#include <cstring>

namespace racewalk::inline model {

thread_local engine* current_engine = nullptr;

namespace {

/// The words through which IPIs and RCU callbacks travel. Their storage stays 0: only the graph holds values.
/// Each is written at most once in a run, so waiting for one never has to choose a source.
struct mailboxes {
  static constexpr unsigned SLOTS = 16;
  atomic_t tail[MAX_CPUS];                  ///< IPIs sent to a CPU
  word_t slot[MAX_CPUS][SLOTS];             ///< the k-th one: its request, interned
  word_t done[MAX_CPUS][SLOTS];             ///< it has been handled
  word_t callback[MAX_CPUS][MAX_CALLBACKS]; ///< the k-th call_rcu() of a thread
};
thread_local mailboxes mail;

struct request {
  ipi_handler fn;
  std::byte arg[MAX_IPI_ARG];
};
struct callback {
  void (*fn)(rcu_head*);
  rcu_head* head;
};

constexpr wait_condition nonzero{~u64{0}, 0, false};

template <class R> u64 await(const R& r, const wait_condition& c, site s) {
  return current_engine->await(detail::access_of(r, order::acquire, s), c);
}

/// What is done here may not be done in what began at `since`.
[[noreturn]] void forbidden(const char* what, const site& since, site s) {
  const char* slash = std::strrchr(since.file, '/');
  char text[240];
  const char* function = std::strcmp(since.function, "operator()") ? since.function : "scenario";
  std::snprintf(text, sizeof text, "%s since %s() %s:%u", what, function, slash ? slash + 1 : since.file,
                since.line);
  violation("INV-LIVE", text, s);
}

/// Runs the handler of the request in `slot` as this CPU, and acknowledges.
void handle_ipi(u64 slot, site s) {
  thread_state& me = current_engine->self();
  const unsigned k = me.ipis_handled++;
  request r;
  std::memcpy(&r, current_engine->interned(slot), sizeof r);
  me.in_handler = true;
  me.irq_depth++; // a handler runs with interrupts off; nobody can wait for that: no section
  current_engine->fence(fence_kind::mb, s);
  r.fn(me.cpu, r.arg);
  current_engine->fence(fence_kind::mb, s);
  me.irq_depth--;
  me.in_handler = false;
  smp_store_release(mail.done[me.cpu][k], 1, s); // pairs with the sender's wait in smp_call_function_many()
}

/// As next_request().
const word_t* request_slot(const thread_state& t) {
  const bool takes_requests = t.irq_depth == 0 && !t.in_access && t.cpu < current_engine->cpus();
  return takes_requests && t.ipis_handled < mailboxes::SLOTS ? &mail.slot[t.cpu][t.ipis_handled] : nullptr;
}

} // namespace

const void* next_request(const thread_state& t) { return request_slot(t); }

void detail::interruptible_point(site s) {
  while (const word_t* slot = request_slot(current_engine->self())) { // one interrupt may follow another
    const u64 v = current_engine->read(access_of(*slot, order::relaxed, s));
    if (!v) return;
    handle_ipi(v, s);
  }
}

void detail::interruptible_point_before(const access& a) {
  if (current_engine->noticed(a)) interruptible_point(a.where);
}

void detail::do_fence(fence_kind k, site s) {
  if (current_engine) current_engine->fence(k, s);
}

bool apply(const rmw_op& op, u8 size, u64 old, u64* result) {
  const u64 mask = size >= 8 ? ~u64{0} : (u64{1} << (8 * size)) - 1;
  const bool negative = (old >> (8 * size - 1)) & 1;
  auto put = [&](u64 v) {
    *result = v & mask;
    return true;
  };
  switch (op.kind) {
  case rmw_kind::add:
    return put(old + op.a);
  case rmw_kind::add_unless:
    return old != op.b && put(old + op.a);
  case rmw_kind::add_positive:
    return old != 0 && !negative && put(old + op.a);
  case rmw_kind::add_unless_bits:
    return (old & op.b) == 0 && put(old + op.a);
  case rmw_kind::exchange:
    return put(op.a);
  case rmw_kind::compare_exchange:
    return old == op.b && put(op.a);
  case rmw_kind::bit_or:
    return put(old | op.a);
  case rmw_kind::bit_and:
    return put(old & op.a);
  }
  return false;
}

// ---- reports and the run ---------------------------------------------------------------------------------

void violation(const char* invariant, const char* text, site s) {
  if (current_engine) current_engine->violation(invariant, text, s);
  throw setup_violation(invariant, text);
}

std::optional<unsigned> explored_allocation() {
  if (!current_engine) return std::nullopt;
  thread_state& me = current_engine->self();
  return me.thread * EXPLORED_ALLOCATIONS_PER_THREAD + me.allocations++;
}

bool carries_messages(const void* addr) {
  const auto at = reinterpret_cast<std::uintptr_t>(addr);
  const auto begin = reinterpret_cast<std::uintptr_t>(&mail);
  return at >= begin && at < begin + sizeof mail;
}

void object_free(const void* p, std::size_t bytes, site s) {
  if (!current_engine) return;
  detail::interruptible_point(s);
  current_engine->free_object(p, bytes, s);
}

// ---- CPUs and interrupts ---------------------------------------------------------------------------------

unsigned smp_processor_id() { return current_engine ? current_engine->self().cpu : 0; }

void local_irq_disable(site s) {
  if (!current_engine) return;
  thread_state& me = current_engine->self();
  if (me.irq_depth == 0) {
    detail::interruptible_point(s);
    current_engine->section_begin(domain::irq, s);
    if (me.rcu_depth == 0) current_engine->section_begin(domain::rcu, s);
    me.irqs_off_at = s;
  }
  me.irq_depth++;
}

void local_irq_enable(site s) {
  if (!current_engine) return;
  thread_state& me = current_engine->self();
  VM_BUG_ON(me.irq_depth == 0, "INV-BALANCE", "enables interrupts that are not off", s);
  if (--me.irq_depth != 0) return;
  if (me.rcu_depth == 0) current_engine->section_end(domain::rcu, s);
  current_engine->section_end(domain::irq, s);
  detail::interruptible_point(s);
}

bool irqs_disabled() { return current_engine && current_engine->self().irq_depth != 0; }

void smp_call_function_many(cpumask_bits mask, ipi_handler fn, const void* arg, std::size_t bytes, site s) {
  if (!current_engine) return;
  thread_state& me = current_engine->self();
  if (me.irq_depth != 0) {
    if (me.in_handler) violation("INV-LIVE", "waits for an IPI in an interrupt handler", s);
    forbidden("waits for an IPI, whose target may be waiting for this CPU, with interrupts off",
              me.irqs_off_at, s);
  }
  mask &= ~(u64{1} << me.cpu);
  current_engine->waits_for_interrupts(mask, s);
  if (!fn) {
    detail::interruptible_point(s);
    current_engine->quiesce(domain::irq, mask, nullptr, s);
    return;
  }
  request r{fn, {}};
  std::memcpy(r.arg, arg, bytes);
  const u64 id = current_engine->intern(&r, sizeof r);
  unsigned ticket[MAX_CPUS]{};
  current_engine->fence(fence_kind::mb, s); // the target's handler sees what the sender did before
  for (unsigned cpu = 0; cpu < current_engine->cpus(); cpu++) {
    if (!(mask >> cpu & 1)) continue;
    ticket[cpu] = static_cast<unsigned>(atomic_fetch_add(mail.tail[cpu], 1, order::relaxed, s));
    WRITE_ONCE(mail.slot[cpu][ticket[cpu]], id, s);
  }
  for (unsigned cpu = 0; cpu < current_engine->cpus(); cpu++) {
    if (!(mask >> cpu & 1)) continue;
    detail::interruptible_point(s); // or two senders would wait for each other
    await(mail.done[cpu][ticket[cpu]], nonzero, s);
  }
  current_engine->fence(fence_kind::mb, s);
}

// ---- the MMU ---------------------------------------------------------------------------------------------

dep_value<u64> translation_read(ref<u64> entry, const translation& t, site s) {
  if (!current_engine) return {entry.storage(), {}};
  thread_state& me = current_engine->self();
  if (!me.in_access) {
    detail::interruptible_point(s);
    current_engine->section_begin(domain::tlb, s);
    me.in_access = true;
  }
  u64 v = current_engine->translation_read(detail::access_of(entry, order::relaxed, s), t);
  return {v, current_engine->last_read()};
}

void user_access_end(site s) {
  if (!current_engine || !current_engine->self().in_access) return;
  current_engine->section_end(domain::tlb, s);
  current_engine->self().in_access = false;
}

void tlb_invalidated(const tlb_range& range, site s) {
  if (current_engine) current_engine->invalidate(range, s);
}

void tlb_broadcast(cpumask_bits mask, const tlb_range& range, site s) {
  if (!current_engine) return;
  detail::interruptible_point(s);
  const u64 self = u64{1} << current_engine->self().cpu;
  if (mask & self) current_engine->invalidate(range, s);
  current_engine->quiesce(domain::tlb, mask & ~self, &range, s);
}

// ---- locks -----------------------------------------------------------------------------------------------

namespace {

/// Before it may have to wait: that it would is what counts.
void acquire(atomic_t& word, const rmw_op& op, hold as, site s) {
  if (!current_engine) {
    detail::do_rmw(word, op, order::acquire, s);
    return;
  }
  detail::interruptible_point(s);
  current_engine->takes_lock(&word, as, true, s);
  current_engine->await_rmw(detail::access_of(word, order::acquire, s), op);
}
bool try_acquire(atomic_t& word, const rmw_op& op, hold as, site s) {
  if (!detail::do_rmw(word, op, order::acquire, s).done) return false;
  if (current_engine) current_engine->takes_lock(&word, as, false, s);
  return true;
}
/// Only who holds a lock gives it up, and as what it holds it.
void must_hold(const atomic_t& word, hold as, const char* what_it_does, site s) {
  if (!current_engine) return;
  const hold had = current_engine->has_lock(&word);
  if (had == as) return;
  char text[160];
  std::snprintf(text, sizeof text, "%s that it %s", what_it_does,
                had == hold::none        ? "does not hold"
                : had == hold::exclusive ? "holds for writing"
                                         : "holds for reading");
  violation("INV-BALANCE", text, s);
}
void drop(const atomic_t& word) {
  if (current_engine) current_engine->drops_lock(&word);
}
constexpr rmw_op take{rmw_kind::compare_exchange, 1, 0};
constexpr rmw_op take_read{rmw_kind::add_unless_bits, 1, rwsem_t::WRITER};
constexpr rmw_op take_write{rmw_kind::compare_exchange, rwsem_t::WRITER, 0};

void count_spinlock(site s) {
  if (!current_engine) return;
  thread_state& me = current_engine->self();
  if (me.spin_depth++ == 0) me.spin_taken_at = s;
}

} // namespace

void might_sleep(const char* what, site s) {
  if (!current_engine) return;
  const thread_state& me = current_engine->self();
  char text[160];
  auto say = [&](const char* where) {
    std::snprintf(text, sizeof text, "%s, which may sleep, %s", what, where);
    return text;
  };
  if (me.in_handler) violation("INV-LIVE", say("in an interrupt handler"), s);
  if (me.irq_depth != 0) forbidden(say("with interrupts off"), me.irqs_off_at, s);
  if (me.spin_depth != 0) forbidden(say("with a spinlock held"), me.spin_taken_at, s);
  if (me.rcu_depth != 0) forbidden(say("in an RCU read-side section"), me.rcu_begun_at, s);
}

void spin_lock(spinlock_t& l, site s) NO_THREAD_SAFETY_ANALYSIS {
  acquire(l.word, take, hold::exclusive, s);
  count_spinlock(s);
}
bool spin_trylock(spinlock_t& l, site s) NO_THREAD_SAFETY_ANALYSIS {
  if (!try_acquire(l.word, take, hold::exclusive, s)) return false;
  count_spinlock(s);
  return true;
}
void spin_unlock(spinlock_t& l, site s) NO_THREAD_SAFETY_ANALYSIS {
  must_hold(l.word, hold::exclusive, "releases a spinlock", s);
  smp_store_release(l.word, 0, s);
  drop(l.word);
  if (current_engine) current_engine->self().spin_depth--;
}

void mutex_lock(mutex_t& m, site s) NO_THREAD_SAFETY_ANALYSIS {
  might_sleep("takes a mutex", s);
  acquire(m.word, take, hold::exclusive, s);
}
bool mutex_trylock(mutex_t& m, site s) NO_THREAD_SAFETY_ANALYSIS {
  return try_acquire(m.word, take, hold::exclusive, s);
}
void mutex_unlock(mutex_t& m, site s) NO_THREAD_SAFETY_ANALYSIS {
  must_hold(m.word, hold::exclusive, "releases a mutex", s);
  smp_store_release(m.word, 0, s);
  drop(m.word);
}

void down_read(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  might_sleep("takes a semaphore", s);
  acquire(r.word, take_read, hold::shared, s);
}
bool down_read_trylock(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  return try_acquire(r.word, take_read, hold::shared, s);
}
void up_read(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  must_hold(r.word, hold::shared, "releases for reading a semaphore", s);
  atomic_fetch_add(r.word, -1, order::release, s);
  drop(r.word);
}
void down_write(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  might_sleep("takes a semaphore", s);
  acquire(r.word, take_write, hold::exclusive, s);
}
bool down_write_trylock(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  return try_acquire(r.word, take_write, hold::exclusive, s);
}
void up_write(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  must_hold(r.word, hold::exclusive, "releases for writing a semaphore", s);
  atomic_fetch_add(r.word, -rwsem_t::WRITER, order::release, s);
  drop(r.word);
}
void downgrade_write(rwsem_t& r, site s) NO_THREAD_SAFETY_ANALYSIS {
  must_hold(r.word, hold::exclusive, "downgrades a semaphore", s);
  atomic_fetch_add(r.word, 1 - rwsem_t::WRITER, order::release, s);
  drop(r.word);
  if (current_engine) current_engine->takes_lock(&r.word, hold::shared, false, s);
}

// ---- RCU -------------------------------------------------------------------------------------------------

void rcu_read_lock(site s) {
  if (!current_engine) return;
  thread_state& me = current_engine->self();
  if (me.rcu_depth++ != 0) return;
  me.rcu_begun_at = s;
  if (me.irq_depth != 0) return;
  // An interrupt in the section would be waited for with it.
  if (current_engine->noticed(domain::rcu)) detail::interruptible_point(s);
  current_engine->section_begin(domain::rcu, s);
}
void rcu_read_unlock(site s) {
  if (!current_engine) return;
  thread_state& me = current_engine->self();
  VM_BUG_ON(me.rcu_depth == 0, "INV-BALANCE", "ends an RCU read-side section that it is not in", s);
  if (--me.rcu_depth == 0 && me.irq_depth == 0) current_engine->section_end(domain::rcu, s);
}
bool rcu_read_lock_held() {
  return current_engine && (current_engine->self().rcu_depth != 0 || current_engine->self().irq_depth != 0);
}

void synchronize_rcu(site s) {
  if (!current_engine) return;
  might_sleep("waits for a grace period", s);
  detail::interruptible_point(s);
  current_engine->quiesce(domain::rcu, ~u64{0}, nullptr, s);
}

void call_rcu(rcu_head* head, void (*fn)(rcu_head*), site s) {
  if (!current_engine) {
    fn(head);
    return;
  }
  current_engine->callbacks_wanted(s);
  thread_state& me = current_engine->self();
  const callback cb{fn, head};
  const u64 id = current_engine->intern(&cb, sizeof cb);
  smp_store_release(mail.callback[me.thread][me.callbacks_made++], id,
                    s); // pairs with the wait in rcu_callback_thread()
}

// ---- thread bodies ---------------------------------------------------------------------------------------

void cpu_idle() {
  const site s = RW_HERE;
  thread_state& me = current_engine->self();
  for (;;) {
    me.idle = true;
    u64 slot = await(mail.slot[me.cpu][me.ipis_handled], nonzero, s);
    me.idle = false;
    handle_ipi(slot, s);
  }
}

void rcu_callback_thread(unsigned owner) {
  const site s = RW_HERE;
  thread_state& me = current_engine->self();
  for (unsigned k = 0;; k++) {
    me.idle = true;
    const u64 id = await(mail.callback[owner][k], nonzero, s);
    me.idle = false;
    current_engine->quiesce(domain::rcu, ~u64{0}, nullptr, s);
    callback cb;
    std::memcpy(&cb, current_engine->interned(id), sizeof cb);
    cb.fn(cb.head);
  }
}

} // namespace racewalk::inline model
