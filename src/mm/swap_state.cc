// Reading the swap file ahead (Linux's mm/swap_state.c).
//
// Who touches a page that is in the swap file often touches its neighbours next: in the order of their
// addresses, or of their places in a file made of memory. So with a page come some of its neighbours: those
// of a window, which lies before it, behind it or around it, according to where the last one was. What has
// come without being asked for is in the swap cache and has PG_readahead until somebody asks: a hit. The
// window is the larger, up to SWAP_RA_MAX pages, the more hits there were since the last one; without any it
// is one page, and does not shrink faster than by halves. Each area of anonymous memory has a window, and
// each file.
//
// Slots that follow each other are read in one transfer. Who needs a page waits for the one that it is in;
// the others go on, their folios locked until they are there.
#include <algorithm>
#include <bit>

#include "mm/page_alloc.h"
#include "mm/page_lock.h"
#include "mm/pagewalk.h"
#include "mm/pgalloc.h"
#include "mm/swapfile.h"
#include "mm/vmscan.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the window ------------------------------------------------------------------------------------------

namespace {

/// What is remembered in a swap_readahead_info. CPUs that come at once may forget what the other has seen.
struct swap_ra_info {
  u64 page = 0;        ///< that was asked for last
  unsigned window = 0; ///< how many pages were read then
  unsigned hits = 4;   ///< at first: as if that had been of use

  static constexpr unsigned HITS_BITS = 6;
  static constexpr unsigned MAX_HITS = (1U << HITS_BITS) - 1;

  static swap_ra_info of(const shared<u64>& remembered) {
    const u64 word = READ_ONCE(remembered);
    if (word == 0) return {};
    return {word >> PAGE_SHIFT, static_cast<unsigned>(word >> HITS_BITS & MAX_HITS),
            static_cast<unsigned>(word & MAX_HITS)};
  }
  void store(shared<u64>& remembered) const {
    WRITE_ONCE(remembered, page << PAGE_SHIFT | u64{window} << HITS_BITS | hits);
  }
};
static_assert(2 * swap_ra_info::HITS_BITS <= PAGE_SHIFT);

/// How many pages come with `page`, itself included.
unsigned swapin_nr_pages(const swap_ra_info& last, u64 page) {
  unsigned pages = 1;
  if (last.hits != 0)
    pages = std::max(4U, std::bit_ceil(last.hits + 2));
  else if (page == last.page + 1 || page + 1 == last.page)
    pages = 2;
  return std::clamp(pages, std::max(1U, last.window / 2), SWAP_RA_MAX);
}

/// Pages [first, end).
struct page_range {
  u64 first;
  u64 end;
};

/// Where they lie.
page_range swapin_window(u64 page, const swap_ra_info& last, unsigned pages) {
  u64 before = (pages - 1) / 2;
  if (page == last.page + 1) before = 0;
  if (page + 1 == last.page) before = pages - 1;
  const u64 first = page - std::min(page, before);
  return {first, first + pages};
}

// ---- what is read ----------------------------------------------------------------------------------------

/// Slots to be read, each with its new folio, locked and with a reference.
class swapin_batch {
 public:
  explicit swapin_batch(folio* own = nullptr) : own_(own) {
    if (own != nullptr) folios_[nr_++] = own;
  }

  /// Adds the entry's slot: its folio, or null if that is on its way already, or memory is short. There is
  /// room, or no folio of the caller's own.
  folio* add(swp_entry_t entry);
  /// Begins to read all, and waits for the caller's own. False: it could not be read, and is gone.
  bool read();

 private:
  static u64 slot_of(const folio* folio) { return swp_slot(swap_entry_of(folio, false)); }
  bool read_run(std::span<folio* const> run);

