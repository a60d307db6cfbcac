#include "mm/vmscan.h"

#include <algorithm>
#include <span>
#include <utility>

#include "mm/deferred_split.h"
#include "mm/filemap.h"
#include "mm/huge_memory.h"
#include "mm/madvise.h"
#include "mm/page_alloc.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "mm/pagewalk.h"
#include "mm/rmap.h"
#include "mm/shmem.h"
#include "mm/swapfile.h"
#include "mm/tlbbatch.h"
#include "mm/workingset.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- a folio of a file -----------------------------------------------------------------------------------

namespace {

/// The count is frozen at 0 if nobody else holds the folio and it is clean.
reclaim_result freeze_if_clean(folio* folio, s32 expected) {
  if (!policy().drop_freezes_first) {
    // Whoever dirties it and lets go in between is not seen by either question (M18).
    if (folio_test_dirty(folio)) return reclaim_result::dirty;
    return folio_ref_freeze(folio, expected) ? reclaim_result::dropped : reclaim_result::busy;
  }
  // References, then dirtiness: whoever had a reference has dirtied the folio before he dropped it, and a
  // freeze that succeeds comes after that. Pairs with folio_put().
  if (!folio_ref_freeze(folio, expected)) return reclaim_result::busy;
  if (!folio_test_dirty(folio)) return reclaim_result::dropped;
  folio_ref_unfreeze(folio, expected);
  return reclaim_result::dirty;
}

} // namespace

reclaim_result remove_mapping(address_space& mapping, folio* folio) {
  const u64 nr = folio_test_large(folio) ? folio_nr_pages(folio) : 1;
  spin_guard xa_lock(mapping.i_pages.xa_lock);
  const reclaim_result result = freeze_if_clean(folio, static_cast<s32>(nr) + 1);
  if (result != reclaim_result::dropped) return result;
  for (u64 i = 0; i < nr; ++i)
    mapping.i_pages.store(folio_index(folio) + i, {});
  workingset_eviction(&mapping, folio_index(folio));
  folio->page.mapping.set(0);
  atomic_sub(mapping.nrpages, static_cast<s64>(nr));
  folio_ref_unfreeze(folio, 1);
  return result;
}

// ---- a folio: out of sight, written, given up ------------------------------------------------------------

