#include "mm/vmscan.h"

#include "mm/filemap.h"
#include "mm/madvise.h"
#include "mm/page_lock.h"
#include "mm/pagewalk.h"
#include "mm/rmap.h"
#include "mm/tlbbatch.h"

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
  folio->page.mapping.set(0);
  atomic_sub(mapping.nrpages, static_cast<s64>(nr));
  folio_ref_unfreeze(folio, 1);
  return result;
}

reclaim_result reclaim_folio(folio* folio) {
  if (!folio_trylock(folio)) return reclaim_result::busy;
  reclaim_result result = reclaim_result::busy;
  address_space* mapping = folio_mapping(folio);
  // what memory alone holds has nowhere to go
  if (mapping != nullptr && mapping->tracks_dirty && !folio_test_writeback(folio)) {
    tlbflush_unmap_batch batch;
    try_to_unmap(folio, batch);
    try_to_unmap_flush(batch); // no CPU reads or writes the page any more
    result = remove_mapping(*mapping, folio);
  }
  folio_unlock(folio);
  return result;
}

// ---- folios of any kind ----------------------------------------------------------------------------------

namespace {

/// Whether nobody needs the folio's content, if nobody stores to it.
bool folio_test_lazyfree(const folio* folio) {
  return !folio_test_swapbacked(folio) && !folio_test_swapcache(folio);
}

/// Takes back one folio that was freed lazily. True: its count is frozen, and it is to be freed once `batch`
/// is flushed. Else the reference is gone.
bool shrink_anon_folio(folio* folio, tlbflush_unmap_batch& batch) {
  bool gone = false;
  if (folio_trylock(folio)) {
    // Frozen by its last reference, the caller's: nobody has found it since its entries went (M3).
    gone = folio_test_lazyfree(folio) && try_to_unmap(folio, batch) && folio_ref_freeze(folio, 1);
    folio_unlock(folio);
  }
  if (!gone) folio_put(folio);
  return gone;
}

} // namespace

u64 reclaim_folios(folio* const* folios, unsigned nr) {
  const auto pages_of = [](const folio* folio) -> u64 {
    return folio_test_large(folio) ? folio_nr_pages(folio) : 1;
  };
  tlbflush_unmap_batch batch;
  folio* gone[SWAP_CLUSTER_MAX];
  unsigned nr_gone = 0;
  u64 pages = 0;
  for (unsigned i = 0; i < nr; ++i) {
    if (folio_test_anon(folios[i])) {
      if (shrink_anon_folio(folios[i], batch)) gone[nr_gone++] = folios[i];
    } else {
      if (reclaim_folio(folios[i]) == reclaim_result::dropped) pages += pages_of(folios[i]);
      folio_put(folios[i]);
    }
  }
  try_to_unmap_flush(batch); // before anybody else gets the memory
  for (unsigned i = 0; i < nr_gone; ++i) {
    pages += pages_of(gone[i]);
    free_unref_folio(gone[i]);
  }
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

/// The folio of a huge entry. False: it is none.
bool isolate_pmd(const pmdp_t& pmdp, folio_batch& batch) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t pmd = pmdp_get(pmdp);
  if (!pmd_trans_huge(pmd)) return false;
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
    if (!pte_present(pte)) continue;
    folio* folio = page_folio(pfn_to_page(pte_pfn(pte)));
    if (!folio_test_large(folio) && folio_mapcount(folio) == 1) batch.add(folio);
  }
  return addr;
}

} // namespace

int madvise_pageout(mm_struct& mm, vaddr_t start, vaddr_t end) {
  return madvise_walk_vmas(mm, start, end, [&](vm_area_struct&, vaddr_t from, vaddr_t to) {
    walk_pmd_entries(mm, from, to, [](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
      while (addr < next) {
        folio_batch batch;
        if (pmd_trans_huge(pmdp_get_lockless(pmdp)) && isolate_pmd(pmdp, batch))
          addr = next;
        else
          addr = isolate_ptes(pmdp, addr, next, batch);
        reclaim_folios(batch.folios, batch.nr);
      }
    });
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
