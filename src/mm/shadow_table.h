// A shadow of part of an mm's page table, kept by a client of MMU notifiers, as KVM and HMM keep theirs.
//
// Each page of a range has a word: the frame that the mm maps there for writing, or none. Who looks an
// address up does so without the client's lock, which is held when the result is entered; an interval's
// sequence tells whether the result still holds (M27). Accesses go through the words under that lock, so who
// empties a word knows that none is under way.
//
// Invariant: from the time that the invalidation of a range has been told, no word leads to a page that the
// range mapped. The table holds no references.
#pragma once

#include <memory>
#include <string>

#include "machine/result.h"
#include "mm/gup.h"
#include "mm/mmu_notifier.h"

namespace racewalk::inline RACEWALK_BACKEND {

class shadow_table : mmu_interval_notifier {
 public:
  /// Of the `pages` pages from the one that holds `first` on.
  shadow_table(vaddr_t first, u64 pages);

  /// Begins to listen to the mm. Errors as mmu_interval_notifier_insert().
  [[nodiscard]] int attach(mm_struct& to);
  /// Forgets the mm, which has not gone away. Errors as mmu_interval_notifier_remove().
  int detach();

  // Looks the page of `va` up and enters it. The mm is attached, and does not go away meanwhile; caller is a
  // CPU and holds no lock.

  /// Faults it in if need be. 0, -EFAULT if it is not mapped for writing or not in the range, -ENOMEM,
  /// -EAGAIN.
  [[nodiscard]] int fault(vaddr_t va);
  /// Takes it as it is. False if it is not mapped for writing right now, or not in the range.
  [[nodiscard]] bool fault_fast(vaddr_t va);

  // Through the table; `va` is a multiple of 8, else sigbus. sigsegv: the page is not in it.

  result<u64> load(vaddr_t va);
  result<void> store(vaddr_t va, u64 value);

  /// Calls visit(variable, field) for each variable: for who tells about accesses to them.
  template <class Visit> void for_each_variable(Visit&& visit) const {
    visit(&invalidate_seq, "invalidate_seq");
    visit(&next, "next");
    visit(&lock_, "lock");
    for (u64 i = 0; i < pages_; ++i)
      visit(&entries_[i], "entries[" + std::to_string(i) + "]");
  }

 private:
  static void invalidate_range(mmu_interval_notifier& notifier, const mmu_notifier_range& range, u64 seq);
  /// Enters the pages that look_up(&page) pins, until one was not invalidated meanwhile.
  template <class LookUp> long enter(vaddr_t va, LookUp look_up);
  [[nodiscard]] bool covers(vaddr_t va) const { return va >= first_ && (va - first_) >> PAGE_SHIFT < pages_; }
  plain<pfn_t>& entry(vaddr_t va) REQUIRES(lock_) { return entries_[(va - first_) >> PAGE_SHIFT]; }
  /// Calls use(word) with what is at `va`.
  template <class Use> fault_result access(vaddr_t va, Use use);

  const vaddr_t first_;
  const u64 pages_;
  spinlock_t lock_;
  const std::unique_ptr<plain<pfn_t>[]> entries_; ///< 0: none; what they hold changes under lock_
};

} // namespace racewalk::inline RACEWALK_BACKEND
