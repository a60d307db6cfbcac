// Pages that came back too soon (Linux's mm/workingset.c).
//
// Each page that is taken back leaves a shadow: what it was, and how many had been taken back before. If it
// comes back before as many others have gone as there are frames, it would have stayed in a memory of twice
// the size: it belongs to the working set, and is kept for longer. Shadows lie in a table of one for each
// frame, where a newer one replaces an older; what is lost by that is only the count. Those of pages that
// follow each other share a cache line, as such pages come and go together.
#pragma once

#include <atomic>
#include <iterator>
#include <memory>

#include "machine/page.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

class nonresident_pages {
 public:
  explicit nonresident_pages(u64 frames) : frames_(frames), lines_(new line[nr_lines()]()) {}

  /// The nth page of `owner`, a file or the swap file, is taken back.
  void evict(const void* owner, u64 n);
  /// It comes back. Whether that is soon.
  [[nodiscard]] bool refault(const void* owner, u64 n);

 private:
  struct alignas(64) line {
    std::atomic<u64> shadows[8]; ///< half a hash, and the number of evictions before
  };
  /// Where the shadow of a page is, and the half of the hash that says so.
  struct place {
    std::atomic<u64>& shadow;
    u64 tag;
  };
  [[nodiscard]] u64 nr_lines() const { return frames_ / std::size(line{}.shadows) + 1; }
  [[nodiscard]] place find(const void* owner, u64 n) const;

  const u64 frames_;
  std::unique_ptr<line[]> lines_;
  std::atomic<u32> evictions_{0};
};

/// A page of `owner` is taken back.
void workingset_eviction(const void* owner, u64 n);
/// The nth page of `owner` comes into memory, in `folio`: how long it stays unused there.
void workingset_refault(folio* folio, const void* owner, u64 n);

} // namespace racewalk::inline RACEWALK_BACKEND
