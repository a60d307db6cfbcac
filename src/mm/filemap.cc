#include "mm/filemap.h"

#include <algorithm>
#include <cerrno>

#include "mm/file_fault.h"
#include "mm/highmem.h"
#include "mm/page_alloc.h"
#include "mm/rmap.h"
#include "mm/shmem.h"
#include "mm/vmscan.h"
#include "mm/workingset.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- finding ---------------------------------------------------------------------------------------------

namespace {

/// A reference to the folio of an entry; null if it is frozen, to be taken out or replaced, which the entry
/// will tell, or if the entry has changed.
folio* try_get_entry(const address_space& mapping, u64 index, xa_entry entry) {
  folio* folio = entry.folio();
  if (!folio_try_get(folio)) return nullptr;
  // The reference, then the entry again: who has taken the folio out of the cache and then freezes its count
  // either meets this reference or has changed the entry (M3). Pairs with the freeze in __remove_mapping()
  // and with the stores to i_pages.
  if (mapping.i_pages.load(index).same(entry)) return folio;
  folio_put(folio);
  return nullptr;
}

} // namespace

xa_entry filemap_get_entry(address_space& mapping, u64 index) {
  for (;;) {
    const xa_entry entry = mapping.i_pages.load(index);
    if (entry.none() || entry.is_swap()) return entry;
    if (!entry.is_retry() && try_get_entry(mapping, index, entry) != nullptr) return entry;
    cpu_relax(); // whoever is at work there puts a folio there, or gives the place back
  }
}

folio* filemap_get_folio(address_space& mapping, u64 index) {
  const xa_entry entry = filemap_get_entry(mapping, index);
  return entry.is_folio() ? entry.folio() : nullptr;
}

xa_entry filemap_get_next_entry(address_space& mapping, u64* index, u64 last) {
  while (*index <= last) {
    const xa_entry entry = mapping.i_pages.find(index, last);
    if (entry.none() || entry.is_swap()) return entry;
    if (!entry.is_retry() && try_get_entry(mapping, *index, entry) != nullptr) return entry;
    cpu_relax(); // as above
  }
  return {};
}

folio* filemap_get_next_folio(address_space& mapping, u64* index, u64 last) {
  for (;; ++*index) {
    const xa_entry entry = filemap_get_next_entry(mapping, index, last);
    if (entry.is_folio()) return entry.folio();
    if (entry.none() || *index == last) return nullptr;
  }
}

// ---- adding and removing ---------------------------------------------------------------------------------

int filemap_replace_entry(address_space& mapping, u64 index, xa_entry expected, folio* folio) {
  folio->page.index.set(index);
  folio->page.mapping.set(reinterpret_cast<uintptr_t>(&mapping));
  folio_get(folio); // the cache's
  int error = 0;
  {
    spin_guard xa_lock(mapping.i_pages.xa_lock);
    if (!mapping.i_pages.reserve(index))
      error = -ENOMEM;
    else if (!mapping.i_pages.load(index).same(expected))
      error = -EEXIST;
    else
      mapping.i_pages.store(index, xa_entry::of(folio));
  }
  if (error == 0) {
    // A full barrier, too: the folio in the cache, then the size of the file, which the caller reads next.
    // Pairs with the one between setting the size and looking for folios in truncate_setsize().
    atomic_inc_return(mapping.nrpages);
    return 0;
  }
  folio->page.mapping.set(0);
  folio_put(folio);
  return error;
}

int filemap_add_folio(address_space& mapping, folio* folio, u64 index) {
  const bool locked = folio_trylock(folio);
  VM_BUG_ON(!locked, "INV-REF", "somebody has locked a new folio");
  const int error = filemap_replace_entry(mapping, index, {}, folio);
  if (error == 0)
    workingset_refault(folio, &mapping, index);
  else
    folio_unlock(folio);
  return error;
}

void filemap_remove_folio(folio* folio) {
  address_space& mapping = *folio_mapping(folio);
  const u64 nr = folio_test_large(folio) ? folio_nr_pages(folio) : 1;
  VM_BUG_ON(folio_mapped(folio), "INV-REF", "a page leaves the page cache while it is mapped");
  {
    spin_guard xa_lock(mapping.i_pages.xa_lock);
    for (u64 i = 0; i < nr; ++i)
      mapping.i_pages.store(folio_index(folio) + i, {});
    folio->page.mapping.set(0);
  }
  atomic_sub(mapping.nrpages, static_cast<s64>(nr));
  folio_put_refs(folio, static_cast<s32>(nr));
}

// ---- filling ---------------------------------------------------------------------------------------------

