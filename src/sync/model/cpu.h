// What the machine keeps per CPU, in the model: almost nothing. A TLB is not a state to be enumerated: every
// access walks, and its translation reads may return whatever a cached entry could hold.
#pragma once

#include <span>

#include "sync/model/sync.h"

namespace racewalk::inline model {

inline constexpr unsigned NO_CPU = ~0U;

/// What a page-table walk found: where a virtual page lies, and what may be done without another walk.
struct mapping {
  pfn_t pfn;     ///< of the 4 KiB page that holds the address
  bool huge;     ///< part of a 2 MiB page
  bool writable; ///< stores are permitted and have been recorded
};

class tlb_t {
 public:
  static constexpr pfn_t MAX_PFN = (pfn_t{1} << 26) - 1;
  static constexpr std::size_t TABLE_BYTES = 0;
  static constexpr std::size_t GATHER_MAX = 64;

  tlb_t(std::byte* frames, std::byte*) : frames_(frames) {}

  template <class T> bool load(vaddr_t, T&) { return false; }
  template <class T> bool store(vaddr_t, T) { return false; }
  template <class T, class F> bool update(vaddr_t, F&&) { return false; }
  template <class F> bool span(vaddr_t, bool, F&&) { return false; }
  template <class T> u64 gather(std::span<const vaddr_t> addresses, T*) {
    return ~u64{0} >> (GATHER_MAX - addresses.size()); // none is cached
  }

  struct walk_token {};
  walk_token walk_begin(site = RW_HERE) { return {}; }
  /// The walk led to an access, or to a fault.
  void walk_end(site s = RW_HERE) { user_access_end(s); }
  /// Makes the access with what the walk found.
  template <class T, class F> bool complete(walk_token, vaddr_t va, const mapping& m, F&& access) {
    auto* at = reinterpret_cast<shared<T>*>(frames_ + (m.pfn << 12) + (va & 0xfff));
    access(ref<T>(at, current_engine ? current_engine->last_read() : dep_t{}));
    return true;
  }

  void invalidate(const tlb_range&) {} // Cpu::flush_local() tells the engine
  /// Of a device, which takes no interrupts; it also waits for what the device has under way. `id`: its
  /// thread's number.
  void invalidate_device(unsigned id, const tlb_range& range, site s = RW_HERE) {
    tlb_broadcast(cpumask_bits{1} << id, range, s);
  }

 private:
  std::byte* frames_;
};

class cpu_local {
 public:
  cpu_local(std::byte* frames, std::byte* tables) : tlb(frames, tables) {}
  tlb_t tlb;
};

/// The CPUs of one machine.
class smp_domain {
 public:
  smp_domain() = default;
  smp_domain(const smp_domain&) = delete;
  smp_domain& operator=(const smp_domain&) = delete;
  void add(unsigned, cpu_local&) {}
};

/// The machine that set-up and fibres of this OS thread work on.
inline constinit thread_local smp_domain* run_context = nullptr;

/// The engine's threads are the CPUs.
class cpu_binding {
 public:
  cpu_binding(smp_domain&, unsigned) {}
};
inline unsigned raw_smp_processor_id() { return smp_processor_id(); }
inline void poll_interrupts() {}

} // namespace racewalk::inline model
