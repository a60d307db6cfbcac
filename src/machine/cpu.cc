// Switching between address spaces, and ranges.
#include "machine/cpu.h"

#include <array>

#include "machine/hash_mmu.h"
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
  retire_translations(*mm, s);
  WRITE_ONCE(loaded_mm, nullptr, s);
  WRITE_ONCE(is_lazy, 0, s);
  if (arch().mm_cpumask != cpumask_rule_t::set_only && !machine_policy().mask_outlives_switch)
    clear_bit(id, mm->cpumask, s);
}

/// No access goes through what this CPU has of an mm that it leaves, until it comes back: then what was kept
/// must be as new as the mm.
void Cpu::retire_translations(const mm_context& mm, site s) {
  if (!machine_policy().asid_outlives_switch) return flush_local({mm.ctx_id, 0, TLB_FLUSH_ALL, 0xf}, s);
  WRITE_ONCE(kept_ctx, mm.ctx_id, s);
  WRITE_ONCE(kept_tlb_gen, READ_ONCE(loaded_tlb_gen, s), s);
}

/// Asks for the flushes of an mm. From here to the next read they come, or that read sees their generation.
void Cpu::enter_mask(mm_context& mm, site s) {
  const bool known = machine_policy().mask_outlives_switch && (READ_ONCE(mm.cpumask, s) & BIT(id)) != 0;
  if (!known) set_bit(id, mm.cpumask, s);
  if (!machine_policy().switch_mm_barrier) return;
  // both pair with inc_mm_tlb_gen()
  if (known)
    smp_mb(s); // no locked operation has ordered the store to loaded_mm before the read of the generation
  else
    smp_mb__after_atomic(s);
}

void Cpu::switch_mm(mm_context* next, site s) {
  if (!machine_policy().switch_mm_irqs_off) return switch_mm_irqs_off(next, s);
  irq_guard off(s); // no flush comes while two mms are half loaded, or lazy mode half left
  switch_mm_irqs_off(next, s);
}

// Whoever changes the page table raises tlb_gen, then reads the mask, loaded_mm and is_lazy; we announce
// ourselves there, then read tlb_gen and walk. With a full barrier on both sides one sees the other (M8).
// Where the mask does not tell who uses the mm, loaded_mm must, from before that read until after the switch:
// meanwhile the TLB may already fill from the new mm, and it is nobody's yet (H17b).
void Cpu::switch_mm_irqs_off(mm_context* next, site s) {
  mm_context* prev = READ_ONCE(loaded_mm, s);
  if (prev == next) {
    if (prev) resume(*prev, s);
    return;
  }
  const bool kept = next && machine_policy().asid_outlives_switch && READ_ONCE(kept_ctx, s) == next->ctx_id;
  const s64 kept_gen = kept ? READ_ONCE(kept_tlb_gen, s) : 0;
  if (prev && arch().mm_cpumask == cpumask_rule_t::clear_on_switch) {
    leave_mm(s);
  } else if (prev) {
    retire_translations(*prev, s);
    WRITE_ONCE(is_lazy, 0, s);
  }
  const bool watched = machine_policy().mask_outlives_switch; // flushers read loaded_mm
  WRITE_ONCE(loaded_mm, watched && next ? loaded_mm_switching() : next, s);
  if (!next) return;
  enter_mask(*next, s);
  // acquire: later walks see the changes that the generation counts; pairs with inc_mm_tlb_gen()
  const s64 gen = smp_load_acquire(next->tlb_gen, s);
  WRITE_ONCE(loaded_tlb_gen, gen, s);
  // From here on the TLB may hold translations of `next`: new ones, and those that were kept when it was
  // left.
  const tlb_range whole{next->ctx_id, 0, TLB_FLUSH_ALL, 0xf};
  if (!machine_policy().asid_outlives_switch)
    tlb_invalidated(whole, s); // none was kept
  else if (!kept || kept_gen != gen)
    flush_local(whole, s);
  if (watched) WRITE_ONCE(loaded_mm, next, s);
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
  const bool filled = arch().hash_mmu() && hash_page(*mm, va, write, s);
  const fault_result result =
      filled ? fault_result::handled : mm->fault(*mm, va, write ? FAULT_FLAG_WRITE : FAULT_FLAG_NONE);
  // What refused the access is dropped, by the exception itself or by flush_tlb_fix_spurious_fault(), or it
  // could refuse it for ever.
  tlb_invalidated({mm->ctx_id, va & PAGE_MASK, (va & PAGE_MASK) + PAGE_SIZE, 0xf}, s);
  return result;
}

void Cpu::ask_ahead(std::span<const vaddr_t> from, u64 missed, site s) {
  mm_context* mm = READ_ONCE(loaded_mm, s);
  if (mm == nullptr || mm->will_need == nullptr) return;
  std::array<vaddr_t, tlb_t::GATHER_MAX> unmapped;
  std::size_t nr = 0;
  for (; missed != 0; missed &= missed - 1) {
    const vaddr_t va = from[static_cast<unsigned>(std::countr_zero(missed))];
    local.tlb.walk_begin(s);
    if (!mmu_walk(*mm, va, false, s).found) unmapped[nr++] = va;
    local.tlb.walk_end(s);
  }
  if (nr > 1) mm->will_need(*mm, std::span(unmapped).first(nr));
}

result<void> Cpu::copy_in(void* to, vaddr_t from, std::size_t bytes) {
  auto* at = static_cast<std::byte*>(to);
  return for_each_span(from, bytes, [&](const std::byte* memory, std::size_t n) {
    copy_relaxed(at, memory, n);
    at += n;
  });
}

result<void> Cpu::copy_out(vaddr_t to, const void* from, std::size_t bytes) {
  const auto* at = static_cast<const std::byte*>(from);
  return for_each_page(to, bytes, true, [&](std::byte* memory, std::size_t n) {
    copy_relaxed(memory, at, n);
    at += n;
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