namespace {

/// The flags of a page of this file. Memory is its own backing: such pages are swapped, not written back.
u64 cache_flags(const address_space& mapping) { return mapping.a_ops == nullptr ? BIT(PG_swapbacked) : 0; }

/// A new folio in the cache, locked: or -EEXIST, -ENOMEM.
filemap_result filemap_create_folio(address_space& mapping, u64 index) {
  const bool zeroed = mapping.a_ops == nullptr || mapping.a_ops->read_pages == nullptr;
  page* page = alloc_page(zeroed ? GFP_ZERO : GFP_KERNEL);
  if (page == nullptr) return {nullptr, -ENOMEM};
  folio* folio = page_folio(page);
  atomic_or(folio->page.flags, cache_flags(mapping) | (zeroed ? BIT(PG_uptodate) : 0));
  int error = filemap_add_folio(mapping, folio, index);
  // the tree's nodes are allocated under its lock, where nothing is taken back
  if (error == -ENOMEM && try_to_free_pages()) error = filemap_add_folio(mapping, folio, index);
  if (error != 0) {
    folio_put(folio);
    return {nullptr, error};
  }
  return {folio, 0};
}

/// The folio at the index, locked and still part of the file.
filemap_result filemap_lock_folio(address_space& mapping, u64 index, fgp how) {
  for (;;) {
    const xa_entry entry = filemap_get_entry(mapping, index);
    if (!entry.is_folio()) {
      if (entry.none() && how != fgp::creat) return {nullptr, -ENOENT};
      const filemap_result made =
          entry.is_swap() ? shmem_swapin_folio(mapping, index, entry) : filemap_create_folio(mapping, index);
      if (made.error != -EEXIST) return made;
      cpu_relax(); // another CPU was faster, or keeps the place shut for a while
      continue;
    }
    folio* folio = entry.folio();
    folio_lock(folio);
    if (folio_mapping(folio) == &mapping) return {folio, 0};
    folio_unlock(folio); // truncated while this waited for the lock
    folio_put(folio);
  }
}

int filemap_read_folio(address_space& mapping, folio* folio) {
  page* page = &folio->page;
  // what memory alone holds, which has no a_ops, is always up to date
  // NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
  const int error = mapping.a_ops->read_pages(mapping, folio_index(folio), &page, 1);
  if (error == 0) folio_set_uptodate(folio);
  return error;
}

} // namespace

filemap_result read_mapping_folio(address_space& mapping, u64 index, fgp how) {
  if (index >= i_size_pages(mapping.host)) return {nullptr, 0};
  const filemap_result found = filemap_lock_folio(mapping, index, how);
  if (found.error != 0) return found;
  int error = 0;
  if (!folio_test_uptodate(found.folio))
    error = how == fgp::uptodate ? -EAGAIN : filemap_read_folio(mapping, found.folio);
  // Under the folio lock: truncation changes the size first and then locks each folio that is beyond, so it
  // takes this one out if the size read here was the old one.
  if (error == 0 && index < i_size_pages(mapping.host)) return found;
  folio_unlock(found.folio);
  folio_put(found.folio);
  return {nullptr, error};
}

filemap_result filemap_get_page(file& f, u64 index, const ra_request& request, fgp how) {
  address_space& mapping = f.mapping();
  // what memory alone holds is never read
  if (mapping.a_ops == nullptr) return read_mapping_folio(mapping, index, how);
  const bool reads_ahead = mapping.ra_pages != 0;
  if (reads_ahead && how == fgp::creat)
    page_cache_async_ra(f, index, request); // before this waits for the page
  const filemap_result cached = read_mapping_folio(mapping, index, fgp::uptodate);
  if (cached.error == 0) {
    if (reads_ahead && request.mapped) filemap_fault_hit(f);
    return cached;
  }
  // From the reading to the folio lock under which it becomes part of the file: who punches a hole meanwhile
  // would not find it (M42).
  read_guard invalidate_lock(mapping.invalidate_lock);
  if (reads_ahead && how == fgp::creat) page_cache_sync_ra(f, index, request);
  return read_mapping_folio(mapping, index, how);
}

filemap_result filemap_write_begin(address_space& mapping, u64 index, u64 from, u64 to) {
  const filemap_result found = filemap_lock_folio(mapping, index, fgp::creat);
  if (found.error != 0 || folio_test_uptodate(found.folio)) return found;
  int error = 0;
  if (index >= i_size_pages(mapping.host))
    clear_highpage(&found.folio->page);
  else if (from != 0 || to != PAGE_SIZE)
    error = filemap_read_folio(mapping, found.folio);
  if (error == 0) return found;
  folio_unlock(found.folio);
  folio_put(found.folio);
  return {nullptr, error};
}

