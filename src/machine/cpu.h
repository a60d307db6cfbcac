// Cpu: executes a program's loads and stores at virtual addresses, and switches between address spaces.
//
// Accesses are made by the thread that is bound to the CPU (cpu_binding), with interrupts on. A hit in the
// TLB is a compare, an add and the access; otherwise the walker looks, and if the page table does not grant
// the access, the address space's fault handler is asked, until it does or says why not.
//
// Which mm is loaded, and how up to date its translations are (M8), is written by the CPU itself or by a
// flush that runs on its behalf; other CPUs read it.
#pragma once

#include <algorithm>
#include <bit>
#include <span>

#include "machine/host_memory.h"
#include "machine/machine.h"
#include "machine/mm_context.h"
#include "machine/result.h"
#include "machine/walker.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What a CPU that goes from one mm to another has loaded: it may use either.
inline mm_context* loaded_mm_switching() { return reinterpret_cast<mm_context*>(1); }

class Cpu {
 public:
  Cpu(unsigned id, std::byte* frames);
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  const unsigned id;

  // ---- a program's instructions ----
  // T: an integer or the like of 1, 2, 4 or 8 bytes. Aligned accesses are single-copy atomic and relaxed;
  // read-modify-writes are ordered as their `order` says and must be aligned.

  template <class T> [[gnu::always_inline]] result<T> load(vaddr_t va, site s = RW_HERE) {
    T value;
    if (local.tlb.load(va, value)) [[likely]]
      return value;
    return load_slow<T>(va, s);
  }
  template <class T> [[gnu::always_inline]] result<void> store(vaddr_t va, T value, site s = RW_HERE) {
    if (local.tlb.store(va, value)) [[likely]]
      return {};
    return store_slow<T>(va, value, s);
  }
  /// Loads from many addresses, one after the other: `from[n]` to `to[n]`, which is as long. What has to be
  /// read from a disk is read at the same time. On error what comes before the one that failed is in `to`.
  template <class T> result<void> gather(std::span<const vaddr_t> from, std::span<T> to, site s = RW_HERE);
  template <class T> result<T> exchange(vaddr_t va, T value, order o = order::full, site s = RW_HERE) {
    return update<T>(
        va, [&](ref<T> r) { return xchg(r, value, o, s); }, s);
  }
  template <class T> result<T> fetch_add(vaddr_t va, T n, order o = order::full, site s = RW_HERE) {
    return update<T>(
        va, [&](ref<T> r) { return atomic_fetch_add(r, n, o, s); }, s);
  }
  /// Returns the value found; the exchange took place if that is `expected`.
  template <class T>
  result<T> compare_exchange(vaddr_t va, T expected, T desired, order o = order::full, site s = RW_HERE) {
    return update<T>(
        va, [&](ref<T> r) { return cmpxchg(r, expected, desired, o, s); }, s);
  }

  // Ranges, page by page; each page is one access with respect to a flush. On error what precedes the page
  // that failed has been done. For programs that run natively.
  result<void> copy_in(void* to, vaddr_t from, std::size_t bytes);
  result<void> copy_out(vaddr_t to, const void* from, std::size_t bytes);
  /// Calls visit(const std::byte* at, std::size_t bytes) for the part of each page, to read. Short and
  /// without waiting: flushes wait for it.
  template <class F> result<void> for_each_span(vaddr_t from, std::size_t bytes, F&& visit) {
    return for_each_page(from, bytes, false, visit);
  }

  // ---- address spaces ----

  /// Loads `next` (null: none) in place of what is loaded, or resumes it.
  void switch_mm(mm_context* next, site s = RW_HERE);
  /// Keeps the mm loaded while a thread runs that has none: flushes that free no tables pass this CPU by, and
  /// it makes no user access until switch_mm().
  void enter_lazy_tlb(site s = RW_HERE);
  [[nodiscard]] mm_context* current_mm(site s = RW_HERE) const { return READ_ONCE(loaded_mm, s); }

  // ---- for shootdowns (tlbflush.cc): as this CPU, or on its behalf ----

  void flush_local(const tlb_range& range, site s = RW_HERE);
  /// Loads no mm, and takes this CPU out of the mask of the one that was.
  void leave_mm(site s = RW_HERE);

  shared<mm_context*> loaded_mm{nullptr}; ///< or loaded_mm_switching()
  shared<u32> is_lazy{0};
  /// The generation of loaded_mm up to which this CPU's TLB has been flushed.
  shared<s64> loaded_tlb_gen{0};
  /// The mm that was left last, and how new the translations are that were kept of it: with
  /// asid_outlives_switch, for this CPU alone.
  shared<u64> kept_ctx{0};
  shared<s64> kept_tlb_gen{0};

 private:
  host_memory tlb_tables_{tlb_t::TABLE_BYTES};

 public:
  cpu_local local;