namespace {

u64 pages_of(const folio* folio) { return folio_test_large(folio) ? folio_nr_pages(folio) : 1; }

/// Whether nobody needs the folio's content, if nobody stores to it.
bool folio_test_lazyfree(const folio* folio) {
  return !folio_test_swapbacked(folio) && !folio_test_swapcache(folio);
}

/// Single pages, all as old as the folio was. False: it is in use.
bool split_folio(folio* folio) {
  if (!folio_test_large(folio)) return true;
  const u64 nr = pages_of(folio);
  if (split_huge_page(folio) != 0) return false;
  std::atomic<u8>* age = &machine().pgdat->age[folio_pfn(folio)];
  for (u64 i = 1; i < nr; ++i)
    age[i].store(age->load(std::memory_order_relaxed), std::memory_order_relaxed);
  return true;
}

/// Gives a folio of anonymous memory a place to go to. Caller holds the folio lock.
bool make_room_in_swap(folio* folio) {
  if (folio_test_lazyfree(folio)) return true;
  if (!swap_possible() || folio_test_writeback(folio)) return false;
  if (folio_test_swapcache(folio)) return true;
  if (policy().swap_out_looks_for_pins && folio_maybe_dma_pinned(folio)) return false;
  if (!folio_mapped(folio) || !swap_has_room()) return false;
  return split_folio(folio) && add_to_swap(folio);
}

/// Whether a folio of a file can go somewhere: to its disk, or if the file is made of memory to the swap
/// file, page by page.
bool file_can_go(folio* folio, const address_space& mapping, const scan_control& sc) {
  if (folio_test_writeback(folio)) return false;
  if (mapping.tracks_dirty) return true;
  return shmem_mapping(mapping) && sc.may_swap && swap_has_room() && !folio_maybe_dma_pinned(folio) &&
         split_folio(folio);
}

/// Takes a locked folio's entries out, their flush put off to `batch`. False: it stays as it is.
bool unmap_folio(folio* folio, const scan_control& sc, tlbflush_unmap_batch& batch) {
  if (folio_test_anon(folio)) {
    if (!sc.may_swap && !folio_test_lazyfree(folio)) return false;
    if (!make_room_in_swap(folio)) return false;
    if (try_to_unmap(folio, batch)) return true;
    (void)folio_free_swap(folio);
    return false;
  }
  const address_space* mapping = folio_mapping(folio);
  if (mapping == nullptr) return folio_test_swapcache(folio); // nobody maps it
  return file_can_go(folio, *mapping, sc) && try_to_unmap(folio, batch);
}

/// Is it of anonymous memory, or in the swap cache? Else it is a file's. Caller holds the folio lock.
bool belongs_to_swap(const folio* folio) { return folio_test_anon(folio) || folio_mapping(folio) == nullptr; }

/// The last step for such a folio, whose entries are gone and flushed: true, and its count is frozen.
bool give_up_anon(folio* folio) {
  (void)folio_free_swap(folio); // all its entries may have been given back meanwhile
  if (!folio_in_swap_cache(folio))
    // Frozen by its last reference, the caller's: nobody has found it since its entries went (M3).
    return folio_ref_freeze(folio, 1);
  if (folio_mapped(folio) || folio_test_dirty(folio)) return false;
  return remove_from_swap_cache(folio);
}

} // namespace

reclaim_result reclaim_folio(folio* folio) {
  if (!folio_trylock(folio)) return reclaim_result::busy;
  reclaim_result result = reclaim_result::busy;
  tlbflush_unmap_batch batch;
  if (!belongs_to_swap(folio) && unmap_folio(folio, {}, batch)) {
    try_to_unmap_flush(batch); // no CPU reads or writes the page any more
    result = remove_mapping(*folio_mapping(folio), folio);
  }
  folio_unlock(folio);
  return result;
}

// ---- folios of any kind ----------------------------------------------------------------------------------

namespace {

/// Folios whose entries are gone and flushed, of each of which the caller has a reference.
class unmapped_folios {
 public:
  void add(folio* folio) { folios_[nr_++] = {folio, true}; }
  /// Writes those that are to go to the swap file.
  void swap_out();
  /// Writes those of files that are dirty, file by file.
  void pageout();
  /// Frees or leaves each, unlocks it, and drops the caller's references. How many pages are free.
  u64 give_up();

 private:
  struct isolated {
    struct folio* folio;
    bool locked; ///< not if somebody else has got it while it was being written
  };

  void pageout_file(address_space& mapping, unsigned first);
  static u64 give_up(const isolated& of);