namespace {

bool has_dirty_mark(const address_space& mapping, folio* folio) {
  return (mapping.i_pages.load(folio_index(folio)).val & xa_entry::DIRTY) != 0;
}

} // namespace

bool folio_mark_dirty(folio* folio) {
  const bool was_dirty = folio_test_set_dirty(folio);
  address_space* mapping = folio_mapping(folio);
  if (mapping == nullptr || !mapping->tracks_dirty) return !was_dirty;
  // Who made it dirty may not have come to the mark yet: writeback does so when it leaves a folio dirty,
  // which it has not locked. An fsync() of the caller's would not find the folio (S2.11).
  if (was_dirty && (!policy().dirty_checks_mark || has_dirty_mark(*mapping, folio))) return false;
  spin_guard xa_lock(mapping->i_pages.xa_lock);
  if (folio_mapping(folio) == mapping && folio_test_dirty(folio)) // not truncated meanwhile, nor written
    mapping->i_pages.set_mark(folio_index(folio), xa_entry::DIRTY);
  return !was_dirty;
}

// ---- faults ----------------------------------------------------------------------------------------------

vm_fault_folio filemap_fault(const vm_area_struct& vma, u64 index, fgp how) {
  const ra_request request{.vm_flags = vma.vm_flags.get(), .mapped = true};
  const filemap_result found = filemap_get_page(*vma.vm_file.get(), index, request, how);
  if (found.folio != nullptr || found.error == -ENOENT) return {fault_result::handled, found.folio};
  return {found.error == -ENOMEM ? fault_result::oom : fault_result::sigbus, nullptr};
}

int folio_mkwrite(folio* folio) {
  address_space& mapping = *folio_mapping(folio);
  if (mapping.a_ops->page_mkwrite != nullptr)
    if (const int error = mapping.a_ops->page_mkwrite(mapping, folio)) return error;
  // Dirty before any entry is writable: while one is, writeback knows of the folio (M17).
  folio_mark_dirty(folio);
  if (READ_ONCE(mapping.stable_writes)) folio_wait_writeback(folio);
  return 0;
}

fault_result filemap_page_mkwrite(folio* folio) {
  const int error = folio_mkwrite(folio);
  if (error == 0) return fault_result::handled;
  return error == -ENOMEM ? fault_result::oom : fault_result::sigbus;
}

namespace {

/// The folio at the index if it can be mapped at once: locked, with a reference. It waits for nobody: the
/// caller has the ptl, which who is at work on the folio may need.
folio* next_uptodate_folio(address_space& mapping, u64 index) {
  const xa_entry entry = mapping.i_pages.load(index);
  folio* folio = entry.is_folio() ? try_get_entry(mapping, index, entry) : nullptr;
  if (folio == nullptr) return nullptr;
  // who is to read more must come by a fault
  const bool marked = mapping.ra_pages != 0 && folio_test_readahead(folio);
  if (!marked && folio_trylock(folio)) {
    if (folio_mapping(folio) == &mapping && folio_test_uptodate(folio) && index < i_size_pages(mapping.host))
      return folio;
    folio_unlock(folio);
  }
  folio_put(folio);
  return nullptr;
}

/// What a fault at `addr` may map besides: a window of so many pages, aligned, inside the area and the table.
std::pair<vaddr_t, vaddr_t> fault_around_window(const vm_area_struct& vma, vaddr_t addr) {
  const u64 bytes = u64{policy().fault_around_pages} * PAGE_SIZE;
  const vaddr_t window = addr & ~(bytes - 1);
  const vaddr_t table = addr & pmd_mask();
  return {std::max({window, table, vma.vm_start.get()}),
          std::min({window + bytes, table + pmd_size(), vma.vm_end.get()})};
}

} // namespace

bool filemap_map_pages(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp) {
  address_space& mapping = vma.vm_file.get()->mapping();
  const auto [start, end] = fault_around_window(vma, addr);
  if (end - start <= PAGE_SIZE) return false; // the fault itself will do
  bool mapped = false;
  pte_map_lock table(pmdp);
  if (!table) return false;
  for (vaddr_t at = start; at < end; at += PAGE_SIZE) {
    const ptep_t ptep = table.at(at);
    if (!pte_none(ptep_get(ptep))) continue;
    const u64 index = linear_page_index(vma, at);
    folio* folio = next_uptodate_folio(mapping, index);
    if (folio == nullptr) continue;
    set_file_pte(vma, at, ptep, folio_file_page(folio, index), FAULT_FLAG_NONE); // has the reference
    folio_unlock(folio);
    mapped = mapped || at == addr;
  }
  return mapped;
}

} // namespace racewalk::inline RACEWALK_BACKEND
