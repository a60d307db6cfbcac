#include "mm/migrate.h"

#include <cerrno>

#include "machine/tlbflush.h"
#include "mm/deferred_split.h"
#include "mm/gup.h"
#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/memory.h"
#include "mm/page_lock.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- putting migration entries in ------------------------------------------------------------------------

namespace {

/// One entry of a table, if it maps the page.
void try_to_migrate_pte(mm_struct& mm, vaddr_t addr, const pmdp_t& pmdp, page* page,
                        tlbflush_unmap_batch& batch) {
  pte_map_lock table(pmdp);
  if (!table) return;
  const ptep_t ptep = table.at(addr);
  if (const pte_t seen = ptep_get(ptep); !pte_present(seen) || pte_pfn(seen) != page_to_pfn(page)) return;
  const pte_t old = ptep_clear_batched(batch, mm, addr, ptep);
  folio* folio = page_folio(page);
  const bool exclusive = PageAnonExclusive(page);
  if (!folio_try_share_anon_rmap(folio, page)) {
    set_pte_at(addr, ptep, old);
    return;
  }
  pte_t entry = swp_entry_to_pte(migration_entry_of(old, page_to_pfn(page), exclusive));
  if (pte_uffd_wp(old)) entry = pte_swp_mkuffd_wp(entry);
  if (pte_soft_dirty(old)) entry = pte_swp_mksoft_dirty(entry);
  set_pte_at(addr, ptep, entry);
  folio_remove_rmap_pte(page);
  folio_put(folio);
}

/// A huge entry, if it maps the folio (set_pmd_migration_entry). Caller holds the pml.
void set_pmd_migration_entry(mm_struct& mm, vaddr_t start, const pmdp_t& pmdp, folio* folio) {
  const pmd_t old = pmdp_invalidate_raw(start, pmdp);
  flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
  const bool exclusive = folio_test_anon_exclusive(folio);
  if (!folio_try_share_anon_rmap(folio, &folio->page)) {
    set_pmd_at(start, pmdp, old);
    return;
  }
  const pmd_t entry = swp_entry_to_pmd(migration_entry_of(old, folio_pfn(folio), exclusive));
  set_pmd_at(start, pmdp, pmd_soft_dirty(old) ? pmd_swp_mksoft_dirty(entry) : entry);
  folio_remove_rmap_pmd(folio);
  folio_put(folio);
}

/// Whether the entry was a huge one that maps the folio; if so it is done.
bool try_to_migrate_pmd(const vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, folio* folio,
                        split_entry split) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t pmd = pmdp_get(pmdp);
  if (!pmd_trans_huge(pmd) || pmd_pfn(pmd) != folio_pfn(folio)) return false;
  if (split == split_entry::yes || !arch().thp_migration)
    split_huge_pmd_locked(vma, start, pmdp, split_into::migration_entries);
  else
    set_pmd_migration_entry(*vma.vm_mm, start, pmdp, folio);
  return true;
}

} // namespace

void try_to_migrate(folio* folio, split_entry split, tlbflush_unmap_batch& batch) {
  rmap_walk(folio, [&](vm_area_struct& vma, const rmap_place& at) {
    mm_struct& mm = *vma.vm_mm;
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, at.address,
                                     at.address + at.nr * PAGE_SIZE);
    for_each_entry(
        mm, at,
        [&](const pmdp_t& pmdp) {
          return pmd_trans_huge(pmdp_get_lockless(pmdp)) &&
                 try_to_migrate_pmd(vma, at.address, pmdp, folio, split);
        },
        [&](const pmdp_t& pmdp, vaddr_t addr, u64 n) {
          try_to_migrate_pte(mm, addr, pmdp, folio_page(folio, n), batch);
        });
  });
}

void try_to_migrate(folio* folio, split_entry split) {
  tlbflush_unmap_batch batch;
  try_to_migrate(folio, split, batch);
  try_to_unmap_flush(batch);
}

// ---- and out again ---------------------------------------------------------------------------------------

