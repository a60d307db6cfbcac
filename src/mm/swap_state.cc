// Reading the swap file ahead (Linux's mm/swap_state.c).
//
// Who touches a page that is in the swap file often touches its neighbours next, in the order of their
// addresses. So a fault brings some of them with its own page: those of a window, which lies before it,
// behind it or around it, according to where the area's last fault was. What has come without being asked for
// is in the swap cache and has PG_readahead until somebody asks: a hit. The window is the larger, up to
// SWAP_RA_MAX pages, the more hits there were since the last one; without any it is one page, and does not
// shrink faster than by halves.
//
// Slots that follow each other are read in one transfer. The fault waits for the one that its own page is in;
// the others go on, their folios locked until they are there.
#include <algorithm>
#include <bit>

#include "mm/page_alloc.h"
#include "mm/page_lock.h"
#include "mm/pgalloc.h"
#include "mm/swapfile.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the window ------------------------------------------------------------------------------------------

namespace {

/// What an area remembers in swap_readahead_info. CPUs that fault at once may forget what the other has seen.
struct swap_ra_info {
  u64 page = 0;        ///< of the last fault, by its address
  unsigned window = 0; ///< how many pages were read then
  unsigned hits = 4;   ///< at first: as if that had been of use

  static constexpr unsigned HITS_BITS = 6;
  static constexpr unsigned MAX_HITS = (1U << HITS_BITS) - 1;

  static swap_ra_info of(const vm_area_struct& vma) {
    const u64 word = READ_ONCE(vma.swap_readahead_info);
    if (word == 0) return {};
    return {word >> PAGE_SHIFT, static_cast<unsigned>(word >> HITS_BITS & MAX_HITS),
            static_cast<unsigned>(word & MAX_HITS)};
  }
  void store(vm_area_struct& vma) const {
    WRITE_ONCE(vma.swap_readahead_info, page << PAGE_SHIFT | u64{window} << HITS_BITS | hits);
  }
};
static_assert(2 * swap_ra_info::HITS_BITS <= PAGE_SHIFT);

/// How many pages a fault at `page` reads.
unsigned swapin_nr_pages(const swap_ra_info& last, u64 page) {
  unsigned pages = 1;
  if (last.hits != 0)
    pages = std::max(4U, std::bit_ceil(last.hits + 2));
  else if (page == last.page + 1 || page + 1 == last.page)
    pages = 2;
  return std::clamp(pages, std::max(1U, last.window / 2), SWAP_RA_MAX);
}

struct addr_range {
  vaddr_t start;
  vaddr_t end;
};

/// Where they lie: inside the area, and behind the table.
addr_range swapin_window(const vm_area_struct& vma, vaddr_t addr, const swap_ra_info& last, unsigned pages) {
  const u64 page = addr >> PAGE_SHIFT;
  u64 before = (pages - 1) / 2;
  if (page == last.page + 1) before = 0;
  if (page + 1 == last.page) before = pages - 1;
  const u64 first = page - std::min(page, before);
  const vaddr_t table = addr & pmd_mask();
  return {std::max({first << PAGE_SHIFT, table, vma.vm_start.get()}),
          std::min({(first + pages) << PAGE_SHIFT, table + pmd_size(), vma.vm_end.get()})};
}

// ---- what is read ----------------------------------------------------------------------------------------

/// Slots to be read, each with its new folio, locked and with a reference.
class swapin_batch {
 public:
  explicit swapin_batch(folio* own) : own_(own) { folios_[nr_++] = own; }

  /// Adds what is swapped in the range, as far as there is memory.
  void add_neighbours(const pmdp_t& pmdp, addr_range range);
  /// Begins to read all, and waits for the caller's own. False: it could not be read, and is gone.
  bool read();

 private:
  static u64 slot_of(const folio* folio) { return swp_slot(swap_entry_of(folio, false)); }
  bool read_run(std::span<folio* const> run);

