// Life of regions and areas, and the counters.
#include "mm/mm_types.h"

#include <functional>
#include <new>

#include "mm/anon_vma.h"
#include "mm/slab.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct mmap_region::slab {
  static constexpr unsigned AREAS = 64;
  vm_area_struct areas[AREAS];
  slab* next = nullptr;
};

mmap_region::~mmap_region() {
  unlink_anon_vmas(*this);
  while (slabs_ != nullptr) {
    slab* next = slabs_->next;
    delete slabs_;
    slabs_ = next;
  }
}

bool mmap_region::vm_area_reserve(mm_struct& mm) {
  if (should_failslab()) return false;
  if (free_.get() != nullptr) return true;
  slab* s = explored() ? nullptr : new (std::nothrow) slab;
  if (s == nullptr) return false;
  s->next = slabs_;
  slabs_ = s;
  for (vm_area_struct& vma : s->areas) {
    vma.vm_mm = &mm;
    vm_area_free(vma);
  }
  return true;
}

vm_area_struct& mmap_region::vm_area_take() {
  vm_area_struct& vma = *free_.get();
  free_.set(vma.next_free.get());
  return vma;
}

void mmap_region::vm_area_free(vm_area_struct& vma) {
  vma.next_free.set(free_.get());
  free_.set(&vma);
}

const vm_area_struct* mmap_region::vm_area_at(const void* addr) const {
  const std::less_equal<const void*> not_after;
  for (const slab* s = slabs_; s != nullptr; s = s->next)
    for (const vm_area_struct& vma : s->areas)
      if (not_after(&vma, addr) && !not_after(&vma + 1, addr)) return &vma;
  return nullptr;
}

mm_struct::mm_struct() : context(*this), regions_(new std::atomic<mmap_region*>[geometry().entries()]) {
  context.flush_secondary_tlbs = [](mm_context& mm, vaddr_t start, vaddr_t end) {
    mmu_notifier_arch_invalidate_secondary_tlbs(mm_of(mm), start, end);
  };
  for (unsigned i = 0; i < geometry().entries(); ++i)
    regions_[i].store(nullptr, std::memory_order_relaxed);
}

mm_struct::~mm_struct() {
  for (unsigned i = 0; i < geometry().entries(); ++i)
    delete regions_[i].load(std::memory_order_relaxed);
}

mmap_region* mm_struct::existing_region(vaddr_t addr) const {
  // pairs with the release store in region()
  return regions_[geometry().index(addr, geometry().root_level())].load(std::memory_order_acquire);
}

mmap_region* mm_struct::region(vaddr_t addr) {
  if (mmap_region* r = existing_region(addr)) return r;
  mutex_lock(creation_lock_);
  mmap_region* r = existing_region(addr);
  if (r == nullptr) r = create_region(addr);
  mutex_unlock(creation_lock_);
  return r;
}

mmap_region* mm_struct::create_region(vaddr_t addr) {
  const u64 size = geometry().size(geometry().root_level());
  const vaddr_t start = addr & ~(size - 1);
  auto* r = kmalloc_obj<mmap_region>(start, start + size);
  if (r != nullptr && !anon_vma_prepare(*r)) {
    delete r;
    r = nullptr;
  }
  regions_[geometry().index(addr, geometry().root_level())].store(r, std::memory_order_release);
  return r;
}

void mm_struct::mmap_write_lock_all() NO_THREAD_SAFETY_ANALYSIS {
  mutex_lock(creation_lock_);
  for_each_region([](mmap_region& r) NO_THREAD_SAFETY_ANALYSIS { down_write(r.mmap_lock); });
}

void mm_struct::mmap_write_unlock_all() NO_THREAD_SAFETY_ANALYSIS {
  for_each_region([](mmap_region& r) NO_THREAD_SAFETY_ANALYSIS { up_write(r.mmap_lock); });
  mutex_unlock(creation_lock_);
}

void mm_struct::take_all_locks() NO_THREAD_SAFETY_ANALYSIS {
  mmap_write_lock_all();
  for_each_region([](mmap_region& r) NO_THREAD_SAFETY_ANALYSIS { down_write(r.anon_vma_lock); });
}

void mm_struct::drop_all_locks() NO_THREAD_SAFETY_ANALYSIS {
  for_each_region([](mmap_region& r) NO_THREAD_SAFETY_ANALYSIS { up_write(r.anon_vma_lock); });
  mmap_write_unlock_all();
}

void add_mm_counter(mm_struct& mm, mm_counter which, s64 n, site s) {
  atomic_add(mm.rss_stat[smp_processor_id()].count[which], n, s);
}

s64 get_mm_counter(const mm_struct& mm, mm_counter which) {
  s64 sum = 0;
  for (const mm_rss_stat& stat : mm.rss_stat)
    sum += atomic_read(stat.count[which]);
  return sum;
}

} // namespace racewalk::inline RACEWALK_BACKEND
