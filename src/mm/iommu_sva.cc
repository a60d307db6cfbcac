#include "mm/iommu_sva.h"

#include <cerrno>

#include "mm/memory.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

void flush_device(mmu_notifier& notifier, vaddr_t start, vaddr_t end) {
  static_cast<iommu_sva&>(notifier).device.flush(notifier.mm->context, start, end);
}

void flush_device_for_range(mmu_notifier& notifier, const mmu_notifier_range& range) {
  flush_device(notifier, range.start, range.end);
}

void detach_device(mmu_notifier& notifier) { static_cast<iommu_sva&>(notifier).device.detach(); }

constexpr mmu_notifier_ops secondary_tlb_ops{
    .invalidate_range_start = nullptr,
    .invalidate_range_end = nullptr,
    .arch_invalidate_secondary_tlbs = flush_device,
    .release = detach_device,
    .free_notifier = nullptr,
};

// At the end only: the device reads the tables themselves, so what it would drop at the start it may cache
// again until the entries have changed.
constexpr mmu_notifier_ops range_ops{
    .invalidate_range_start = nullptr,
    .invalidate_range_end = flush_device_for_range,
    .arch_invalidate_secondary_tlbs = nullptr,
    .release = detach_device,
    .free_notifier = nullptr,
};

} // namespace

int iommu_sva_bind_device(iommu_sva& sva, mm_struct& mm, sva_notifier listens) {
  if (sva.device.attached()) return -EBUSY;
  sva.ops = listens == sva_notifier::ranges ? &range_ops : &secondary_tlb_ops;
  const int error = mmu_notifier_register(sva, mm);
  if (error == 0) sva.device.attach(mm.context); // after it has begun to listen
  return error;
}

int iommu_sva_unbind_device(iommu_sva& sva) {
  if (sva.mm == nullptr) return -EINVAL;
  const mm_context& context = sva.mm->context;
  sva.device.detach(); // before it stops listening
  const int error = mmu_notifier_unregister(sva);
  if (error != 0) sva.device.attach(context);
  return error;
}

fault_result iommu_sva_handle_iopf(iommu_sva& sva, vaddr_t va, bool write) {
  if (sva.mm == nullptr) return fault_result::sigsegv;
  return do_user_addr_fault(sva.mm->context, va, write ? FAULT_FLAG_WRITE : FAULT_FLAG_NONE);
}

} // namespace racewalk::inline RACEWALK_BACKEND
