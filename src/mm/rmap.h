// Which entries map a folio.
//
// A folio of anonymous memory is mapped at one address, in each address space that has it: mapping is its
// anon_vma, which knows them (anon_vma.h), and index the address of its first page. One of a file may be
// mapped by every area that maps the file: mapping is the file's address_space, whose i_mmap has the areas,
// and index its first page there. One that stands for equal pages may be mapped anywhere: mapping is its
// stable node, which has an anon_vma and an index for each place (ksm.h). The counts say by how many entries:
// _mapcount of each page for PTEs, _entire_mapcount of the head for huge PMDs, both minus 1. They change
// under the lock of the table that holds the entry.
//
// PG_anon_exclusive of a page says that exactly one entry maps it, which may let stores through, and that a
// pin of it may be relied on (M33): what the mm and the pin's holder write, they see both and nobody else. It
// is cleared only under the lock of that entry, after a look for pins that no new pin can escape.
#pragma once

#include <algorithm>

#include "mm/anon_vma.h"
#include "mm/ksm.h"
#include "mm/mm_types.h"
#include "mm/page_ref.h"
#include "mm/pgalloc.h"
#include "mm/tlbbatch.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// A folio that nobody else can reach yet is about to be mapped by the area at `addr`: by a PTE, or if large
/// by a huge PMD.
void folio_add_new_anon_rmap(folio* folio, const vm_area_struct& vma, vaddr_t addr);

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

/// How many references that makes for a folio of anonymous memory, with the swap cache's if it is there.
s32 folio_expected_ref_count(folio* folio);

/// Whether an entry maps a page of the folio.
inline bool folio_mapped(folio* folio) { return folio_mapcount(folio) > 0; }

/// Who may map the folio, which is not PG_ksm; null if it was never mapped. Caller holds the folio lock.
inline anon_vma* folio_anon_vma(const folio* folio) {
  return reinterpret_cast<anon_vma*>(static_cast<uintptr_t>(folio->page.mapping.get()));
}

/// A PTE that maps `page` is about to be copied for another mm: ends the exclusive use of the page and counts
/// the new mapping, which has a reference. False if the page may be pinned, which a sharer must not be:
/// nothing has changed, and the other mm needs a copy of its own. Caller holds the ptls of both entries and
/// has made src.write_protect_seq odd (M35).
[[nodiscard]] bool folio_try_dup_anon_rmap_pte(folio* folio, page* page, const mm_struct& src);
/// The same for a huge PMD, under both pmls.
[[nodiscard]] bool folio_try_dup_anon_rmap_pmd(folio* folio, const mm_struct& src);

/// The folio, of which the area's mm has the only mapping, is from now on looked for there first. Caller
/// holds the folio lock and the lock of the entry.
void folio_move_anon_rmap(folio* folio, const vm_area_struct& vma);

