// Cpu: executes a program's loads and stores at virtual addresses, and switches between address spaces.
//
// Accesses are made by the thread that is bound to the CPU (cpu_binding), with interrupts on. A hit in the TLB is a
// compare, an add and the access; otherwise the walker looks, and if the page table does not grant the access, the
// address space's fault handler is asked, until it does or says why not.
//
// Which mm is loaded, and how up to date its translations are (M8), is written by the CPU itself or by a flush that
// runs on its behalf; other CPUs read it.
#pragma once

#include <cstring>
#include <optional>

#include "machine/machine.h"
#include "machine/mm_context.h"
#include "machine/result.h"

namespace racewalk::inline RACEWALK_BACKEND {

class Cpu {
public:
  Cpu(unsigned id, std::byte* frames);
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  const unsigned id;

  // ---- a program's instructions ----
  // T: 1, 2, 4 or 8 bytes. Aligned accesses are single-copy atomic and relaxed; read-modify-writes are ordered as
  // their `order` says.

  template <class T> result<T> load(vaddr_t va, site s = RW_HERE);
  template <class T> result<void> store(vaddr_t va, T value, site s = RW_HERE);
  template <class T> result<T> exchange(vaddr_t va, T value, order o = order::full, site s = RW_HERE);
  template <class T> result<T> fetch_add(vaddr_t va, T n, order o = order::full, site s = RW_HERE);
  /// Returns the value found; the exchange took place if that is `expected`.
  template <class T>
  result<T> compare_exchange(vaddr_t va, T expected, T desired, order o = order::full, site s = RW_HERE);

  // Ranges, page by page; each page is one access with respect to a flush. On error what precedes the page that
  // failed has been done.
  result<void> copy_in(void* to, vaddr_t from, std::size_t bytes);
  result<void> copy_out(vaddr_t to, const void* from, std::size_t bytes);
  /// Calls visit(const std::byte* at, std::size_t bytes) for the part of each page. Short and without waiting: flushes
  /// wait for it.
  template <class F> result<void> for_each_span(vaddr_t from, std::size_t bytes, F&& visit);

  // ---- address spaces ----

  /// Loads `next` (null: none); `prev` is what is loaded. Interrupts may be on or off.
  void switch_mm(mm_context* prev, mm_context* next, site s = RW_HERE);
  /// Keeps the mm loaded while a thread runs that has none: its flushes may pass this CPU by.
  void enter_lazy_tlb(site s = RW_HERE);
  [[nodiscard]] mm_context* current_mm(site s = RW_HERE) const { return READ_ONCE(loaded_mm, s); }

  // ---- what shootdowns look at (tlbflush.cc) ----

  shared<mm_context*> loaded_mm{nullptr};
  shared<u32> is_lazy{0};
  /// The generation of loaded_mm up to which this CPU's TLB has been flushed.
  shared<s64> loaded_tlb_gen{0};
  cpu_local local;

private:
  /// Makes an access that the TLB did not have: fast() goes through the TLB, slow(ref<T>) to the memory itself.
  template <class T, class Fast, class Slow>
  fault_result access_slow(vaddr_t va, bool write, Fast&& fast, Slow&& slow, site s);
  /// Asks the mm to grant the access.
  fault_result handle_fault(vaddr_t va, bool write, site s);
  template <class F> fault_result access_span(vaddr_t va, std::size_t bytes, bool write, F&& access);
};

/// The calling thread's CPU.
inline Cpu& this_cpu() { return machine().cpu(smp_processor_id()); }

/// Makes the calling thread a CPU of a machine while it lives.
class cpu_scope {
public:
  cpu_scope(Machine& m, unsigned id) : machine_(m), binding_(m.domain(), id) {}

private:
  machine_scope machine_;
  cpu_binding binding_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
