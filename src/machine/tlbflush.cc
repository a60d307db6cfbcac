// TLB shootdown: by IPI with Linux's generations, or by broadcast.
#include "machine/tlbflush.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "machine/cpu.h"
#include "machine/hash_mmu.h"
#include "machine/policy.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

constexpr u8 ALL_LEVELS = 0xf;

/// What one shootdown tells each CPU.
struct flush_tlb_info {
  mm_context* mm;
  vaddr_t start;
  vaddr_t end;
  s64 new_tlb_gen;
  u64 levels; ///< as tlb_range
  tlb_range range() const { return {mm->ctx_id, start, end, static_cast<u8>(levels)}; }
  bool whole() const { return end == TLB_FLUSH_ALL; }
};
// it travels as bytes, and the same request must be the same bytes
static_assert(std::has_unique_object_representations_v<flush_tlb_info>);
static_assert(sizeof(flush_tlb_info) <= MAX_IPI_ARG);

/// Cached entries of which levels go: leaves of the stride, and tables where the architecture drops them too.
u8 flushed_levels(unsigned stride_shift, bool freed_tables) {
  if (arch().hash_mmu()) return ALL_LEVELS; // whose translations are all of small pages
  u8 levels = stride_shift >= geometry().shift(PMD_LEVEL) ? ALL_LEVELS & ~1 : ALL_LEVELS;
  if (freed_tables || arch().walk_cache == walk_cache_rule_t::any_flush) return levels;
  return levels & (stride_shift >= geometry().shift(PMD_LEVEL) ? 2 : 1);
}

tlb_range range_of(const mm_context& mm, vaddr_t start, vaddr_t end, unsigned stride_shift,
                   bool freed_tables) {
  // where only a flush of the whole address space reaches paging-structure caches, freed tables take one
  const bool widen = freed_tables && arch().walk_cache == walk_cache_rule_t::mm_flush;
  if (widen || end == TLB_FLUSH_ALL) return {mm.ctx_id, 0, TLB_FLUSH_ALL, ALL_LEVELS};
  return {mm.ctx_id, start, end, flushed_levels(stride_shift, freed_tables)};
}

template <class F> void for_each_cpu(cpumask_bits mask, F&& visit) {
  for (; mask; mask &= mask - 1)
    visit(machine().cpu(static_cast<unsigned>(std::countr_zero(mask))));
}

/// Is a CPU of the mask one that uses the mm, or is about to? One that holds it lazily looks at tlb_gen
/// before it uses it again.
bool should_flush_tlb(Cpu& cpu, const mm_context& mm) {
  if (machine_policy().mask_outlives_switch) {
    const mm_context* loaded = READ_ONCE(cpu.loaded_mm);
    smp_rmb(); // is_lazy is as new as loaded_mm; pairs with the order of the stores in switch_mm_irqs_off()
    const bool switching = loaded == loaded_mm_switching() && machine_policy().switching_counts;
    if (loaded != &mm && !switching) return false;
  }
  return READ_ONCE(cpu.is_lazy) == 0;
}

/// The CPUs to reach: those that use the mm, and if tables are freed those too whose walker alone might be in
/// one.
cpumask_bits flush_targets(const mm_context& mm, bool freed_tables) {
  if (arch().flush_targets == flush_targets_t::all) return machine().cpu_mask();
  cpumask_bits mask = READ_ONCE(mm.cpumask);
  if (freed_tables) return mask;
  cpumask_bits spared = 0;
  for_each_cpu(mask, [&](Cpu& cpu) {
    if (!should_flush_tlb(cpu, mm)) spared |= BIT(cpu.id);
  });
  return mask & ~spared;
}

/// One CPU's part of a shootdown, as that CPU or on its behalf.
void flush_tlb_func(unsigned id, const void* arg) {
  const auto& info = *static_cast<const flush_tlb_info*>(arg);
  Cpu& cpu = machine().cpu(id);
  if (READ_ONCE(cpu.loaded_mm) != info.mm) return;
  if (READ_ONCE(cpu.is_lazy)) {
    cpu.leave_mm();
    return;
  }
  // read before the flush: a later change is flushed by a later generation. Acquire: what it counts already,
  // this flush covers; pairs with inc_mm_tlb_gen().
  const s64 mm_gen = smp_load_acquire(info.mm->tlb_gen);
  const s64 local_gen = READ_ONCE(cpu.loaded_tlb_gen);
  if (local_gen == mm_gen) return; // an earlier request has done this one's work
  // A part is enough only if nothing else is missing: exactly one generation behind, and this one the newest.
  const bool nothing_else = info.new_tlb_gen == local_gen + 1 && info.new_tlb_gen == mm_gen;
  const bool partial = !info.whole() && (nothing_else || !machine_policy().flush_generations_exact);
  cpu.flush_local(partial ? info.range() : range_of(*info.mm, 0, TLB_FLUSH_ALL, PAGE_SHIFT, true));
  WRITE_ONCE(cpu.loaded_tlb_gen, mm_gen);
}

void flush_by_ipi(cpumask_bits mask, const flush_tlb_info& info) {
  const unsigned self = raw_smp_processor_id();
  if (self != NO_CPU && (mask & BIT(self))) {
    irq_guard off;
    flush_tlb_func(self, &info);
  }
  smp_call_function_many(mask, flush_tlb_func, &info, sizeof info);
}

/// The next generation of the mm; a full barrier between the caller's change of the page table and the read
/// of the mask. Pairs with the barrier in Cpu::switch_mm() between setting the bit and reading the
/// generation, and with the one between leaving lazy mode and reading it.
s64 inc_mm_tlb_gen(mm_context& mm) {
  return atomic_inc_return(mm.tlb_gen, machine_policy().flush_mask_barrier ? order::full : order::relaxed);
}

} // namespace

