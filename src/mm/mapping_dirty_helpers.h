// For those who keep a dirty bitmap of a file's pages beside the page tables (M15; Linux's
// mm/mapping_dirty_helpers.c): a driver that shows device memory learns what was stored to since it last
// asked, without the page cache's own accounting.
//
// Few entries change, so there is no gather: an area's entries change under their page-table locks, and are
// flushed when they all have. In between a CPU may store through an entry of its TLB that knows the page as
// dirty, while the page table says that it is clean: who judges by the page table asks whether a flush is
// under way (mm_tlb_flush_pending).
#pragma once

#include "mm/fs.h"
#include "mm/mmu_notifier.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A helper's changes of the entries of [start, end) of an area. They are announced when it begins, and
/// flushed when it ends. Huge entries stay: drivers map by pages. Caller holds the file's i_mmap_rwsem, or
/// keeps the area and its tables otherwise; no page-table lock at the beginning and the end.
class wp_walk {
 public:
  wp_walk(mm_struct& mm, vaddr_t start, vaddr_t end);
  ~wp_walk();
  wp_walk(const wp_walk&) = delete;
  wp_walk& operator=(const wp_walk&) = delete;

  /// Takes the right to store.
  void wp();
  /// Takes what is recorded as stored to, into a bitmap: `first_bit` stands for the page at `start`.
  void clean_record(word_t* bitmap, u64 first_bit);
  /// How many entries have changed.
  [[nodiscard]] u64 total() const { return total_; }

 private:
  /// change(addr, ptep) with the entry, which is present, under its lock; it says whether it has changed it.
  template <class Change> void change_entries(Change change);
  void flush_touched();

  mm_struct& mm_;
  const vaddr_t start_;
  const vaddr_t end_;
  const mmu_notifier_invalidation notify_;
  vaddr_t touched_start_ = ~vaddr_t{0};
  vaddr_t touched_end_ = 0;
  u64 total_ = 0;
};

/// Takes the right to store to pages [first, first + nr) of the file from all shared mappings, so that the
/// next store faults. Returns how many entries had it. May sleep.
u64 wp_shared_mapping_range(address_space& mapping, u64 first, u64 nr);

/// Makes the entries for pages [first, first + nr) clean in all shared mappings, and sets a bit of `bitmap`
/// for each page that one of them said was stored to: bit 0 stands for page `first`. Returns how many entries
/// were dirty. No store through an entry of this range is unrecorded when this has been called after it. May
/// sleep.
u64 clean_record_shared_mapping_range(address_space& mapping, u64 first, u64 nr, word_t* bitmap);

} // namespace racewalk::inline RACEWALK_BACKEND