  folio* const own_;
  unsigned nr_ = 0;
  bool no_memory_ = false;
  folio* folios_[SWAP_CLUSTER_MAX];
};

folio* swapin_batch::add(swp_entry_t entry) {
  if (no_memory_) return nullptr;
  if (nr_ == SWAP_CLUSTER_MAX) (void)read();
  const auto [result, folio] = swap_cache_alloc_folio(entry);
  no_memory_ = result == fault_result::oom;
  if (folio != nullptr) folios_[nr_++] = folio;
  return folio;
}

/// Slots that follow each other. False if the caller's own is one of them and could not be read.
bool swapin_batch::read_run(std::span<folio* const> run) {
  swap_info& swap = *machine().swap;
  if (swap.ops->readahead == nullptr || std::find(run.begin(), run.end(), own_) != run.end())
    return swap_read_folios(run, own_);
  swap.ops->readahead(swap, slot_of(run.front()), run);
  return true;
}

bool swapin_batch::read() {
  std::sort(folios_, folios_ + nr_, [](const folio* a, const folio* b) { return slot_of(a) < slot_of(b); });
  std::span<folio* const> own_run;
  for (unsigned first = 0, end = 0; first < nr_; first = end) {
    for (end = first + 1; end < nr_ && slot_of(folios_[end]) == slot_of(folios_[end - 1]) + 1; ++end) {
    }
    const std::span<folio* const> run(folios_ + first, end - first);
    if (own_ != nullptr && std::find(run.begin(), run.end(), own_) != run.end())
      own_run = run;
    else
      (void)read_run(run); // these begin before that one is waited for
  }
  nr_ = 0;
  return own_run.empty() || read_run(own_run);
}

/// Calls visit(entry) for what is in the swap file of [addr, end), behind one table.
template <class Visit> void for_each_swapped(const pmdp_t& pmdp, vaddr_t addr, vaddr_t end, Visit visit) {
  for (; addr < end; addr += PAGE_SIZE) {
    pte_t pte;
    if (const pte_map table(pmdp); table) pte = ptep_get_lockless(table.at(addr));
    if (is_swap_pte(pte) && is_swap_entry(pte_to_swp_entry(pte))) visit(pte_to_swp_entry(pte));
  }
}
/// The same of pages [index, last] of a file made of memory.
template <class Visit> void for_each_swapped(const address_space& mapping, u64 index, u64 last, Visit visit) {
  for (; index <= last; ++index) {
    const xa_entry entry = mapping.i_pages.find(&index, last);
    if (entry.none()) return;
    if (entry.is_swap()) visit(make_swap_entry(entry.slot(), false));
  }
}

/// Reads the entry's slot, and of a window around its page what neighbours(window, visit) visits.
template <class Neighbours>
swapin_result swapin_around(swp_entry_t entry, page_range window, Neighbours neighbours) {
  const swapin_result own = swap_cache_alloc_folio(entry);
  if (own.folio == nullptr) return own;
  swapin_batch batch(own.folio);
  neighbours(window, [&](swp_entry_t other) {
    folio* folio = swp_slot(other) == swp_slot(entry) ? nullptr : batch.add(other);
    if (folio == nullptr) return;
    folio_set_readahead(folio);
    count_vm_events(SWAP_RA);
  });
  return batch.read() ? own : swapin_result{fault_result::sigbus, nullptr};
}

/// The folio of the slot of a page, with its neighbours if they are likely to be wanted next.
template <class Neighbours>
swapin_result swapin_learning(shared<u64>& remembered, u64 page, swp_entry_t entry, Neighbours neighbours) {
  if (machine().swap->ops->readahead == nullptr) return swapin_folio(entry);
  const swap_ra_info last = swap_ra_info::of(remembered);
  if (folio* cached = swap_cache_get_folio(entry)) {
    const bool hit = folio_test_readahead(cached) && folio_test_clear_readahead(cached);
    if (hit) count_vm_events(SWAP_RA_HIT);
    const unsigned hits = std::min(last.hits + (hit ? 1 : 0), swap_ra_info::MAX_HITS);
    swap_ra_info{page, last.window, hits}.store(remembered);
    return swap_cache_lock_folio(cached, entry);
  }
  const unsigned pages = swapin_nr_pages(last, page);
  swap_ra_info{page, pages, 0}.store(remembered);
  if (pages == 1) return swapin_folio(entry);
  return swapin_around(entry, swapin_window(page, last, pages), neighbours);
}

} // namespace

swapin_result swapin_readahead(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, swp_entry_t entry) {
  const auto neighbours = [&](page_range window, auto visit) { // inside the area, and behind the table
    const vaddr_t table = addr & pmd_mask();
    for_each_swapped(pmdp, std::max({window.first << PAGE_SHIFT, table, vma.vm_start.get()}),
                     std::min({window.end << PAGE_SHIFT, table + pmd_size(), vma.vm_end.get()}), visit);
  };
  return swapin_learning(vma.swap_readahead_info, addr >> PAGE_SHIFT, entry, neighbours);
}

swapin_result shmem_swapin_cluster(address_space& mapping, u64 index, swp_entry_t entry) {
  const auto neighbours = [&](page_range window, auto visit) {
    for_each_swapped(mapping, window.first, window.end - 1, visit);
  };
  return swapin_learning(mapping.swap_readahead_info, index, entry, neighbours);
}

// ---- what somebody says that he will want ----------------------------------------------------------------

void swapin_range(const vm_area_struct& vma, vaddr_t start, vaddr_t end) {
  swapin_batch batch;
  walk_pmd_entries(*vma.vm_mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    for_each_swapped(pmdp, addr, next, [&](swp_entry_t entry) { batch.add(entry); });
  });
  (void)batch.read();
}

void shmem_swapin_range(const address_space& mapping, u64 index, u64 last) {
  swapin_batch batch;
  for_each_swapped(mapping, index, last, [&](swp_entry_t entry) { batch.add(entry); });
  (void)batch.read();
}

} // namespace racewalk::inline RACEWALK_BACKEND
