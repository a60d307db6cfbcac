// Switching between address spaces, and ranges.
#include "machine/cpu.h"

#include "machine/policy.h"
#include "machine/tlbflush.h"

namespace racewalk::inline RACEWALK_BACKEND {

Cpu::Cpu(unsigned id_, std::byte* frames) : id(id_), local(frames, tlb_tables_.data()) {}

void Cpu::flush_local(const tlb_range& range, site s) {
  local.tlb.invalidate(range);
  tlb_invalidated(range, s);
}

// The bit goes last: until then flushes of the old mm still come here, afterwards nothing of it may be left.
void Cpu::leave_mm(site s) {
  mm_context* mm = READ_ONCE(loaded_mm, s);
  if (!mm) return;
  flush_local({mm->ctx_id, 0, TLB_FLUSH_ALL, 0xf}, s);
  WRITE_ONCE(loaded_mm, nullptr, s);
  WRITE_ONCE(is_lazy, 0, s);
  if (arch().mm_cpumask != cpumask_rule_t::set_only) clear_bit(id, mm->cpumask, s);
}

void Cpu::switch_mm(mm_context* next, site s) {
  if (!machine_policy().switch_mm_irqs_off) return switch_mm_irqs_off(next, s);
  irq_guard off(s); // no flush comes while two mms are half loaded, or lazy mode half left
  switch_mm_irqs_off(next, s);
}

// Whoever changes the page table raises tlb_gen, then reads the mask and is_lazy; we announce ourselves
// there, then read tlb_gen and walk. With a full barrier on both sides one sees the other (M8).
void Cpu::switch_mm_irqs_off(mm_context* next, site s) {
  mm_context* prev = READ_ONCE(loaded_mm, s);
  if (prev == next) {
    if (prev) resume(*prev, s);
    return;
  }
  if (prev && arch().mm_cpumask == cpumask_rule_t::clear_on_switch) {
    leave_mm(s);
  } else if (prev) {
    flush_local({prev->ctx_id, 0, TLB_FLUSH_ALL, 0xf}, s);
    WRITE_ONCE(is_lazy, 0, s);
  }
  WRITE_ONCE(loaded_mm, next, s);
  if (!next) return;
  set_bit(id, next->cpumask, s);
  if (machine_policy().switch_mm_barrier) smp_mb__after_atomic(s); // pairs with inc_mm_tlb_gen()
  // acquire: later walks see the changes that the generation counts; pairs with inc_mm_tlb_gen()
  WRITE_ONCE(loaded_tlb_gen, smp_load_acquire(next->tlb_gen, s), s);
  // From here on the TLB may hold translations of `next`. It has none from before: they went when it was
  // left.
  tlb_invalidated({next->ctx_id, 0, TLB_FLUSH_ALL, 0xf}, s);
}

/// Back from lazy mode to the mm that stayed loaded: what was flushed meanwhile is flushed now.
void Cpu::resume(mm_context& mm, site s) {
  if (!READ_ONCE(is_lazy, s)) return;
  WRITE_ONCE(is_lazy, 0, s);
  smp_mb(s); // pairs with inc_mm_tlb_gen(): the flusher sees that we are not lazy, or we see its generation
  const s64 gen = smp_load_acquire(mm.tlb_gen, s); // as in switch_mm()
  if (gen == READ_ONCE(loaded_tlb_gen, s)) return;
  flush_local({mm.ctx_id, 0, TLB_FLUSH_ALL, 0xf}, s);
  WRITE_ONCE(loaded_tlb_gen, gen, s);
}

void Cpu::enter_lazy_tlb(site s) {
  if (READ_ONCE(loaded_mm, s)) WRITE_ONCE(is_lazy, 1, s);
}

fault_result Cpu::handle_fault(vaddr_t va, bool write, site s) {
  VM_BUG_ON(irqs_disabled(), "INV-LIVE", "a user access faults with interrupts off", s);
  mm_context* mm = READ_ONCE(loaded_mm, s);
  if (!mm || !mm->fault) return fault_result::sigsegv;
  const fault_result result = mm->fault(*mm, va, write ? FAULT_FLAG_WRITE : FAULT_FLAG_NONE);
  // What refused the access is dropped, by the exception itself or by flush_tlb_fix_spurious_fault(), or it
  // could refuse it for ever.
  tlb_invalidated({mm->ctx_id, va & PAGE_MASK, (va & PAGE_MASK) + PAGE_SIZE, 0xf}, s);
  return result;
}

result<void> Cpu::copy_in(void* to, vaddr_t from, std::size_t bytes) {
  auto* at = static_cast<std::byte*>(to);
  return for_each_span(from, bytes, [&](const std::byte* memory, std::size_t n) {
    std::memcpy(at, memory, n);
    at += n;
  });
}

result<void> Cpu::copy_out(vaddr_t to, const void* from, std::size_t bytes) {
  const auto* at = static_cast<const std::byte*>(from);
  return for_each_page(to, bytes, true, [&](std::byte* memory, std::size_t n) {
    std::memcpy(memory, at, n);
    at += n;
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