namespace {

/// The rights of a page whose migration entry was this.
pgprot_t restored_prot(const vm_area_struct& vma, swp_entry_t entry) {
  pgprot_t prot = vm_get_page_prot(vma.vm_flags.get());
  prot.write = prot.write && is_writable_migration_entry(entry);
  return prot;
}

void restore_anon_exclusive(page* page, swp_entry_t entry) {
  if (is_writable_migration_entry(entry) || is_readable_exclusive_migration_entry(entry))
    SetPageAnonExclusive(page);
}

void remove_migration_pte(const vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp, page* from, page* to) {
  pte_map_lock table(pmdp);
  if (!table) return;
  const ptep_t ptep = table.at(addr);
  const pte_t seen = ptep_get(ptep);
  if (!is_swap_pte(seen)) return;
  const swp_entry_t entry = pte_to_swp_entry(seen);
  if (!is_migration_entry(entry) || swp_offset_pfn(entry) != page_to_pfn(from)) return;
  pte_t pte = mk_pte(page_to_pfn(to), restored_prot(vma, entry));
  if (is_migration_entry_dirty(entry)) pte = pte_mkdirty(pte);
  if (!pte_swp_soft_dirty(seen)) pte = pte_clear_soft_dirty(pte);
  if (!is_migration_entry_young(entry)) pte = pte_mkold(pte);
  if (pte_swp_uffd_wp(seen)) pte = pte_mkuffd_wp(pte);
  restore_anon_exclusive(to, entry);
  folio_get(page_folio(to));
  folio_add_rmap_pte(to);
  smp_wmb();                   // as in do_anonymous_page(): pairs with gup_fast_pte_range()
  set_pte_at(addr, ptep, pte); // it was not present: no TLB has it
}

/// Whether the entry was a huge page's migration entry for the folio; if so it is done.
bool remove_migration_pmd(const vm_area_struct& vma, vaddr_t start, pmdp_t pmdp, page* from, page* to) {
  spin_guard pml(pmd_lockptr(pmdp));
  const pmd_t seen = pmdp_get(pmdp);
  if (!is_pmd_migration_entry(seen)) return false;
  const swp_entry_t entry = pmd_to_swp_entry(seen);
  if (swp_offset_pfn(entry) != page_to_pfn(from)) return false;
  pmd_t pmd = mk_huge_pmd(page_to_pfn(to), restored_prot(vma, entry));
  if (is_migration_entry_dirty(entry)) pmd = pmd_mkdirty(pmd);
  if (!pmd_swp_soft_dirty(seen)) pmd = pmd_clear_soft_dirty(pmd);
  if (!is_migration_entry_young(entry)) pmd = pmd_mkold(pmd);
  restore_anon_exclusive(to, entry);
  folio_get(page_folio(to));
  folio_add_rmap_pmd(page_folio(to));
  smp_wmb(); // as above: pairs with gup_fast_pmd_leaf()
  set_pmd_at(start, pmdp, pmd);
  return true;
}

} // namespace

void remove_migration_ptes(page* from, page* to, u64 nr) {
  rmap_walk(page_folio(to), nr, [&](vm_area_struct& vma, const rmap_place& at) {
    for_each_entry(
        *vma.vm_mm, at,
        [&](const pmdp_t& pmdp) {
          return is_pmd_migration_entry(pmdp_get_lockless(pmdp)) &&
                 remove_migration_pmd(vma, at.address, pmdp, from, to);
        },
        [&](const pmdp_t& pmdp, vaddr_t addr, u64 n) {
          remove_migration_pte(vma, addr, pmdp, from + n, to + n);
        });
  });
}

// ---- waiting for it --------------------------------------------------------------------------------------

namespace {

/// The folio stays locked while the entry is there, and its struct page stays for ever: waiting for it
/// without a reference ends at the latest with the next unlock.
void wait_on_locked(folio* folio) { wait_while(folio->page.flags, BIT(PG_locked), BIT(PG_locked)); }

} // namespace

void migration_entry_wait(const pmdp_t& pmdp, vaddr_t addr) {
  folio* moving = nullptr;
  {
    pte_map_lock table(pmdp);
    if (!table) return;
    const pte_t pte = ptep_get(table.at(addr));
    if (!is_swap_pte(pte) || !is_migration_entry(pte_to_swp_entry(pte))) return;
    moving = page_folio(pfn_to_page(swp_offset_pfn(pte_to_swp_entry(pte))));
  }
  wait_on_locked(moving);
}

void pmd_migration_entry_wait(const pmdp_t& pmdp) {
  folio* moving = nullptr;
  {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t pmd = pmdp_get(pmdp);
    if (!is_pmd_migration_entry(pmd)) return;
    moving = page_folio(pfn_to_page(swp_offset_pfn(pmd_to_swp_entry(pmd))));
  }
  wait_on_locked(moving);
}

