// Every choice of the machine that a mail or a historical fix argues about, one name each; the manager's are
// in mm/policy.h. The default is what is right.
#pragma once

#include "sync/run.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Who takes a CPU that holds an mm lazily out of the mm's mask (S1.6).
enum class lazy_mask_clear_t : u8 {
  by_target,  ///< the CPU, in an IPI, after it has dropped the mm
  by_flusher, ///< whoever trims the mask, while the CPU may be about to use the mm again
};

struct machine_policy_t {
  /// Full barrier between setting the mask bit and the first use of the mm (M8, S1.5).
  bool switch_mm_barrier = true;
  /// Full barrier between the change of the page table and reading the mask (M8, S1.5).
  bool flush_mask_barrier = true;
  /// A CPU flushes a part only if nothing else is missing: one generation behind, and the newest (M8, H17d).
  bool flush_generations_exact = true;
  /// Interrupts are off while a CPU goes from one mm to another, or back from lazy mode (S1.6, 38cf307c1f20).
  bool switch_mm_irqs_off = true;
  /// A CPU that leaves an mm stays in its mask, and flushers look at what it has loaded (x86 since 6.14,
  /// H17b, c).
  bool mask_outlives_switch = false;
  /// A CPU keeps the translations of an mm that it leaves, and drops them on its return only if a flush was
  /// missed (x86's PCID, M8, H17c).
  bool asid_outlives_switch = false;
  /// Flushers take a CPU between two mms for one that uses theirs (H17b, fea4e317f9e7).
  bool switching_counts = true;
  lazy_mask_clear_t lazy_mask_clear = lazy_mask_clear_t::by_target; ///< S1.6, 38cf307c1f20
  /// A flush of the CPUs' TLBs also reaches devices that walk the same tables (M27, S3.5, 6bbd42e2df8f).
  bool flush_secondary_tlbs = true;
  /// A device that was told to forget a range has also ended the walks that were under way (M27, S3.5).
  bool device_drains_walks = true;
};

inline constexpr machine_policy_t default_machine_policy{};

/// The choices in force: constant natively, the current run's in the model.
inline const machine_policy_t& machine_policy() { return run_setting(default_machine_policy); }

} // namespace racewalk::inline RACEWALK_BACKEND