  folio* const own_;
  unsigned nr_ = 0;
  folio* folios_[SWAP_RA_MAX];
};

void swapin_batch::add_neighbours(const pmdp_t& pmdp, addr_range range) {
  swp_entry_t entries[SWAP_RA_MAX];
  unsigned nr = 0;
  if (const pte_map table(pmdp); table)
    for (vaddr_t at = range.start; at < range.end; at += PAGE_SIZE) {
      const pte_t pte = ptep_get_lockless(table.at(at));
      if (is_swap_pte(pte) && is_swap_entry(pte_to_swp_entry(pte))) entries[nr++] = pte_to_swp_entry(pte);
    }
  for (unsigned n = 0; n < nr && nr_ < SWAP_RA_MAX; ++n) {
    const auto [result, folio] = swap_cache_alloc_folio(entries[n]);
    if (result == fault_result::oom) break;
    if (folio == nullptr) continue; // it is on its way, as the caller's own is
    folio_set_readahead(folio);
    folios_[nr_++] = folio;
  }
  count_vm_events(SWAP_RA, nr_ - 1);
}

/// Slots that follow each other. False if the caller's own is one of them and could not be read.
bool swapin_batch::read_run(std::span<folio* const> run) {
  swap_info& swap = *machine().swap;
  if (std::find(run.begin(), run.end(), own_) != run.end()) return swap_read_folios(run, own_);
  swap.ops->readahead(swap, slot_of(run.front()), run);
  return true;
}

bool swapin_batch::read() {
  std::sort(folios_, folios_ + nr_, [](const folio* a, const folio* b) { return slot_of(a) < slot_of(b); });
  std::span<folio* const> runs[SWAP_RA_MAX];
  unsigned nr_runs = 0;
  unsigned own_run = 0;
  for (unsigned first = 0, end = 0; first < nr_; first = end) {
    for (end = first + 1; end < nr_ && slot_of(folios_[end]) == slot_of(folios_[end - 1]) + 1; ++end) {
    }
    runs[nr_runs] = std::span(folios_ + first, end - first);
    if (std::find(folios_ + first, folios_ + end, own_) != folios_ + end) own_run = nr_runs;
    ++nr_runs;
  }
  for (unsigned n = 0; n < nr_runs; ++n)
    if (n != own_run) (void)read_run(runs[n]); // these begin before this one is waited for
  return read_run(runs[own_run]);
}

swapin_result swapin_around(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, swp_entry_t entry,
                            const swap_ra_info& last, unsigned pages) {
  const swapin_result own = swap_cache_alloc_folio(entry);
  if (own.folio == nullptr) return own;
  swapin_batch batch(own.folio);
  batch.add_neighbours(pmdp, swapin_window(vma, addr, last, pages));
  return batch.read() ? own : swapin_result{fault_result::sigbus, nullptr};
}

} // namespace

swapin_result swapin_readahead(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, swp_entry_t entry) {
  if (machine().swap->ops->readahead == nullptr) return swapin_folio(entry);
  const swap_ra_info last = swap_ra_info::of(vma);
  const u64 page = addr >> PAGE_SHIFT;
  if (folio* cached = swap_cache_get_folio(entry)) {
    const bool hit = folio_test_readahead(cached) && folio_test_clear_readahead(cached);
    if (hit) count_vm_events(SWAP_RA_HIT);
    swap_ra_info{page, last.window, std::min(last.hits + (hit ? 1 : 0), swap_ra_info::MAX_HITS)}.store(vma);
    return swap_cache_lock_folio(cached, entry);
  }
  const unsigned pages = swapin_nr_pages(last, page);
  swap_ra_info{page, pages, 0}.store(vma);
  return pages == 1 ? swapin_folio(entry) : swapin_around(vma, addr, pmdp, entry, last, pages);
}

} // namespace racewalk::inline RACEWALK_BACKEND
