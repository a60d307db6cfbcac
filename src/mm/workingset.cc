#include "mm/workingset.h"

#include "mm/mmzone.h"
#include "mm/vmscan.h"

namespace racewalk::inline RACEWALK_BACKEND {

nonresident_pages::place nonresident_pages::find(const void* owner, u64 n) const {
  constexpr u64 in_line = std::size(line{}.shadows);
  u64 h = (reinterpret_cast<uintptr_t>(owner) >> 4) + n / in_line * 0x9e3779b97f4a7c15;
  h = (h ^ h >> 31) * 0xbf58476d1ce4e5b9;
  h ^= h >> 29;
  return {lines_[h % nr_lines()].shadows[n % in_line], h >> 32 | 1};
}

void nonresident_pages::evict(const void* owner, u64 n) {
  const place at = find(owner, n);
  const u32 before = evictions_.fetch_add(1, std::memory_order_relaxed);
  at.shadow.store(at.tag << 32 | before, std::memory_order_relaxed);
}

bool nonresident_pages::refault(const void* owner, u64 n) {
  const place at = find(owner, n);
  const u64 found = at.shadow.load(std::memory_order_relaxed);
  if (found >> 32 != at.tag) return false;
  at.shadow.store(0, std::memory_order_relaxed);
  return evictions_.load(std::memory_order_relaxed) - static_cast<u32>(found) <= frames_;
}

void workingset_eviction(const void* owner, u64 n) {
  if (pglist_data* pgdat = machine().pgdat) pgdat->evictions.evict(owner, n);
}

void workingset_refault(folio* folio, const void* owner, u64 n) {
  pglist_data* pgdat = machine().pgdat;
  if (pgdat == nullptr) return;
  const bool soon = pgdat->evictions.refault(owner, n);
  if (soon) {
    count_vm_events(WORKINGSET_REFAULT);
    count_vm_events(WORKINGSET_ACTIVATE);
  }
  // what is new has one round to be used again; what was missed has them all
  pgdat->age[folio_pfn(folio)].store(soon ? 0 : MAX_AGE - 1, std::memory_order_relaxed);
}

} // namespace racewalk::inline RACEWALK_BACKEND
