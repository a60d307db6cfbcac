#include "mm/compaction.h"

#include <algorithm>
#include <array>
#include <bitset>

#include "arch/pgtable.h"
#include "mm/migrate.h"
#include "mm/page_alloc.h"
#include "mm/thp.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// A block of a huge page's size, of which this holds the frames that were free.
class page_block {
 public:
  page_block(zone& zone, pfn_t first) : zone_(zone), first_(first) { claim(); }
  ~page_block() { zone_.give_claimed(first_, claimed_); }
  page_block(const page_block&) = delete;
  page_block& operator=(const page_block&) = delete;

  void claim() {
    zone_.drain_all_pages();
    zone_.claim_free(first_, claimed_);
  }
  [[nodiscard]] bool complete() const { return claimed_.count() == hpage_pmd_nr(); }
  /// Whether all that is not held has moved away, or is about to be freed.
  [[nodiscard]] bool evacuate() {
    for (unsigned i = 0; i < hpage_pmd_nr(); ++i)
      if (!claimed_.test(i) && !move_away(pfn_to_page(first_ + i))) return false;
    return true;
  }

 private:
  [[nodiscard]] bool contains(const page* page) const { return page_to_pfn(page) - first_ < hpage_pmd_nr(); }

  /// A page of another block; what the allocator gives of this one, which has just become free, is held.
  [[nodiscard]] page* alloc_elsewhere() {
    for (;;) {
      page* page = alloc_page(GFP_NOWAIT);
      if (page == nullptr || !contains(page)) return page;
      if (!folio_ref_freeze(page_folio(page), 1)) { // somebody looks at it (migrate_frame())
        put_page(page);
        return nullptr;
      }
      claimed_.set(page_to_pfn(page) - first_);
    }
  }

  [[nodiscard]] bool move_away(page* from) {
    page* to = alloc_elsewhere();
    if (to == nullptr) return false;
    const bool moved = migrate_frame(from, to);
    folio_put(page_folio(to)); // its entries have theirs, or it is not used
    if (moved) count_vm_event(COMPACT_PAGES_MOVED);
    return moved;
  }

  zone& zone_;
  const pfn_t first_;
  zone::claimed_frames claimed_;
};

/// A block in which so many frames are free.
struct candidate {
  pfn_t first = zone::NO_FRAME;
  u64 free = 0;
};

/// Those with the most free frames, best first.
std::array<candidate, 8> best_blocks(const zone& zone) {
  std::array<candidate, 8> best;
  for (pfn_t first = hpage_pmd_nr(); first + hpage_pmd_nr() <= zone.nr_frames(); first += hpage_pmd_nr()) {
    const candidate block{first, zone.nr_free_in(first)};
    if (block.free <= best.back().free) continue;
    best.back() = block;
    std::sort(best.begin(), best.end(),
              [](const candidate& a, const candidate& b) { return a.free > b.free; });
  }
  return best;
}

bool try_to_compact(zone& zone) {
  zone.drain_all_pages();
  if (zone.nr_free() < hpage_pmd_nr()) return false;
  for (const candidate& block : best_blocks(zone)) {
    if (block.free == 0) return false;
    page_block pages(zone, block.first);
    if (!pages.evacuate()) continue;
    pages.claim(); // what has been moved away is free
    if (pages.complete()) return true;
  }
  return false;
}

} // namespace

bool compact_memory() {
  transparent_hugepage* thp = machine().thp;
  if (thp == nullptr) return false;
  compaction_deferral& deferral = thp->compaction;
  if (deferral.considered.fetch_add(1) + 1 < u32{1} << deferral.shift) return false;
  deferral.considered = 0;
  const bool done = try_to_compact(*machine().zone);
  deferral.shift = done ? 0 : std::min(deferral.shift + 1, u32{6});
  count_vm_event(done ? COMPACT_SUCCESS : COMPACT_FAIL);
  return done;
}

} // namespace racewalk::inline RACEWALK_BACKEND