  unsigned nr_ = 0;
  isolated folios_[SWAP_CLUSTER_MAX];
};

void unmapped_folios::swap_out() {
  if (!swap_possible()) return;
  folio* dirty[SWAP_CLUSTER_MAX] = {};
  unsigned nr = 0;
  for (const isolated& of : std::span(folios_, nr_)) {
    if (!belongs_to_swap(of.folio)) {
      if (!shmem_mapping(*folio_mapping(of.folio))) continue;
      // Clean or not: the mark of an entry may have gone to somebody's own record (mapping_dirty_helpers.h).
      if (!shmem_writepage(of.folio)) continue;
    }
    (void)folio_free_swap(of.folio); // all its entries may have been given back meanwhile
    if (folio_test_swapcache(of.folio) && folio_test_dirty(of.folio) && !folio_mapped(of.folio))
      dirty[nr++] = of.folio;
  }
  swap_writepages(std::span(dirty, nr));
}

bool is_dirty_file(const folio* folio) {
  const address_space* mapping = folio_mapping(folio);
  return mapping != nullptr && mapping->tracks_dirty && folio_test_dirty(folio);
}

/// What is dirty of this file, from the first one on: together, in the order of the file. Writing unlocks
/// them for the time.
void unmapped_folios::pageout_file(address_space& mapping, unsigned first) {
  folio* dirty[SWAP_CLUSTER_MAX] = {};
  unsigned nr = 0;
  for (unsigned i = first; i < nr_; ++i) {
    folio* folio = folios_[i].folio;
    if (!folios_[i].locked || !is_dirty_file(folio) || folio_mapping(folio) != &mapping) continue;
    folios_[i].locked = false;
    dirty[nr++] = folio;
  }
  std::sort(dirty, dirty + nr,
            [](const folio* a, const folio* b) { return folio_index(a) < folio_index(b); });
  // the next fsync() of the file says what went wrong
  if (writeback_folios(mapping, std::span(dirty, nr)) == 0) count_vm_events(PGPGOUT, nr);
  for (isolated& of : std::span(folios_, nr_)) {
    if (of.locked || std::find(dirty, dirty + nr, of.folio) == dirty + nr || !folio_trylock(of.folio))
      continue;
    of.locked = folio_mapping(of.folio) == &mapping;
    if (!of.locked) folio_unlock(of.folio);
  }
}

void unmapped_folios::pageout() {
  const address_space* last = nullptr;
  for (unsigned i = 0; i < nr_; ++i) {
    if (!folios_[i].locked || !is_dirty_file(folios_[i].folio)) continue;
    address_space* mapping = folio_mapping(folios_[i].folio);
    if (mapping == last) continue; // dirty again: another time
    pageout_file(*mapping, i);
    last = mapping;
  }
}

u64 unmapped_folios::give_up(const isolated& of) {
  folio* folio = of.folio;
  const u64 pages = pages_of(folio);
  if (of.locked && belongs_to_swap(folio)) {
    const bool frozen = give_up_anon(folio);
    folio_unlock(folio);
    frozen ? free_unref_folio(folio) : folio_put(folio);
    return frozen ? pages : 0;
  }
  const bool dropped = of.locked && folio_mapping(folio)->tracks_dirty &&
                       remove_mapping(*folio_mapping(folio), folio) == reclaim_result::dropped;
  if (of.locked) folio_unlock(folio);
  folio_put(folio);
  return dropped ? pages : 0;
}

u64 unmapped_folios::give_up() {
  u64 pages = 0;
  for (const isolated& of : std::span(folios_, nr_))
    pages += give_up(of);
  return pages;
}

} // namespace

u64 shrink_folio_list(folio* const* folios, unsigned nr, const scan_control& sc, tlbflush_unmap_batch batch) {
  unmapped_folios unmapped;
  for (unsigned i = 0; i < nr; ++i) {
    folio* folio = folios[i];
    const bool locked = folio_trylock(folio);
    if (locked && unmap_folio(folio, sc, batch)) {
      unmapped.add(folio);
      continue;
    }
    if (locked) folio_unlock(folio);
    folio_put(folio);
  }
  // No CPU stores to what is written, or uses what somebody else gets.
  if (policy().reclaim_flushes_first) try_to_unmap_flush(batch);
  unmapped.swap_out();
  if (sc.may_writepage) unmapped.pageout();
  if (!policy().reclaim_flushes_first) try_to_unmap_flush(batch);
  const u64 pages = unmapped.give_up();
  count_vm_events(PGSTEAL, pages);
  return pages;
}

// ---- a range of an mm ------------------------------------------------------------------------------------

namespace {

/// Folios that were found in a range, with a reference to each.
struct folio_batch {
  folio* folios[SWAP_CLUSTER_MAX];
  unsigned nr = 0;

