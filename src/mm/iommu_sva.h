// Shared virtual addressing: a device works in an mm, by the mm's own page tables (Linux's iommu-sva.c).
//
// Invariant: a page or a table that has left the mm is not used again before the device has forgotten it. The
// device hears each flush of the CPUs' TLBs (arch_invalidate_secondary_tlbs), which come after entries have
// changed and before what they led to is free (M27).
#pragma once

#include "machine/device.h"
#include "mm/mmu_notifier.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A device's bond to an mm: one at a time. Unbound, or the mm gone, before it goes away.
struct iommu_sva : mmu_notifier {
  explicit iommu_sva(Device& d) : device(d) {}
  Device& device;
};

/// What the device's driver listens to.
enum class sva_notifier : u8 {
  secondary_tlbs, ///< the flushes of the CPUs' TLBs
  ranges,         ///< the ends of ranges that are invalidated, as drivers did before 6.6 (S3.5)
};

// By one thread at a time for each device. Caller is a CPU, holds no lock of the mm, and is in no callback.

/// The device may use the mm from now on. 0, -EBUSY if it uses one, or as mmu_notifier_register().
[[nodiscard]] int iommu_sva_bind_device(iommu_sva& sva, mm_struct& mm,
                                        sva_notifier listens = sva_notifier::secondary_tlbs);
/// It does not use it any more, and no access of it is under way. Errors as mmu_notifier_unregister(); then
/// it is bound as before.
int iommu_sva_unbind_device(iommu_sva& sva);

/// The device was refused an access to `va`: grants it as a fault of a CPU would be granted, or says why not.
fault_result iommu_sva_handle_iopf(iommu_sva& sva, vaddr_t va, bool write);

} // namespace racewalk::inline RACEWALK_BACKEND
