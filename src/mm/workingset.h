// Pages that came back too soon (Linux's mm/workingset.c).
//
// Each page that is taken back leaves a shadow: what it was, and how many had been taken back before. If it
// comes back before as many others have gone as there are frames, it would have stayed in a memory of twice
// the size: it belongs to the working set, and is kept for longer. Shadows lie in a table of one for each
// frame, where a newer one replaces an older; what is lost by that is only the count.
#pragma once

#include <atomic>
#include <memory>

#include "machine/page.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

class nonresident_pages {
 public:
  explicit nonresident_pages(u64 frames) : frames_(frames), shadows_(new std::atomic<u64>[frames]()) {}

  /// The nth page of `owner`, a file or the swap file, is taken back.
  void evict(const void* owner, u64 n);
  /// It comes back. Whether that is soon.
  [[nodiscard]] bool refault(const void* owner, u64 n);

 private:
  static u64 hash(const void* owner, u64 n);

  const u64 frames_;
  std::unique_ptr<std::atomic<u64>[]> shadows_; ///< half a hash, and the number of evictions before
  std::atomic<u32> evictions_{0};
};

/// A page of `owner` is taken back.
void workingset_eviction(const void* owner, u64 n);
/// The nth page of `owner` comes into memory, in `folio`: how long it stays unused there.
void workingset_refault(folio* folio, const void* owner, u64 n);

} // namespace racewalk::inline RACEWALK_BACKEND
