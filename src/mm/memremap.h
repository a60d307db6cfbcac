// Memory of devices that CPUs map directly (Linux's mm/memremap.c, ZONE_DEVICE).
//
// Its frames lie behind those of memory, each with its struct page, and are never the allocator's. A page has
// one reference for being there, which is what a device's page has that nobody uses; entries take none. Pins
// and who looks at it for a moment come on top.
//
// What keeps it: dev_pagemap::ref counts the device, each page whose own count is not 0, and whoever is
// between finding a page in an entry and having a reference to it (get_dev_pagemap()). A device that goes is
// dead first: no new such reference. Then the pages lose the reference for being there, and when the last
// reference of any kind is dropped its memory and struct pages are gone.
#pragma once

#include <memory>
#include <mutex>

#include "machine/machine.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The memory of one device: so many frames from `first` on, whole huge pages.
struct dev_pagemap {
  pfn_t first = 0;
  u64 nr = 0;
  atomic_t ref;
  word_t dead; ///< 1: it is going
  word_t done; ///< 1: the last reference has been dropped
};

/// Which devices' memory is where in the room that a machine has for it.
struct pgmap_array {
  explicit pgmap_array(Machine& machine);
  ~pgmap_array();
  pgmap_array(const pgmap_array&) = delete;
  pgmap_array& operator=(const pgmap_array&) = delete;

  /// The device's memory that a frame is in, which may be going; null if there is none. Caller is in an RCU
  /// section, for which it stays what it is.
  dev_pagemap* load(pfn_t pfn) const { return READ_ONCE(sections_[section(pfn)]); }

  /// Where `nr` frames are free, which stay so while `room` is held; the end if nowhere. Natively, or before
  /// anything is explored.
  pfn_t find_room(u64 nr) const REQUIRES(room);
  /// Sets what load() says of its frames.
  void store(const dev_pagemap& at, dev_pagemap* pgmap);

  /// Calls visit(variable, i) for each variable of the array: for who tells about accesses to them.
  template <class Visit> void for_each_variable(Visit&& visit) const {
    for (u64 i = 0; i < nr_sections_; ++i)
      visit(&sections_[i], i);
  }

  mutable mutex_t room;

 private:
  u64 section(pfn_t pfn) const;

  Machine& machine_;
  const u64 nr_sections_; ///< each a huge page
  std::unique_ptr<shared<dev_pagemap*>[]> sections_;
};

/// Makes `nr` frames, whole huge pages, a device's: zeroed, and each of them with a reference. 0; -ENXIO
/// where the architecture has no entries for it; -ENOMEM if the machine has no room. Natively, or before
/// anything is explored.
[[nodiscard]] int memremap_pages(dev_pagemap& pgmap, u64 nr);
/// The device goes: waits until nobody uses its pages. Nothing maps them any more, nor will.
void memunmap_pages(dev_pagemap& pgmap);

/// A reference that keeps the device whose memory a frame is in; null if there is none, or it is going. Drop
/// it by put_dev_pagemap(). May be called with interrupts off.
dev_pagemap* get_dev_pagemap(pfn_t pfn);
void put_dev_pagemap(dev_pagemap& pgmap);

/// The last reference to a device's page is gone.
void free_zone_device_page(page* page);

} // namespace racewalk::inline RACEWALK_BACKEND