  [[nodiscard]] bool full() const { return nr == SWAP_CLUSTER_MAX; }
  void add(folio* folio) {
    folio_get(folio);
    folios[nr++] = folio;
  }
};

/// The folio of a huge entry, if it has one of its own. False: it is none.
bool isolate_pmd(const pmdp_t& pmdp, folio_batch& batch) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t pmd = pmdp_get(pmdp);
  if (!pmd_trans_huge(pmd)) return false;
  if (!pmd_has_folio(pmd)) return true;
  folio* folio = page_folio(pfn_to_page(pmd_pfn(pmd)));
  if (folio_mapcount(folio) == 1) batch.add(folio);
  return true;
}

/// The folios of a table's entries from `addr` on, until the batch is full; returns where it stopped.
vaddr_t isolate_ptes(const pmdp_t& pmdp, vaddr_t addr, vaddr_t end, folio_batch& batch) {
  pte_map_lock table(pmdp);
  if (!table) return end;
  for (; addr < end && !batch.full(); addr += PAGE_SIZE) {
    const pte_t pte = ptep_get(table.at(addr));
    if (!pte_present(pte) || pte_special(pte)) continue;
    folio* folio = page_folio(pfn_to_page(pte_pfn(pte)));
    if (!folio_test_large(folio) && folio_mapcount(folio) == 1) batch.add(folio);
  }
  return addr;
}

/// Pages of a file made of memory that nobody maps: those that its huge page has become.
void pageout_unmapped(const vm_area_struct& vma, vaddr_t start, vaddr_t end) {
  address_space& mapping = vma.vm_file.get()->mapping();
  const u64 last = linear_page_index(vma, end - PAGE_SIZE);
  for (u64 index = linear_page_index(vma, start); index <= last;) {
    folio_batch batch;
    for (; !batch.full() && index <= last; ++index) {
      folio* folio = filemap_get_next_folio(mapping, &index, last);
      if (folio == nullptr)
        index = last;
      else if (folio_test_large(folio) || folio_mapped(folio))
        folio_put(folio);
      else
        batch.folios[batch.nr++] = folio; // with the reference
    }
    shrink_folio_list(batch.folios, batch.nr);
  }
}

/// Takes the one folio apart, and drops its reference.
void split_isolated(const folio_batch& batch) {
  for (folio* folio : std::span(batch.folios, batch.nr)) {
    if (folio_trylock(folio)) {
      (void)split_folio(folio);
      folio_unlock(folio);
    }
    folio_put(folio);
  }
}

/// The part of the area that one PMD entry covers.
void pageout_pmd_range(const vm_area_struct& vma, const pmdp_t& pmdp, vaddr_t addr, vaddr_t end) {
  while (addr < end) {
    folio_batch batch;
    const bool huge = pmd_trans_huge(pmdp_get_lockless(pmdp)) && isolate_pmd(pmdp, batch);
    if (!huge) addr = isolate_ptes(pmdp, addr, end, batch);
    if (huge && end - addr != pmd_size())
      split_isolated(batch); // the rest of it is not meant
    else
      shrink_folio_list(batch.folios, batch.nr);
    if (!huge) continue;
    if (pmd_trans_huge(pmdp_get_lockless(pmdp))) return; // it stays
    // To be swapped, too, it was split. What it has become goes page by page: anonymous memory behind a
    // table, that of a file by its places there.
    if (vma_is_shmem(vma)) pageout_unmapped(vma, addr, end);
  }
}

} // namespace

int madvise_pageout(mm_struct& mm, vaddr_t start, vaddr_t end) {
  return madvise_walk_vmas(mm, start, end, [&](const vm_area_struct& vma, vaddr_t from, vaddr_t to) {
    walk_pmd_entries(mm, from, to, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
      pageout_pmd_range(vma, pmdp, addr, next);
    });
  });
}

// ---- the hand --------------------------------------------------------------------------------------------