 private:
  template <class T> [[gnu::noinline]] result<T> load_slow(vaddr_t va, site s);
  template <class T> [[gnu::noinline]] result<void> store_slow(vaddr_t va, T value, site s);
  template <class T, class F> result<T> update(vaddr_t va, F&& operation, site s);
  /// Makes an access that the TLB did not have: again() through the TLB, access(ref<T>) to the memory itself.
  template <class T, class Again, class Access>
  fault_result walk_and_access(vaddr_t va, bool write, Again&& again, Access&& access, site s);
  /// Before loads from those of `from` that have a bit in `missed`: the mm is told of what is not mapped.
  void ask_ahead(std::span<const vaddr_t> from, u64 missed, site s);
  template <class F> result<void> for_each_page(vaddr_t va, std::size_t bytes, bool write, F&& visit);
  template <class F> fault_result access_span(vaddr_t va, std::size_t bytes, bool write, F&& visit);
  void retire_translations(const mm_context& mm, site s);
  void enter_mask(mm_context& mm, site s);
  void switch_mm_irqs_off(mm_context* next, site s);
  void resume(mm_context& mm, site s);
  /// Asks the mm to grant the access.
  fault_result handle_fault(vaddr_t va, bool write, site s);
};

/// The calling thread's CPU.
inline Cpu& this_cpu() { return machine().cpu(smp_processor_id()); }

// ---- what a miss does ------------------------------------------------------------------------------------

template <class T, class Again, class Access>
fault_result Cpu::walk_and_access(vaddr_t va, bool write, Again&& again, Access&& access, site s) {
  for (;;) {
    const mm_context* mm = READ_ONCE(loaded_mm, s);
    const auto token = local.tlb.walk_begin(s);
    const walk_result walk = mm ? mmu_walk(*mm, va, write, s) : walk_result{};
    const bool done = walk.found && local.tlb.template complete<T>(token, va, walk.map, access);
    local.tlb.walk_end(s);
    if (done || (walk.found && again())) return fault_result::handled;
    if (walk.found) continue; // invalidated before it could be used
    if (fault_result r = handle_fault(va, write, s); r != fault_result::handled) return r;
  }
}

template <class T> result<T> Cpu::load_slow(vaddr_t va, site s) {
  T value{};
  if (va % sizeof(T)) {
    const result<void> r = copy_in(&value, va, sizeof value);
    return r ? result<T>(value) : r.error();
  }
  const fault_result r = walk_and_access<T>(
      va, false, [&] { return local.tlb.load(va, value); }, [&](ref<T> at) { value = READ_ONCE(at, s); }, s);
  return r == fault_result::handled ? result<T>(value) : r;
}

template <class T> result<void> Cpu::gather(std::span<const vaddr_t> from, std::span<T> to, site s) {
  while (!from.empty()) {
    const std::size_t nr = std::min(from.size(), tlb_t::GATHER_MAX);
    const u64 missed = local.tlb.gather(from.first(nr), to.data());
    if (std::popcount(missed) > 1) ask_ahead(from, missed, s); // one alone is read by its fault
    // from the first one on, so that all are in order
    for (auto n = static_cast<std::size_t>(std::countr_zero(missed)); n < nr; ++n) {
      const result<T> r = load<T>(from[n], s);
      if (!r) return r.error();
      to[n] = *r;
    }
    from = from.subspan(nr);
    to = to.subspan(nr);
  }
  return {};
}

template <class T> result<void> Cpu::store_slow(vaddr_t va, T value, site s) {
  if (va % sizeof(T)) return copy_out(va, &value, sizeof value);
  return walk_and_access<T>(
      va, true, [&] { return local.tlb.store(va, value); }, [&](ref<T> at) { WRITE_ONCE(at, value, s); }, s);
}

template <class T, class F> result<T> Cpu::update(vaddr_t va, F&& operation, site s) {
  if (va % sizeof(T)) return fault_result::sigbus;
  T found{};
  auto access = [&](ref<T> at) { found = operation(at); };
  auto through_tlb = [&] { return local.tlb.template update<T>(va, access); };
  if (through_tlb()) [[likely]]
    return found;
  const fault_result r = walk_and_access<T>(va, true, through_tlb, access, s);
  return r == fault_result::handled ? result<T>(found) : r;
}

template <class F> fault_result Cpu::access_span(vaddr_t va, std::size_t bytes, bool write, F&& visit) {
  auto through_tlb = [&] { return local.tlb.span(va, write, [&](std::byte* at) { visit(at, bytes); }); };
  if (through_tlb()) [[likely]]
    return fault_result::handled;
  return walk_and_access<std::byte>(
      va, write, through_tlb,
      [&](ref<std::byte> at) { visit(reinterpret_cast<std::byte*>(at.get()), bytes); }, {});
}

template <class F> result<void> Cpu::for_each_page(vaddr_t va, std::size_t bytes, bool write, F&& visit) {
  while (bytes != 0) {
    const std::size_t n = std::min<std::size_t>(bytes, PAGE_SIZE - va % PAGE_SIZE);
    if (fault_result r = access_span(va, n, write, visit); r != fault_result::handled) return r;
    va += n;
    bytes -= n;
  }
  return {};
}

} // namespace racewalk::inline RACEWALK_BACKEND
