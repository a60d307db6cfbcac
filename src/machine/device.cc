#include "machine/device.h"

namespace racewalk::inline RACEWALK_BACKEND {

Device::Device(Machine& machine, unsigned id) : id_(id), tlb_(machine.frames(), tlb_tables_.data()) {}

void Device::attach(const mm_context& mm, site s) { WRITE_ONCE(mm_, &mm, s); }

void Device::detach(site s) {
  const mm_context* mm = READ_ONCE(mm_, s);
  WRITE_ONCE(mm_, nullptr, s);
  if (mm != nullptr) flush(*mm, 0, TLB_FLUSH_ALL, s);
}

void Device::flush(const mm_context& mm, vaddr_t start, vaddr_t end, site s) {
  smp_mb(s); // the changed entries before the command; pairs with the device's walks
  tlb_.invalidate_device(id_, {mm.ctx_id, start, end, 0xf}, s);
  smp_mb(s); // its completion, and the device's last accesses, before what the caller does next
}

} // namespace racewalk::inline RACEWALK_BACKEND
