// CPUs, natively: which thread is which CPU, interrupts off, and IPIs.
//
// A CPU is a thread bound to it (cpu_binding). Nothing can interrupt a thread at an arbitrary place, so an
// IPI is run either by its target, when it next passes a point where it would take interrupts (an access that
// misses, local_irq_disable/enable, its own waiting), or by the sender on the target's behalf, once it is
// certain that the target is in no section with interrupts off and will enter none until the handler is done.
// Certainty costs the sender a heavy_barrier(); local_irq_disable() costs its caller a light one.
//
// Invariant: when smp_call_function_many() returns, every section with interrupts off that a target had begun
// before the call has ended, and the handler has run once for each target, never inside such a section.
#pragma once

#include "sync/native/rcu.h"
#include "sync/native/tlb.h"

namespace racewalk::inline native {

inline constexpr unsigned NO_CPU = ~0U;
inline constexpr std::size_t MAX_IPI_ARG = 64; ///< bytes of an argument; the model copies it

using ipi_handler = void (*)(unsigned cpu, const void* arg);

/// The part of a CPU that this layer needs.
class cpu_local {
 public:
  cpu_local(std::byte* frames, std::byte* tlb_tables) : tlb(frames, tlb_tables) {}

  tlb_t tlb;

  // written by the CPU's own thread
  alignas(64) std::atomic<u32> irq_off{0}; ///< in a section with interrupts off

  /// An IPI: posted by a sender, claimed by whoever runs it.
  enum class mail : u32 { none, posted, claimed };
  // written by senders
  alignas(64) spinlock_t senders; ///< one IPI at a time
  std::atomic<mail> ipi{mail::none};
  std::atomic<bool> bound{false};
  ipi_handler fn = nullptr;
  const void* arg = nullptr;
};

/// The CPUs that send each other IPIs: those of one machine.
class smp_domain {
 public:
  smp_domain() = default;
  smp_domain(const smp_domain&) = delete;
  smp_domain& operator=(const smp_domain&) = delete;

  void add(unsigned id, cpu_local& cpu) { cpus_[id] = &cpu; }
  cpu_local* operator[](unsigned id) const { return cpus_[id]; }

 private:
  cpu_local* cpus_[MAX_CPUS] = {};
};

/// What a thread is.
struct thread_info {
  cpu_local* cpu = nullptr;
  unsigned id = NO_CPU;
  unsigned irq_depth = 0;
};
inline constinit thread_local thread_info current_thread{};

/// Makes the calling thread a CPU of a machine while it lives. Throws std::logic_error if the CPU does not
/// exist or is bound, or the thread is.
class cpu_binding {
 public:
  cpu_binding(smp_domain& machine, unsigned id);
  ~cpu_binding();
  cpu_binding(const cpu_binding&) = delete;
  cpu_binding& operator=(const cpu_binding&) = delete;

 private:
  smp_domain* previous_;
};

/// NO_CPU on a thread that is none, such as the one that runs RCU callbacks.
inline unsigned raw_smp_processor_id() { return current_thread.id; }
inline unsigned smp_processor_id() {
  VM_BUG_ON(current_thread.id == NO_CPU, "INV-LIVE",
            "smp_processor_id() on a thread that is not bound to a CPU");
  return current_thread.id;
}

/// Takes what waits for this CPU: IPIs, if interrupts are on, and acknowledgements. For loops that wait for
/// another CPU.
void poll_interrupts();

// ---- interrupts off; nests -------------------------------------------------------------------------------

namespace detail {
void irq_disable_pending(cpu_local& cpu);
}

inline void local_irq_disable(site = {}) {
  rcu_read_lock(); // a section with interrupts off is an RCU read-side section (M44)
  thread_info& t = current_thread;
  if (t.irq_depth++ != 0 || !t.cpu) return;
  t.cpu->irq_off.store(1, std::memory_order_relaxed);
  light_barrier(); // pairs with heavy_barrier() in smp_call_function_many()
  if (t.cpu->tlb.raised(tlb_t::IPI_PENDING)) [[unlikely]]
    detail::irq_disable_pending(*t.cpu);
}
inline void local_irq_enable(site = {}) {
  thread_info& t = current_thread;
  if (--t.irq_depth == 0 && t.cpu) {
    t.cpu->irq_off.store(0, std::memory_order_release); // pairs with the sender's acquire of irq_off
    if (t.cpu->tlb.raised(tlb_t::IPI_PENDING)) [[unlikely]]
      poll_interrupts();
  }
  rcu_read_unlock();
}
inline bool irqs_disabled() { return current_thread.irq_depth != 0; }

class irq_guard {
 public:
  explicit irq_guard(site = {}) { local_irq_disable(); }
  ~irq_guard() { local_irq_enable(); }
  irq_guard(const irq_guard&) = delete;
  irq_guard& operator=(const irq_guard&) = delete;
};

// ---- reaching other CPUs ---------------------------------------------------------------------------------

/// Runs fn(cpu, arg) as each other CPU of the mask, or on its behalf, with its interrupts on, and waits; a
/// null fn is a rendezvous only. `arg` is `bytes` bytes. A full barrier on both sides, and on each target.
/// INV-LIVE with interrupts off.
void smp_call_function_many(cpumask_bits mask, ipi_handler fn, const void* arg, std::size_t bytes, site = {});

/// TLBI: removes `range` from the TLB of every CPU of the mask, and waits. Interrupts nobody. The caller's
/// full barriers on both sides (the DSBs) order its page-table changes before and what it does next after.
void tlb_broadcast(cpumask_bits mask, const tlb_range& range, site = {});

} // namespace racewalk::inline native