namespace {

/// One look of the hand for what is old enough.
struct lru_scan {
  pglist_data& pgdat;
  scan_control sc;
  u8 min_age;              ///< what is taken back
  bool candidates = false; ///< something was met that can be taken back, now or later
  tlbflush_unmap_batch young{};
};

/// Whether a folio with these flags can be taken back. A page that is about to be mapped first has none of
/// them, and one of a file has its mapping before it has anything else.
bool evictable(const page& page, u64 flags, const scan_control& sc, bool swap) {
  if ((flags & (BIT(PG_writeback) | BIT(PG_locked) | BIT(PG_table))) != 0) return false;
  if ((flags & BIT(PG_anon)) != 0)
    return (sc.may_swap && (swap || (flags & BIT(PG_swapcache)) != 0)) || (flags & BIT(PG_swapbacked)) == 0;
  if ((flags & BIT(PG_swapcache)) != 0) return sc.may_swap;
  return page.mapping.get() != 0 && ((flags & BIT(PG_swapbacked)) == 0 || (sc.may_swap && swap));
}

/// Whether a locked folio is what it looked like, and no device uses it.
bool folio_on_lru(folio* folio) {
  if (folio_maybe_dma_pinned(folio)) return false;
  if (folio_test_anon(folio)) return folio_mapped(folio) || folio_test_swapcache(folio);
  const address_space* mapping = folio_mapping(folio);
  if (mapping == nullptr) return folio_test_swapcache(folio);
  return mapping->tracks_dirty || shmem_mapping(*mapping);
}

/// Looks at a frame: the folio that begins there, with a reference, if it is old enough.
folio* isolate_folio(lru_scan& scan, pfn_t pfn, bool swap) {
  page* page = pfn_to_page(pfn);
  if (atomic_read(page->_refcount) <= 0) return nullptr;
  if (!evictable(*page, READ_ONCE(page->flags), scan.sc, swap)) return nullptr;
  folio* folio = page_folio(page);
  if (&folio->page != page || !folio_try_get(folio)) return nullptr;
  bool old = false;
  // Again with the reference: before a folio is set up its flags are written as a whole, and a lock would be
  // overwritten. Pairs with the release of the count in prep_new_page().
  if (evictable(*page, READ_ONCE(page->flags), scan.sc, swap) && folio_trylock(folio)) {
    if (folio_on_lru(folio)) {
      scan.candidates = true;
      std::atomic<u8>& age = scan.pgdat.age[pfn];
      const u8 was = age.load(std::memory_order_relaxed);
      const u8 now = folio_referenced(folio, scan.young) ? 0 : std::min<u8>(was + 1, MAX_AGE);
      if (now != was) age.store(now, std::memory_order_relaxed);
      if (now == 0 && folio_test_swapcache(folio) && vm_swap_full()) (void)folio_free_swap(folio);
      old = now >= scan.min_age;
    }
    folio_unlock(folio);
  }
  if (old) return folio;
  folio_put(folio);
  return nullptr;
}

/// How many frames the hand passes before what it made old is flushed.
constexpr u64 FRAMES_PER_FLUSH = 512;

/// Moves the hand on, at most `*frames`, until the batch is full.
unsigned isolate_folios(lru_scan& scan, u64* frames, folio** batch) {
  const bool swap = swap_has_room();
  unsigned nr = 0;
  u64 looked = 0;
  while (nr < SWAP_CLUSTER_MAX && looked < *frames && looked < FRAMES_PER_FLUSH) {
    ++looked;
    const u64 at = scan.pgdat.hand.fetch_add(1, std::memory_order_relaxed);
    if (folio* folio = isolate_folio(scan, 1 + at % (scan.pgdat.nr_frames - 1), swap)) batch[nr++] = folio;
  }
  *frames -= looked;
  count_vm_events(PGSCAN, looked);
  return nr;
}

/// Up to a round of the hand.
u64 shrink_round(lru_scan& scan, u64 nr_to_reclaim) {
  u64 reclaimed = 0;
  for (u64 frames = scan.pgdat.nr_frames; frames > 0 && reclaimed < nr_to_reclaim;) {
    folio* batch[SWAP_CLUSTER_MAX];
    const unsigned nr = isolate_folios(scan, &frames, batch);
    // one flush for what goes and for what was made old
    reclaimed += shrink_folio_list(batch, nr, scan.sc, std::exchange(scan.young, {}));
  }
  return reclaimed;
}

} // namespace