// ---- moving a folio --------------------------------------------------------------------------------------

namespace {

/// Gives the new folio, which nobody can reach yet, what the old one is, its slot in the swap file too. The
/// old one is frozen.
void folio_migrate_mapping(folio* from, folio* to) {
  const u64 flags = READ_ONCE(from->page.flags);
  if ((flags & BIT(PG_ksm)) != 0)
    folio_migrate_ksm(to, from);
  else
    to->page.mapping.set(from->page.mapping.get());
  to->page.index.set(from->page.index.get());
  const u64 kept =
      BIT(PG_anon) | BIT(PG_ksm) | BIT(PG_swapbacked) | BIT(PG_uptodate) | BIT(PG_dirty) | PAGE_USE_FLAGS;
  atomic_or(to->page.flags, flags & kept);
  if ((flags & BIT(PG_swapcache)) != 0) swap_cache_replace_folio(from, to); // and the cache's reference
}

/// Moves a locked folio, of which the caller has one reference, to a new one.
int migrate_folio(folio* from, folio* to) {
  const u64 nr = folio_test_large(from) ? folio_nr_pages(from) : 1;
  // until all its entries are there
  const bool locked = !policy().migrate_locks_new || folio_trylock(to);
  VM_BUG_ON(!locked, "INV-REF", "somebody has locked a new folio");
  try_to_migrate(from, split_entry::no); // nobody stores to what is copied
  // Frozen: the entries' references are gone, and nobody else but the swap cache has one or gets one (M3).
  const bool moved = folio_ref_freeze(from, 1 + s32{folio_in_swap_cache(from)});
  if (moved) {
    folio_migrate_mapping(from, to);
    folio_migrate_deferred_split(from, to);
    for (u64 i = 0; i < nr; ++i)
      copy_highpage(folio_page(to, i), folio_page(from, i));
    folio_ref_unfreeze(from, 1);
  }
  remove_migration_ptes(&from->page, moved ? &to->page : &from->page, nr);
  if (policy().migrate_locks_new) folio_unlock(to);
  return moved ? 0 : -EAGAIN;
}

/// Calls work(folio) with the folio that is mapped at `addr`, locked and with a reference that work() leaves
/// to the caller.
template <class Work> int with_mapped_folio(mm_struct& mm, vaddr_t addr, Work work) {
  if (addr >= geometry().address_limit()) return -EFAULT;
  mmap_region* region = mm.existing_region(addr);
  if (region == nullptr) return -ENOENT;
  read_guard mmap_lock(region->mmap_lock);
  const pmd_lookup at = find_pmd(mm, addr);
  folio* folio = at.found ? get_mapped_folio(at.pmdp, addr) : nullptr;
  if (folio == nullptr) return -ENOENT;
  folio_lock(folio);
  // while this waited for the lock it may have been unmapped, split or moved
  int result = -ENOENT;
  if (folio_mapped(folio)) result = folio_test_anon(folio) ? work(folio) : -EOPNOTSUPP;
  folio_unlock(folio);
  folio_put(folio);
  return result;
}

} // namespace

int migrate_page_at(mm_struct& mm, vaddr_t addr) {
  return with_mapped_folio(mm, addr, [](folio* from) {
    page* to = alloc_pages(folio_test_large(from) ? folio_order(from) : 0, GFP_KERNEL);
    if (to == nullptr) return -ENOMEM;
    const int result = migrate_folio(from, page_folio(to));
    folio_put(page_folio(to)); // its entries have theirs, or it is not used
    return result;
  });
}

bool migrate_frame(page* from, page* to) {
  if (PageTable(from)) return false; // its count is 0, too
  folio* folio = page_folio(from);
  if (!folio_try_get(folio)) return true;
  bool moved = false;
  // With the reference, PG_anon says that whoever maps the folio has set it up: before, its flags are written
  // as a whole, and a lock would be overwritten. Pairs with the release of the count in prep_new_page().
  if (&folio->page == from && folio_test_anon(folio) && !folio_test_large(folio) && folio_trylock(folio)) {
    moved = folio_mapped(folio) && migrate_folio(folio, page_folio(to)) == 0;
    folio_unlock(folio);
  }
  folio_put(folio);
  return moved;
}

int split_page_at(mm_struct& mm, vaddr_t addr) {
  return with_mapped_folio(mm, addr, [](folio* folio) { return split_huge_page(folio); });
}

} // namespace racewalk::inline RACEWALK_BACKEND