/// What an entry for `page` may get of an area's rights: a page that other mms have too is not stored to, but
/// copied by the fault (do_wp_page()).
inline pgprot_t rights_to_page(pgprot_t prot, page* page) {
  if (is_zero_page(page)) prot.write = false;
  if (prot.write && folio_test_anon(page_folio(page))) prot.write = PageAnonExclusive(page);
  return prot;
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

/// A part of a folio, of pages [first, first + nr), and the address where an area has it.
struct rmap_place {
  vaddr_t address;
  u64 first;
  u64 nr;
};

/// The part of pages [first, last] that the area maps, some of which it does.
inline rmap_place rmap_place_in(const vm_area_struct& vma, u64 first, u64 last) {
  const u64 from = std::max(first, vma.vm_pgoff.get());
  const u64 to = std::min(last, vma.last_pgoff());
  return {vma.vm_start.get() + ((from - vma.vm_pgoff.get()) << PAGE_SHIFT), from - first, to - from + 1};
}

/// rmap_walk() of a folio of a file.
template <class Visit> void rmap_walk_file(folio* folio, u64 nr, Visit& visit) {
  if (folio->page.mapping.get() == 0) return; // of no file, or of none any more
  auto& mapping = *reinterpret_cast<address_space*>(static_cast<uintptr_t>(folio->page.mapping.get()));
  const u64 first = folio->page.index.get();
  const u64 last = first + nr - 1;
  read_guard i_mmap(mapping.i_mmap_rwsem);
  mapping.i_mmap.for_each(first, last,
                          [&](vm_area_struct& vma) { visit(vma, rmap_place_in(vma, first, last)); });
}

/// rmap_walk() of `nr` pages of anonymous memory, from index `first` on, whose anon_vma this is.
template <class Visit> void rmap_walk_anon(anon_vma& anon, u64 first, u64 nr, Visit&& visit) {
  const u64 last = first + nr - 1;
  const vaddr_t end = (last + 1) << PAGE_SHIFT;
  read_guard linked(anon.rwsem);
  for (const anon_vma_chain* chain = anon.first; chain != nullptr; chain = chain->next) {
    mmap_region& region = *chain->region;
    read_guard areas(region.anon_vma_lock);
    const auto visit_part = [&](vm_area_struct& vma) { visit(vma, rmap_place_in(vma, first, last)); };
    for (vaddr_t at = first << PAGE_SHIFT; at < end;) {
      vm_area_struct* vma = region.areas.find_vma(at);
      if (vma == nullptr || vma->vm_start.get() >= end) break;
      at = vma->vm_end.get();
      if ((vma->vm_flags.get() & VM_SHARED) == 0 && !vma_is_displaced(*vma)) visit_part(*vma);
    }
    region.displaced.for_each(first, last, visit_part);
  }
}

/// rmap_walk() of a folio that stands for others.
template <class Visit> void rmap_walk_ksm(folio* folio, Visit& visit) {
  const ksm_stable_node* node = folio_stable_node(folio);
  if (node == nullptr) return; // it has been moved
  for (const ksm_rmap_item* item = node->items.get(); item != nullptr; item = item->next.get())
    rmap_walk_anon(*item->anon.get(), item->index.get(), 1, visit);
}

/// Calls visit(vma, place) for every area that may map some of the `nr` pages from the folio's first on, and
/// the part that it may map. While it is visited the area stays, and so do the page tables that cover it;
/// whether they map the folio is for the visitor to see, under their locks. The caller holds the folio lock,
/// or otherwise keeps the folio where it belongs.
///
/// An area that fork has linked is visited after the one that it copies, and one that mremap moves pages to,
/// in another region, after the one that they come from (anon_vma_clone()). Of a folio that stands for others
/// an area may be visited more than once.
template <class Visit> void rmap_walk(folio* folio, u64 nr, Visit&& visit) {
  const u64 flags = READ_ONCE(folio->page.flags);
  if ((flags & BIT(PG_ksm)) != 0)
    rmap_walk_ksm(folio, visit);
  else if ((flags & BIT(PG_anon)) != 0)
    rmap_walk_anon(*folio_anon_vma(folio), folio->page.index.get(), nr, visit);
  else
    rmap_walk_file(folio, nr, visit);
}
template <class Visit> void rmap_walk(folio* folio, Visit&& visit) {
  rmap_walk(folio, folio_test_large(folio) ? folio_nr_pages(folio) : 1, visit);
}

/// Visits the entries that may map such a part (page_vma_mapped_walk()): for each page huge(pmdp), which says
/// whether a huge entry maps the folio there, or that there is no need to go on; and small(pmdp, addr, n)
/// with the place of the nth page of the folio in the table.
template <class Huge, class Small>
void for_each_entry(const mm_struct& mm, const rmap_place& at, Huge&& huge, Small&& small) {
  for (u64 i = 0; i < at.nr; ++i) {
    const vaddr_t addr = at.address + i * PAGE_SIZE;
    const pmd_lookup found = find_pmd(mm, addr);
    if (!found.found) continue;
    if (huge(found.pmdp)) return;
    small(found.pmdp, addr, at.first + i);
  }
}

/// Makes every entry that maps the folio read-only and clean, flushing what held more, so that the next store
/// faults. Returns whether one was dirty or writable. Caller holds the folio lock (M16).
///
/// Full barrier between the change of an entry and the return: the caller looks for pins next.
bool folio_mkclean(folio* folio);

/// Whether a program has used the folio since this was asked last: no entry is young afterwards. Until the
/// caller has flushed `batch`, who has it in a TLB may use it without making it young again. Caller holds the
/// folio lock.
bool folio_clear_young_entries(folio* folio, tlbflush_unmap_batch& batch);
/// The same for reclaim, for which two calls that have used it (folio_mark_accessed()) count, too.
bool folio_referenced(folio* folio, tlbflush_unmap_batch& batch);
/// read() or write() has used the folio. Once is no sign that it is needed again: files are read through.
void folio_mark_accessed(folio* folio);
/// Its uses up to now do not count for reclaim, but for those that entries tell of.
void folio_deactivate(folio* folio);

/// Takes out every entry that maps a page of the folio, which is a file's, in the swap cache, or was freed
/// lazily (vmscan.h). Their flush is put off: until the caller has flushed `batch`, CPUs may go on using the
/// folio. The folio is dirty if one of the entries was. False if an entry stays: what was freed lazily was
/// stored to, or somebody else holds it; what is to be swapped is pinned. Caller holds the folio lock and the
/// only reference that is not an entry's or a cache's.
bool try_to_unmap(folio* folio, tlbflush_unmap_batch& batch);

} // namespace racewalk::inline RACEWALK_BACKEND