void flush_tlb_mm_range(mm_context& mm, vaddr_t start, vaddr_t end, unsigned stride_shift,
                        bool freed_tables) {
  const tlb_range range = range_of(mm, start, end, stride_shift, freed_tables);
  const s64 gen = inc_mm_tlb_gen(mm);
  const cpumask_bits mask = flush_targets(mm, freed_tables);
  if (arch().flush_kind == flush_kind_t::ipi) {
    flush_by_ipi(mask, {&mm, range.start, range.end, gen, range.levels});
  } else {
    // DSB: the changed entries before the invalidation; pairs with the targets' walks. The new generation was
    // one, unless that is what is being argued about
    if (!machine_policy().flush_mask_barrier) smp_mb();
    if (arch().hash_mmu()) {
      // after the changed entries, by the same barrier: pairs with hash_page()
      flush_hash_range(mm, start, end);
      smp_mb(); // ptesync: what is filled after the invalidation is filled from the hash table as it is now
    }
    tlb_broadcast(mask, range);
    smp_mb(); // DSB: the targets' last accesses before what the caller does next
  }
  if (machine_policy().flush_secondary_tlbs && mm.flush_secondary_tlbs != nullptr)
    mm.flush_secondary_tlbs(mm, start, end);
}

void flush_tlb_mm(mm_context& mm) { flush_tlb_mm_range(mm, 0, TLB_FLUSH_ALL, PAGE_SHIFT, true); }

void flush_tlb_page(mm_context& mm, vaddr_t addr) {
  const vaddr_t start = addr & PAGE_MASK;
  flush_tlb_mm_range(mm, start, start + PAGE_SIZE, PAGE_SHIFT, false);
}

void flush_tlb_range(mm_context& mm, vaddr_t start, vaddr_t end) {
  flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, true);
}

// ---- flushes that are put off ----------------------------------------------------------------------------

namespace {

/// As flush_tlb_func(), for whatever mm the CPU has loaded.
void flush_tlb_batch_func(unsigned id, const void*) {
  mm_context* mm = READ_ONCE(machine().cpu(id).loaded_mm);
  if (mm == nullptr) return; // its translations went with the mm
  const flush_tlb_info whole{mm, 0, TLB_FLUSH_ALL, READ_ONCE(mm->tlb_gen), ALL_LEVELS};
  flush_tlb_func(id, &whole);
}

} // namespace

bool arch_tlbbatch_should_defer(const mm_context& mm) {
  if (arch().hash_mmu()) return false; // the hash table is not to be flushed later
  const unsigned self = raw_smp_processor_id();
  return (READ_ONCE(mm.cpumask) & ~(self == NO_CPU ? 0 : BIT(self))) != 0;
}

void arch_tlbbatch_add_pending(arch_tlbflush_unmap_batch& batch, mm_context& mm) {
  const u64* known = std::find(batch.ctx_ids, batch.ctx_ids + batch.nr_mms, mm.ctx_id);
  if (known == batch.ctx_ids + batch.MAX_MMS) {
    arch_tlbbatch_flush(batch);
    known = batch.ctx_ids;
  }
  // The generation is that of the changed entry, whoever flushes for it: a CPU that loads the mm after the
  // mask was read, or comes back from lazy mode, sees the new generation and entry. Pairs as
  // inc_mm_tlb_gen() says.
  inc_mm_tlb_gen(mm);
  batch.mask |= flush_targets(mm, false);
  if (known == batch.ctx_ids + batch.nr_mms) batch.ctx_ids[batch.nr_mms++] = mm.ctx_id;
  if (mm.flush_secondary_tlbs != nullptr) mm.flush_secondary_tlbs(mm, 0, TLB_FLUSH_ALL);
}

void arch_tlbbatch_flush(arch_tlbflush_unmap_batch& batch) {
  if (arch().flush_kind == flush_kind_t::ipi) {
    const unsigned self = raw_smp_processor_id();
    if (self != NO_CPU && (batch.mask & BIT(self))) {
      irq_guard off;
      flush_tlb_batch_func(self, nullptr);
    }
    smp_call_function_many(batch.mask, flush_tlb_batch_func, nullptr, 0);
  } else {
    smp_mb(); // DSB: the changed entries before the invalidation; pairs with the targets' walks
    for (unsigned i = 0; i < batch.nr_mms; ++i)
      tlb_broadcast(batch.mask, {batch.ctx_ids[i], 0, TLB_FLUSH_ALL, ALL_LEVELS});
    smp_mb(); // DSB: the targets' last accesses before what the caller does next
  }
  batch = {};
}

void tlb_remove_table_sync_one() { smp_call_function_many(machine().cpu_mask(), nullptr, nullptr, 0); }

namespace {

struct lazy_exit {
  mm_context* mm;
};

void do_exit_flush_lazy_tlb(unsigned id, const void* arg) {
  Cpu& cpu = machine().cpu(id);
  if (READ_ONCE(cpu.loaded_mm) == static_cast<const lazy_exit*>(arg)->mm && READ_ONCE(cpu.is_lazy))
    cpu.leave_mm();
}

} // namespace

void exit_flush_lazy_tlbs(mm_context& mm) {
  const cpumask_bits mask = READ_ONCE(mm.cpumask);
  if (machine_policy().lazy_mask_clear == lazy_mask_clear_t::by_target) {
    const lazy_exit request{&mm};
    smp_call_function_many(mask, do_exit_flush_lazy_tlb, &request, sizeof request);
    return;
  }
  for_each_cpu(mask, [&](Cpu& cpu) {
    if (READ_ONCE(cpu.is_lazy)) clear_bit(cpu.id, mm.cpumask);
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
