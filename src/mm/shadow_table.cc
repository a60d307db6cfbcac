#include "mm/shadow_table.h"

#include <algorithm>
#include <cerrno>

#include "mm/mm_types.h"

namespace racewalk::inline RACEWALK_BACKEND {

shadow_table::shadow_table(vaddr_t first, u64 pages)
    : first_(first & PAGE_MASK), pages_(pages), entries_(new plain<pfn_t>[pages]) {
  invalidate = invalidate_range;
}

int shadow_table::attach(mm_struct& to) {
  return mmu_interval_notifier_insert(*this, to, first_, pages_ << PAGE_SHIFT);
}

int shadow_table::detach() {
  const int error = mmu_interval_notifier_remove(*this);
  if (error != 0) return error;
  spin_guard lock(lock_);
  for (u64 i = 0; i < pages_; ++i)
    entries_[i].set(0);
  return 0;
}

void shadow_table::invalidate_range(mmu_interval_notifier& notifier, const mmu_notifier_range& range,
                                    u64 seq) {
  auto& self = static_cast<shadow_table&>(notifier);
  const vaddr_t from = std::max(range.start & PAGE_MASK, self.first_);
  const vaddr_t to = std::min(range.end, self.first_ + (self.pages_ << PAGE_SHIFT));
  spin_guard lock(self.lock_);
  mmu_interval_set_seq(self, seq);
  for (vaddr_t va = from; va < to; va += PAGE_SIZE)
    self.entry(va).set(0);
}

template <class LookUp> long shadow_table::enter(vaddr_t va, LookUp look_up) {
  for (;;) {
    const u64 seq = mmu_interval_read_begin(*this);
    page* found = nullptr;
    if (const long got = look_up(&found); got != 1) return got;
    bool entered = false;
    {
      // Under the lock the answer holds until the page is in the table, where the callback finds it: pairs
      // with invalidate_range().
      spin_guard lock(lock_);
      entered = !policy().secondary_retry || !mmu_interval_read_retry(*this, seq);
      if (entered) entry(va).set(page_to_pfn(found));
    }
    // Stores through the table leave no mark in the CPU's entry, which may be clean. (Not so a file's: that
    // lets stores through only if the page is dirty, and is taken away before it is cleaned.)
    folio* folio = page_folio(found);
    if (folio_test_anon(folio)) folio_set_dirty(folio);
    unpin_user_page(found); // from here on the notifier keeps it
    if (entered) return 1;
  }
}

int shadow_table::fault(vaddr_t va) {
  if (!covers(va)) return -EFAULT;
  const long got =
      enter(va, [&](page** found) { return pin_user_pages_fast(*mm, va, 1, FOLL_WRITE, found); });
  return got == 1 ? 0 : static_cast<int>(got);
}

bool shadow_table::fault_fast(vaddr_t va) {
  return covers(va) && enter(va, [&](page** found) {
                         return static_cast<long>(pin_user_pages_fast_only(*mm, va, 1, FOLL_WRITE, found));
                       }) == 1;
}

template <class Use> fault_result shadow_table::access(vaddr_t va, Use use) {
  if (va % sizeof(word_t) != 0) return fault_result::sigbus;
  if (!covers(va)) return fault_result::sigsegv;
  spin_guard lock(lock_);
  const pfn_t pfn = entry(va).get();
  if (pfn == 0) return fault_result::sigsegv;
  use(pfn_words(pfn)[(va & ~PAGE_MASK) / sizeof(word_t)]);
  return fault_result::handled;
}

result<u64> shadow_table::load(vaddr_t va) {
  u64 value = 0;
  const fault_result r = access(va, [&](const word_t& at) { value = READ_ONCE(at); });
  return r == fault_result::handled ? result<u64>(value) : r;
}

result<void> shadow_table::store(vaddr_t va, u64 value) {
  return access(va, [&](word_t& at) { WRITE_ONCE(at, value); });
}

} // namespace racewalk::inline RACEWALK_BACKEND
