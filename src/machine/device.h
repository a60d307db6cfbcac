// A device that walks the CPUs' page tables itself, as an IOMMU does for shared virtual addressing.
//
// It has a TLB and a walk cache of its own. No flush of the CPUs reaches them, no interrupt and no grace
// period waits for its walks: all that it hears is flush(). Whoever attaches it to an mm sees to it that it
// is flushed when the mm's entries change (mm/iommu_sva.h).
//
// Invariant: when flush() has returned, the device is in no walk and no access that began before and that the
// range covers, and does not use what it had cached of it; if it drains its walks, as it must
// (machine_policy().device_drains_walks).
#pragma once

#include "machine/host_memory.h"
#include "machine/machine.h"
#include "machine/policy.h"
#include "machine/result.h"
#include "machine/tlbflush.h"
#include "machine/walker.h"

namespace racewalk::inline RACEWALK_BACKEND {

class Device {
 public:
  /// `id`: the number of the thread that works as the device. It is none of the machine's CPUs, which have
  /// the numbers below.
  Device(Machine& machine, unsigned id);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  /// Walks this mm's tables from now on. It is attached to none.
  void attach(const mm_context& mm, site s = RW_HERE);
  /// Walks none. On return no walk and no access is under way.
  void detach(site s = RW_HERE);
  [[nodiscard]] bool attached(site s = RW_HERE) const { return READ_ONCE(mm_, s) != nullptr; }

  // By the device's thread, in a machine_scope: accesses to memory by virtual address. T: an integer of 1, 2,
  // 4 or 8 bytes, aligned (else sigbus). What the page table does not grant is refused (sigsegv): whoever
  // drives the device makes the page present (iommu_sva_handle_iopf()), and lets it try again.

  template <class T> result<T> load(vaddr_t va, site s = RW_HERE);
  template <class T> result<void> store(vaddr_t va, T value, site s = RW_HERE);

  /// Drops what the device has cached of [start, end), tables included, and waits as said above. By any other
  /// thread; spinlocks may be held, interrupts must be on.
  void flush(const mm_context& mm, vaddr_t start, vaddr_t end, site s = RW_HERE);

 private:
  /// Makes an access: again() through the TLB, use(ref<T>) of the memory itself.
  template <class T, class Again, class Use>
  fault_result access(vaddr_t va, bool write, Again&& again, Use&& use, site s);

  const unsigned id_;
  shared<const mm_context*> mm_{nullptr};
  host_memory tlb_tables_{tlb_t::TABLE_BYTES};
  tlb_t tlb_;
};

template <class T, class Again, class Use>
fault_result Device::access(vaddr_t va, bool write, Again&& again, Use&& use, site s) {
  if (va % sizeof(T)) return fault_result::sigbus;
  tlb_t* stepwise = machine_policy().device_drains_walks ? nullptr : &tlb_;
  while (!again()) {
    const auto token = tlb_.walk_begin(s);
    // inside the walk: who detaches the device and then flushes it has waited for us, or we see it
    const mm_context* mm = READ_ONCE(mm_, s);
    const walk_result walk = mm ? walk_page_table(*mm, va, write, s, stepwise) : walk_result{};
    const bool done = walk.found && tlb_.template complete<T>(token, va, walk.map, use);
    tlb_.walk_end(s);
    if (done) break;
    if (!walk.found) return fault_result::sigsegv;
  }
  return fault_result::handled;
}

template <class T> result<T> Device::load(vaddr_t va, site s) {
  T value{};
  const fault_result r = access<T>(
      va, false, [&] { return tlb_.load(va, value); }, [&](ref<T> at) { value = READ_ONCE(at, s); }, s);
  return r == fault_result::handled ? result<T>(value) : r;
}

template <class T> result<void> Device::store(vaddr_t va, T value, site s) {
  const fault_result r = access<T>(
      va, true, [&] { return tlb_.store(va, value); }, [&](ref<T> at) { WRITE_ONCE(at, value, s); }, s);
  return r == fault_result::handled ? result<void>() : r;
}

} // namespace racewalk::inline RACEWALK_BACKEND
