// Which entries map a folio.
//
// A folio of anonymous memory is mapped at one place: mapping is its mm and index the address of its first
// page. One of a file may be mapped by every area that maps the file: mapping is the file's address_space,
// whose i_mmap has the areas, and index its first page there. The counts say by how many entries: _mapcount
// of each page for PTEs, _entire_mapcount of the head for a huge PMD, both minus 1. They change under the
// lock of the table that holds the entry.
#pragma once

#include <algorithm>

#include "mm/mm_types.h"
#include "mm/page_ref.h"
#include "mm/tlbbatch.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A folio that nobody else can reach yet is about to be mapped at `addr`: by a PTE, or if large by a huge
/// PMD.
void folio_add_new_anon_rmap(folio* folio, mm_struct& mm, vaddr_t addr);

/// A PTE that maps this page, which has a reference for it, is about to be put in. Caller holds the ptl.
void folio_add_rmap_pte(page* page);
/// A PTE that maps this page has been taken out. Caller holds the ptl.
void folio_remove_rmap_pte(page* page);
/// A huge PMD that maps this folio, which has a reference for it, is about to be put in. Caller holds the
/// pml.
void folio_add_rmap_pmd(folio* folio);
/// A huge PMD that maps this folio has been taken out. Caller holds the pml.
void folio_remove_rmap_pmd(folio* folio);
/// A huge PMD is about to be replaced by PTEs that map the same pages. Caller holds the pml.
void folio_split_rmap(folio* folio);

/// By how many entries the folio's pages are mapped. Exact while the caller keeps entries from changing.
s32 folio_mapcount(folio* folio);

/// Whether an entry maps a page of the folio.
inline bool folio_mapped(folio* folio) { return folio_mapcount(folio) > 0; }

/// Whose anonymous memory the folio is; null if it was never mapped.
inline mm_struct* folio_anon_mm(const folio* folio) {
  return reinterpret_cast<mm_struct*>(static_cast<uintptr_t>(folio->page.mapping.get()));
}

/// An entry that maps `page` has been invalidated: ends its exclusive use, so that it may be replaced by one
/// that grants less. False if the folio may be pinned; then the entry must be restored (M33). Caller holds
/// the lock of the entry.
[[nodiscard]] bool folio_try_share_anon_rmap(folio* folio, page* page);

/// Which counter an entry for the folio adds to: of a page of a file, of any page.
inline mm_counter mm_counter_file(const folio* folio) {
  return folio_test_swapbacked(folio) ? MM_SHMEMPAGES : MM_FILEPAGES;
}
inline mm_counter mm_counter_of(const folio* folio) {
  const u64 flags = READ_ONCE(folio->page.flags);
  if ((flags & BIT(PG_anon)) != 0) return MM_ANONPAGES;
  return (flags & BIT(PG_swapbacked)) != 0 ? MM_SHMEMPAGES : MM_FILEPAGES;
}

/// Calls visit(mm, addr, page, nr) for each range of addresses at which `nr` pages of the folio, from `page`
/// on, may be mapped: whether they are, the entries tell. Their tables stay while visit runs. The caller
/// holds the folio lock, or otherwise keeps the folio where it belongs.
template <class Visit> void rmap_walk(folio* folio, Visit&& visit) {
  const u64 pages = folio_test_large(folio) ? folio_nr_pages(folio) : 1;
  if (!folio_test_anon(folio)) {
    if (folio->page.mapping.get() == 0) return; // of no file, or of none any more
    auto& mapping = *reinterpret_cast<address_space*>(static_cast<uintptr_t>(folio->page.mapping.get()));
    const u64 first = folio->page.index.get();
    read_guard i_mmap(mapping.i_mmap_rwsem);
    mapping.i_mmap.for_each(first, first + pages - 1, [&](vm_area_struct& vma) {
      const u64 from = std::max(first, vma.vm_pgoff);
      const u64 to = std::min(first + pages - 1, vma.last_pgoff());
      visit(*vma.vm_mm, vma.vm_start + ((from - vma.vm_pgoff) << PAGE_SHIFT), folio_page(folio, from - first),
            to - from + 1);
    });
    return;
  }
  mm_struct& mm = *folio_anon_mm(folio);
  const vaddr_t start = folio->page.index.get();
  read_guard anon_vma(mm.existing_region(start)->anon_vma_lock);
  visit(mm, start, &folio->page, pages);
}

/// Makes every entry that maps the folio read-only and clean, flushing what held more, so that the next store
/// faults. Returns whether one was dirty or writable. Caller holds the folio lock and keeps the mm alive
/// (M16).
///
/// Full barrier between the change of an entry and the return: the caller looks for pins next.
bool folio_mkclean(folio* folio);

/// Takes out every entry that maps a page of the folio, which is a file's; their flush is put off, and comes
/// before the folio is freed. The folio is dirty if one of them was. Caller holds the folio lock and a
/// reference.
void try_to_unmap(folio* folio, tlbflush_unmap_batch& batch);

} // namespace racewalk::inline RACEWALK_BACKEND
