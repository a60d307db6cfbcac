#include "mm/page_idle.h"

#include <algorithm>
#include <cerrno>

#include "mm/gup.h"
#include "mm/page_lock.h"
#include "mm/pagewalk.h"
#include "mm/rmap.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// A use that entries tell of ends PG_idle, and stays known to reclaim. Caller holds the folio lock.
void collect_use(folio* folio, tlbflush_unmap_batch& batch) {
  if (!folio_clear_young_entries(folio, batch)) return;
  folio_clear_idle(folio);
  folio_set_young(folio);
}

/// look(folio, n, batch) at what is mapped in the range, locked; n: how far the page is from `start`.
template <class Look> int for_each_mapped(mm_struct& mm, vaddr_t start, u64 nr, Look look) {
  const vaddr_t limit = geometry().address_limit();
  if ((start & ~PAGE_MASK) != 0 || start > limit || nr > (limit - start) >> PAGE_SHIFT) return -EINVAL;
  const vaddr_t end = start + (nr << PAGE_SHIFT);
  const u64 size = geometry().size(geometry().root_level());
  tlbflush_unmap_batch batch{};
  for (vaddr_t from = start, to; from < end; from = to) {
    to = std::min(end, (from & ~(size - 1)) + size);
    mmap_region* region = mm.existing_region(from);
    if (region == nullptr) continue;
    read_guard mmap_lock(region->mmap_lock);
    walk_pmd_entries(mm, from, to, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
      for (; addr < next; addr += PAGE_SIZE) {
        folio* folio = get_mapped_folio(pmdp, addr);
        if (folio == nullptr) continue;
        folio_lock(folio);
        // else it has gone from here meanwhile
        if (folio_mapped(folio)) look(folio, (addr - start) >> PAGE_SHIFT, batch);
        folio_unlock(folio);
        folio_put(folio);
      }
    });
  }
  try_to_unmap_flush(batch); // what is used from now on makes its entry young again
  return 0;
}

} // namespace

int page_idle_set(mm_struct& mm, vaddr_t start, u64 nr) {
  return for_each_mapped(mm, start, nr, [](folio* folio, u64, tlbflush_unmap_batch& batch) {
    collect_use(folio, batch);
    folio_set_idle(folio);
  });
}

int page_idle_get(mm_struct& mm, vaddr_t start, u64 nr, bool* idle) {
  std::fill_n(idle, nr, false);
  return for_each_mapped(mm, start, nr, [idle](folio* folio, u64 n, tlbflush_unmap_batch& batch) {
    if (folio_test_idle(folio)) collect_use(folio, batch);
    idle[n] = folio_test_idle(folio);
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
