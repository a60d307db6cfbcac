// Pages of equal content become one, as Linux's ksmd makes them.
//
//   space.madvise(at, bytes, racewalk::AddressSpace::Mergeable::yes).value();   // in any number of spaces
//   racewalk::PageMerger merger(system);
//   merger.watch(space);
//   merger.start();                            // a thread that scans now and then
//   merger.statistics().pages_sharing;         // how many pages that saves
//
// Programs notice nothing but that a first store to a merged page takes a copy, and may fail for want of
// memory. Pages that change from one pass to the next, huge pages, and pages that are pinned are left alone.
//
// All functions may be called by any thread that is no CPU, at any time. A space is forgotten before it goes.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

class PageMerger {
 public:
  struct Statistics {
    std::uint64_t pages_shared = 0;  ///< that stand for others
    std::uint64_t pages_sharing = 0; ///< that are saved by that: mapped by more entries than one
    std::uint64_t pages_scanned = 0;
    std::uint64_t full_scans = 0; ///< of all spaces that are watched
  };

  /// The system must outlive it.
  explicit PageMerger(System& system);
  /// stop(). What is merged stays merged.
  ~PageMerger();
  PageMerger(const PageMerger&) = delete;
  PageMerger& operator=(const PageMerger&) = delete;

  void watch(AddressSpace& space);
  /// Returns when nobody looks at it any more.
  void forget(AddressSpace& space);

  /// Looks at so many pages, the next ones in turn; fewer if that is all. A page is merged at the second look
  /// at the earliest.
  void scan(std::uint64_t pages);
  /// scan(pages) every `pause`, by a thread of its own. While it runs, start() changes its pace.
  void start(std::uint64_t pages = 100, std::chrono::milliseconds pause = std::chrono::milliseconds(20));
  void stop();

  [[nodiscard]] Statistics statistics() const;

 private:
  struct Scanner;
  std::unique_ptr<Scanner> scanner_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
