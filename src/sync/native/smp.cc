// Binding threads to CPUs, and IPIs.
#include "sync/native/smp.h"

#include <bit>
#include <stdexcept>
#include <string>

namespace racewalk::inline native {

namespace {

/// A target that is running answers within this many looks; about 0.5 us.
constexpr unsigned PATIENCE = 12;

using mail = cpu_local::mail;

/// Runs the IPI that the caller has claimed.
void run_claimed(cpu_local& cpu, unsigned id) {
  if (cpu.fn) cpu.fn(id, cpu.arg);
  cpu.tlb.lower(tlb_t::IPI_PENDING); // full barrier: the handler's effects before the CPU goes on
  cpu.ipi.store(mail::none, std::memory_order_release);
}

bool claim(cpu_local& cpu) {
  mail expected = mail::posted;
  return cpu.ipi.compare_exchange_strong(expected, mail::claimed);
}

/// By the CPU itself, with interrupts on: runs what is posted, or waits until the sender has run it.
void take_ipi(cpu_local& cpu, unsigned id) {
  spin_wait wait;
  while (cpu.tlb.raised(tlb_t::IPI_PENDING)) {
    if (!claim(cpu)) {
      wait.once();
      continue;
    }
    current_thread.irq_depth++; // a handler is not interrupted by another
    run_claimed(cpu, id);
    current_thread.irq_depth--;
  }
}

void post(cpu_local& cpu, ipi_handler fn, const void* arg) NO_THREAD_SAFETY_ANALYSIS {
  for (spin_wait wait; !spin_trylock(cpu.senders); wait.once())
    poll_interrupts(); // whoever holds it may be waiting for this CPU
  cpu.fn = fn;
  cpu.arg = arg;
  cpu.ipi.store(mail::posted, std::memory_order_release);
  cpu.tlb.raise(tlb_t::IPI_PENDING);
}

bool done(const cpu_local& cpu) { return cpu.ipi.load(std::memory_order_acquire) == mail::none; }

/// No thread is that CPU, and one that becomes it sees IPI_PENDING: post() raised it, a full barrier, before
/// this looks; pairs with the exchange in cpu_binding().
bool unbound(const cpu_local& cpu) { return !cpu.bound.load(std::memory_order_acquire); }

/// Gives the target the chance to run the IPI itself: cheaper than stopping it.
bool wait_a_little(const cpu_local& cpu) {
  for (unsigned i = 0; i < PATIENCE && !done(cpu); ++i) {
    poll_interrupts();
    cpu_relax();
  }
  return done(cpu);
}

/// After heavy_barrier(), or if unbound(): a section that had begun before IPI_PENDING was raised is visible
/// in irq_off or in_access; one that begins later sees IPI_PENDING and waits. So once both are seen 0 the
/// target is stopped.
void run_on_behalf(cpu_local& cpu, unsigned id) {
  for (spin_wait wait; !done(cpu); wait.once()) {
    if (cpu.irq_off.load(std::memory_order_acquire) == 0 && !cpu.tlb.in_access() && claim(cpu))
      run_claimed(cpu, id);
    poll_interrupts();
  }
}

/// Calls visit(cpu, id) for each CPU of the mask.
template <class F> void for_each_cpu(const smp_domain& domain, cpumask_bits mask, F&& visit) {
  for (; mask; mask &= mask - 1) {
    unsigned id = static_cast<unsigned>(std::countr_zero(mask));
    if (cpu_local* cpu = domain[id]) visit(*cpu, id);
  }
}

/// The bit of the calling thread's CPU, if it is one of this machine's.
cpumask_bits this_cpu_bit(const smp_domain& domain) {
  const thread_info& t = current_thread;
  return t.cpu && domain[t.id] == t.cpu ? BIT(t.id) : 0;
}

} // namespace

cpu_binding::cpu_binding(smp_domain& machine, unsigned id) : previous_(run_context) {
  if (current_thread.cpu) throw std::logic_error("this thread is already bound to a CPU");
  cpu_local* cpu = id < MAX_CPUS ? machine[id] : nullptr;
  if (!cpu) throw std::logic_error("there is no CPU " + std::to_string(id));
  if (cpu->bound.exchange(true)) // full barrier; pairs with unbound()
    throw std::logic_error("CPU " + std::to_string(id) + " is bound to another thread");
  current_thread = {.cpu = cpu, .id = id};
  run_context = &machine;
}

cpu_binding::~cpu_binding() {
  cpu_local* cpu = current_thread.cpu;
  current_thread = {};
  run_context = previous_;
  cpu->bound.store(false, std::memory_order_release);
}

void poll_interrupts() {
  thread_info& t = current_thread;
  if (!t.cpu) return;
  tlb_t& tlb = t.cpu->tlb;
  if (!tlb.raised(tlb_t::ATTENTION)) return;
  tlb.acknowledge();
  if (t.irq_depth == 0) take_ipi(*t.cpu, t.id);
}

// The section has been announced but must not begin: withdraw, serve, announce again.
void detail::irq_disable_pending(cpu_local& cpu) {
  do {
    current_thread.irq_depth = 0;
    cpu.irq_off.store(0, std::memory_order_release);
    poll_interrupts();
    current_thread.irq_depth = 1;
    cpu.irq_off.store(1, std::memory_order_relaxed);
    light_barrier(); // pairs with heavy_barrier() in smp_call_function_many()
  } while (cpu.tlb.raised(tlb_t::IPI_PENDING));
}

void smp_call_function_many(cpumask_bits mask, ipi_handler fn, const void* arg, std::size_t, site) {
  VM_BUG_ON(irqs_disabled(), "INV-LIVE", "an IPI is sent and waited for with interrupts off");
  VM_BUG_ON(!run_context, "INV-LIVE", "an IPI is sent by a thread that is on no machine");
  smp_mb(); // what the caller did before is visible to every section that begins after its target was reached
  const smp_domain& domain = *run_context;
  mask &= ~this_cpu_bit(domain);
  for_each_cpu(domain, mask, [&](cpu_local& cpu, unsigned) { post(cpu, fn, arg); });

  cpumask_bits silent = 0;
  for_each_cpu(domain, mask, [&](cpu_local& cpu, unsigned id) {
    if (unbound(cpu))
      run_on_behalf(cpu, id);
    else if (!wait_a_little(cpu))
      silent |= BIT(id);
  });
  if (silent) heavy_barrier(); // pairs with light_barrier() in local_irq_disable() and in the TLB's accesses
  for_each_cpu(domain, silent, [&](cpu_local& cpu, unsigned id) { run_on_behalf(cpu, id); });

  for_each_cpu(domain, mask,
               [&](cpu_local& cpu, unsigned) NO_THREAD_SAFETY_ANALYSIS { spin_unlock(cpu.senders); });
  smp_mb(); // what the targets did before is visible to the caller from here on
}

void tlb_broadcast(cpumask_bits mask, const tlb_range& range, site) {
  VM_BUG_ON(irqs_disabled(), "INV-LIVE", "a TLB invalidation is waited for with interrupts off");
  VM_BUG_ON(!run_context, "INV-LIVE", "a TLB invalidation is sent by a thread that is on no machine");
  const smp_domain& domain = *run_context;
  const cpumask_bits self = this_cpu_bit(domain);
  if (mask & self) current_thread.cpu->tlb.invalidate(range);
  for_each_cpu(domain, mask & ~self, [&](cpu_local& cpu, unsigned) { cpu.tlb.invalidate_remote(range); });
}

} // namespace racewalk::inline native