u64 shrink_node(pglist_data& pgdat, u64 nr) {
  u64 reclaimed = 0;
  for (unsigned age = MAX_AGE + 1; age > 0 && reclaimed < nr; --age) {
    lru_scan scan{.pgdat = pgdat, .sc = {}, .min_age = static_cast<u8>(age - 1)};
    reclaimed += shrink_round(scan, nr - reclaimed);
    if (!scan.candidates) break;
  }
  return reclaimed;
}

namespace {

/// Marks the thread as one that takes memory back: what it allocates for that must not begin it again
/// (PF_MEMALLOC).
class memalloc_scope {
 public:
  memalloc_scope() : outermost_(!std::exchange(reclaiming_, true)) {}
  ~memalloc_scope() {
    if (outermost_) reclaiming_ = false;
  }
  memalloc_scope(const memalloc_scope&) = delete;
  memalloc_scope& operator=(const memalloc_scope&) = delete;
  [[nodiscard]] bool outermost() const { return outermost_; }

 private:
  static inline thread_local bool reclaiming_ = false;
  const bool outermost_;
};

} // namespace

bool try_to_free_pages() {
  pglist_data* pgdat = machine().pgdat;
  if (pgdat == nullptr || raw_smp_processor_id() == NO_CPU) return false;
  const memalloc_scope scope;
  if (!scope.outermost()) return false;
  count_vm_events(ALLOCSTALL);
  return shrink_node(*pgdat, SWAP_CLUSTER_MAX) > 0 || deferred_split_scan() > 0;
}

// ---- kswapd ----------------------------------------------------------------------------------------------

kswapd_settings kswapd_wait::tuning() const {
  std::lock_guard guard(lock_);
  return tuning_;
}

bool kswapd_wait::tune(const kswapd_settings& how) {
  if (how.low > how.high || how.high >= 1000) return false;
  std::lock_guard guard(lock_);
  tuning_ = how;
  return true;
}

void kswapd_wait::wake() {
  if (wakeup_.exchange(true)) return;
  { std::lock_guard guard(lock_); } // nobody is between looking and waiting
  changed_.notify_all();
}

void kswapd_wait::wait(const std::stop_token& stop, bool vain) {
  std::unique_lock guard(lock_);
  if (vain) changed_.wait_for(guard, stop, std::chrono::milliseconds(100), [] { return false; });
  changed_.wait(guard, stop, [this] { return wakeup_.load(); });
  wakeup_ = false;
}

void wakeup_kswapd(pglist_data& pgdat) {
  if (pgdat.kswapd_runs.load(std::memory_order_relaxed)) pgdat.kswapd.wake();
}

bool balance_pgdat(pglist_data& pgdat, const std::stop_token& stop) {
  const memalloc_scope scope;
  const zone& zone = *machine().zone;
  const u64 enough = zone.nr_frames() * pgdat.kswapd.tuning().high / 1000;
  count_vm_events(PAGEOUTRUN);
  while (!stop.stop_requested()) {
    const u64 free = zone.nr_free();
    if (free >= enough) return true;
    if (shrink_node(pgdat, std::min<u64>(enough - free, u64{8} * SWAP_CLUSTER_MAX)) == 0) return false;
  }
  return true;
}

} // namespace racewalk::inline RACEWALK_BACKEND
