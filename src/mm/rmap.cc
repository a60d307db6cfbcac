#include "mm/rmap.h"

#include "arch/swapops.h"
#include "machine/tlbflush.h"
#include "mm/filemap.h"
#include "mm/mmu_gather.h"
#include "mm/page_alloc.h"
#include "mm/page_pin.h"
#include "mm/pgalloc.h"
#include "mm/pgtable_generic.h"
#include "mm/swapfile.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {
constexpr u64 ANON_FLAGS = BIT(PG_anon) | BIT(PG_anon_exclusive) | BIT(PG_swapbacked) | BIT(PG_uptodate);
} // namespace

void folio_add_new_anon_rmap(folio* folio, const vm_area_struct& vma, vaddr_t addr) {
  const bool large = folio_test_large(folio);
  // plain stores: the entry that will publish the folio comes after a write barrier. The flags first: who
  // comes upon the frame (vmscan.cc) never takes what it is mapped by for a file.
  WRITE_ONCE(folio->page.flags, ANON_FLAGS | (large ? BIT(PG_head) : 0));
  folio->page.mapping.set(reinterpret_cast<uintptr_t>(vma.vm_mm->existing_region(addr)->anon));
  folio->page.index.set(linear_page_index(vma, addr));
  atomic_set(large ? folio->page._entire_mapcount : folio->page._mapcount, 0);
}

void folio_add_rmap_pte(page* page) { atomic_inc(page->_mapcount); }

void folio_remove_rmap_pte(page* page) {
  const s32 left = atomic_dec_return(page->_mapcount, order::relaxed);
  VM_BUG_ON(left < -1, "INV-REF", "a page was unmapped that was not mapped");
}

void folio_add_rmap_pmd(folio* folio) { atomic_inc(folio->page._entire_mapcount); }

void folio_remove_rmap_pmd(folio* folio) {
  const s32 left = atomic_dec_return(folio->page._entire_mapcount, order::relaxed);
  VM_BUG_ON(left < -1, "INV-REF", "a folio was unmapped that was not mapped");
}

void folio_split_rmap(folio* folio) {
  const auto pages = static_cast<s32>(folio_nr_pages(folio));
  // one mapping held one reference; now each page's holds one
  folio_ref_add(folio, pages - 1);
  const u64 exclusive = READ_ONCE(folio->page.flags) & BIT(PG_anon_exclusive);
  for (s32 i = 0; i < pages; ++i) {
    page* page = folio_page(folio, static_cast<u64>(i));
    if (i > 0) WRITE_ONCE(page->flags, exclusive); // the only flag that pages of a folio have of their own
    folio_add_rmap_pte(page);
  }
  folio_remove_rmap_pmd(folio);
}

bool folio_try_share_anon_rmap(folio* folio, page* page) {
  if (!PageAnonExclusive(page)) return true;
  // The entry, then the pins: pairs with the pin and the second look at the entry in gup_fast. A walk that
  // still found the entry valid has its pin counted here.
  smp_mb();
  if (folio_maybe_dma_pinned(folio)) return false;
  ClearPageAnonExclusive(page);
  smp_mb__after_atomic(); // the flag, then the entry that follows: pairs with the entry read by gup_fast
  return true;
}

namespace {

/// Must another mm get a copy of what this one has pinned? Asked while write_protect_seq is odd: a lockless
/// walk that this does not see the pin of sees that, and gives the pin up (gup_fast()).
bool folio_needs_cow_for_dma(const mm_struct& mm, folio* folio) {
  VM_BUG_ON(policy().fork_write_protect_seq && (READ_ONCE(mm.write_protect_seq) & 1) == 0, "INV-EXCL",
            "a page is shared while lockless walks may pin it");
  return test_bit(MMF_HAS_PINNED, mm.flags) && folio_maybe_dma_pinned(folio);
}

/// Ends the exclusive use of a page whose entry is about to be copied. False: not now.
bool try_share_for_fork(folio* folio, page* page, const mm_struct& src) {
  if (!PageAnonExclusive(page)) return true;
  if (folio_needs_cow_for_dma(src, folio)) return false;
  ClearPageAnonExclusive(page);
  return true;
}

} // namespace

bool folio_try_dup_anon_rmap_pte(folio* folio, page* page, const mm_struct& src) {
  if (!try_share_for_fork(folio, page, src)) return false;
  folio_add_rmap_pte(page);
  return true;
}

bool folio_try_dup_anon_rmap_pmd(folio* folio, const mm_struct& src) {
  if (!try_share_for_fork(folio, &folio->page, src)) return false;
  folio_add_rmap_pmd(folio);
  return true;
}

void folio_move_anon_rmap(folio* folio, const vm_area_struct& vma) {
  const anon_vma* own = vma.vm_mm->existing_region(vma.vm_start.get())->anon;
  folio->page.mapping.set(reinterpret_cast<uintptr_t>(own));
}

s32 folio_expected_ref_count(folio* folio) { return folio_mapcount(folio) + s32{folio_in_swap_cache(folio)}; }

s32 folio_mapcount(folio* folio) {
  if (!folio_test_large(folio)) return atomic_read(folio->page._mapcount) + 1;
  s32 count = atomic_read(folio->page._entire_mapcount) + 1;
  for (u64 i = 0; i < folio_nr_pages(folio); ++i)
    count += atomic_read(folio_page(folio, i)->_mapcount) + 1;
  return count;
}

namespace {

/// Has somebody taken rights away from entries and not flushed yet? Then an entry that is read-only and clean
/// says nothing about what TLBs grant (mail 2).
bool flush_pending(const mm_struct& mm, mkclean_pending_t when) {
  return policy().mkclean_tests_flush_pending == when && mm_tlb_flush_pending(mm);
}

/// mkclean_pending_t::other_lock: the entry is judged under the lock of the page, which orders nothing with
/// those who change entries (S2.2).
bool clean_by_other_lock(const mm_struct& mm, vaddr_t addr, const pmdp_t& pmdp, page* page) {
  if (policy().mkclean_tests_flush_pending != mkclean_pending_t::other_lock) return false;
  spin_guard other(page->ptl); // nobody else's: the page is no table
  const pte_t pte = ptep_get(pte_offset(pmdp_get(pmdp), addr));
  return !pte_dirty(pte) && !pte_write(pte) && !mm_tlb_flush_pending(mm);
}

bool pte_mkclean_one(mm_struct& mm, vaddr_t addr, const pmdp_t& pmdp, page* page) {
  if (clean_by_other_lock(mm, addr, pmdp, page)) return false;
  bool pending = flush_pending(mm, mkclean_pending_t::before_ptl) ||
                 policy().mkclean_tests_flush_pending == mkclean_pending_t::other_lock;
  pte_map_lock table(pmdp);
  if (!table) return false;
  const ptep_t ptep = table.at(addr);
  pte_t pte = ptep_get(ptep);
  if (!pte_present(pte) || pte_pfn(pte) != page_to_pfn(page)) return false;
  // Under the ptl that whoever changed the entry held: pairs with the increment in tlb_gather_mmu() (M10).
  pending = pending || flush_pending(mm, mkclean_pending_t::under_ptl);
  if (!pte_dirty(pte) && !pte_write(pte) && !pending) return false;
  // Exchange, flush, and only then the new entry: no store goes through a stale translation afterwards. The
  // exchange and the flush are also the full barrier that the caller's check for pins needs: pairs with the
  // pin that gup_fast_pte_range() takes before it reads the entry again.
  pte = policy().mkclean_flushes ? ptep_clear_flush(mm, addr, ptep) : ptep_get_and_clear(addr, ptep);
  set_pte_at(addr, ptep, pte_mkclean(pte_wrprotect(pte)));
  return true;
}

/// Whether the entry was a huge one that maps the folio; if so it is done.
bool pmd_mkclean_one(mm_struct& mm, vaddr_t addr, pmdp_t pmdp, const folio* folio, bool* cleaned) {
  spin_guard pml(pmd_lockptr(pmdp));
  pmd_t pmd = pmdp_get(pmdp);
  if (!pmd_trans_huge(pmd) || pmd_pfn(pmd) != folio_pfn(folio)) return false;
  if (!pmd_dirty(pmd) && !pmd_write(pmd)) return true;
  // as in pte_mkclean_one(); the entry stays recognisable as a huge page meanwhile (H14)
  pmd = pmdp_invalidate_raw(addr, pmdp);
  flush_tlb_mm_range(mm.context, addr, addr + pmd_size(), pmd_shift(), false);
  set_pmd_at(addr, pmdp, pmd_mkclean(pmd_wrprotect(pmd)));
  *cleaned = true;
  return true;
}

/// What is in the way of reordering the change of an entry and the look at the pins (S5.8).
void mkclean_fence(folio* folio) {
  switch (policy().mkclean_fence) {
  case mkclean_fence_t::none:
    break;
  case mkclean_fence_t::rmb:
    smp_rmb(); // pairs with the barrier of a pin, but does not order the store before it (S5.8)
    break;
  case mkclean_fence_t::lock_pair: {
    spin_guard another(folio->page.ptl); // nobody else's: the page is no table
    break;
  }
  case mkclean_fence_t::mb:
    smp_mb(); // pairs with the one between adding a pin and reading PG_writeback
    break;
  }
}

} // namespace

bool folio_mkclean(folio* folio) {
  VM_BUG_ON(!folio_test_locked(folio), "INV-REF", "folio_mkclean() without the folio lock");
  bool cleaned = false;
  rmap_walk(folio, [&](vm_area_struct& vma, const rmap_place& at) {
    mm_struct& mm = *vma.vm_mm;
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::protection_page, at.address,
                                     at.address + at.nr * PAGE_SIZE);
    for_each_entry(
        mm, at,
        [&](const pmdp_t& pmdp) {
          return pmd_trans_huge(pmdp_get_lockless(pmdp)) &&
                 pmd_mkclean_one(mm, at.address, pmdp, folio, &cleaned);
        },
        [&](const pmdp_t& pmdp, vaddr_t addr, u64 n) {
          cleaned |= pte_mkclean_one(mm, addr, pmdp, folio_page(folio, n));
        });
  });
  mkclean_fence(folio);
  return cleaned;
}

// ---- who uses a folio ------------------------------------------------------------------------------------

bool folio_clear_young_entries(folio* folio, tlbflush_unmap_batch& batch) {
  VM_BUG_ON(!folio_test_locked(folio), "INV-REF", "a folio's use is asked for without the folio lock");
  bool referenced = false;
  rmap_walk(folio, [&](vm_area_struct& vma, const rmap_place& at) {
    mm_struct& mm = *vma.vm_mm;
    const auto count = [&](bool young) {
      if (!young) return;
      referenced = true;
      flush_young_later(batch, mm);
    };
    for_each_entry(
        mm, at,
        [&](const pmdp_t& pmdp) {
          if (!pmd_trans_huge(pmdp_get_lockless(pmdp))) return false;
          spin_guard pml(pmd_lockptr(pmdp));
          const pmd_t pmd = pmdp_get(pmdp);
          if (!pmd_trans_huge(pmd) || pmd_pfn(pmd) != folio_pfn(folio)) return false;
          count(pmdp_test_and_clear_young(at.address, pmdp));
          return true;
        },
        [&](const pmdp_t& pmdp, vaddr_t addr, u64 n) {
          pte_map_lock table(pmdp);
          if (!table) return;
          const pte_t pte = ptep_get(table.at(addr));
          if (pte_present(pte) && pte_pfn(pte) == page_to_pfn(folio_page(folio, n)))
            count(ptep_test_and_clear_young(addr, table.at(addr)));
        });
  });
  return referenced;
}

bool folio_referenced(folio* folio, tlbflush_unmap_batch& batch) {
  constexpr u64 used_flags = BIT(PG_active) | BIT(PG_young);
  const bool by_entry = folio_clear_young_entries(folio, batch);
  const u64 flags = READ_ONCE(folio->page.flags);
  const u64 known = flags & (by_entry ? used_flags | BIT(PG_idle) : used_flags);
  if (known != 0) atomic_fetch_and(folio->page.flags, ~known, order::relaxed);
  return by_entry || (known & used_flags) != 0;
}

void folio_mark_accessed(folio* folio) {
  const u64 flags = READ_ONCE(folio->page.flags);
  const u64 use = (flags & BIT(PG_referenced)) == 0 ? BIT(PG_referenced) : BIT(PG_active);
  if ((flags & use) == 0) atomic_or(folio->page.flags, use);
  if ((flags & BIT(PG_idle)) != 0) folio_clear_idle(folio);
}

void folio_deactivate(folio* folio) {
  constexpr u64 used_flags = BIT(PG_referenced) | BIT(PG_active) | BIT(PG_young);
  if ((READ_ONCE(folio->page.flags) & used_flags) != 0)
    atomic_fetch_and(folio->page.flags, ~used_flags, order::relaxed);
}

// ---- taking the entries of a folio out -------------------------------------------------------------------

namespace {

/// Nobody uses the folio but through entries, and nobody has stored to it: asked after an entry was taken
/// out, by its lock's holder. `dirty`: of that entry.
bool may_discard(folio* folio, bool dirty) {
  if (dirty) folio_set_dirty(folio);
  // The entry, then the references: pairs with the reference that gup_fast_pte_range() takes before it reads
  // the entry again. A walk that found the entry has its reference counted here (6c8e2a256915).
  if (policy().lazyfree_mb) smp_mb();
  if (policy().lazyfree_dirty_first && folio_test_dirty(folio)) return false;
  const s32 refs = folio_ref_count(folio);
  const s32 maps = folio_mapcount(folio);
  // The references, then dirtiness: pairs with dropping a reference, which comes after folio_set_dirty() and
  // is a full barrier. Who stored through a reference that is not counted any more has said so.
  if (policy().lazyfree_rmb) smp_rmb();
  return refs == 1 + maps && (policy().lazyfree_dirty_first || !folio_test_dirty(folio));
}

/// What hardware recorded goes with the file's folio, which is not given up then. A store that a TLB still
/// lets through was recorded: an entry that is not dirty is read again before the first store.
void leave_to_file(folio* folio, vaddr_t addr, const ptep_t& ptep, pte_t old) {
  if (pte_uffd_wp(old)) set_pte_at(addr, ptep, make_pte_marker(PTE_MARKER_UFFD_WP)); // as zap_present_pte()
  if (pte_dirty(old)) folio_mark_dirty(folio);
}

/// The entry says in which slot the page's content will be. False: the page is pinned.
bool leave_to_swap(mm_struct& mm, folio* folio, vaddr_t addr, const ptep_t& ptep, pte_t old) {
  page* page = &folio->page;
  const bool exclusive = PageAnonExclusive(page);
  if (!policy().swap_out_looks_for_pins)
    ClearPageAnonExclusive(page);
  else if (!folio_try_share_anon_rmap(folio, page))
    return false;
  // A store that the slot does not have. What comes later faults: the entry is gone.
  if (policy().swap_out_collects_dirty && pte_dirty(old)) folio_set_dirty(folio);
  const swp_entry_t entry = swap_entry_of(folio, exclusive);
  swap_duplicate(entry);
  pte_t pte = swp_entry_to_pte(entry);
  if (pte_uffd_wp(old)) pte = pte_swp_mkuffd_wp(pte);
  if (pte_soft_dirty(old)) pte = pte_swp_mksoft_dirty(pte);
  set_pte_at(addr, ptep, pte);
  add_mm_counter(mm, MM_SWAPENTS, 1);
  return true;
}

/// What remains of an entry that is gone. False: it must not go.
bool leave_entry(mm_struct& mm, folio* folio, vaddr_t addr, const ptep_t& ptep, pte_t old) {
  if (!folio_test_anon(folio)) {
    leave_to_file(folio, addr, ptep, old);
    return true;
  }
  if (folio_in_swap_cache(folio)) return leave_to_swap(mm, folio, addr, ptep, old);
  return may_discard(folio, pte_dirty(old));
}

/// One entry of a table, if it maps the page. False: it stays.
bool try_to_unmap_pte(mm_struct& mm, vaddr_t addr, const pmdp_t& pmdp, page* page,
                      tlbflush_unmap_batch& batch) {
  pte_map_lock table(pmdp);
  if (!table) return true;
  const ptep_t ptep = table.at(addr);
  if (const pte_t seen = ptep_get(ptep); !pte_present(seen) || pte_pfn(seen) != page_to_pfn(page))
    return true;
  const pte_t old = ptep_clear_batched(batch, mm, addr, ptep);
  folio* folio = page_folio(page);
  if (!leave_entry(mm, folio, addr, ptep, old)) {
    set_pte_at(addr, ptep, old);
    return false;
  }
  folio_remove_rmap_pte(page);
  add_mm_counter(mm, mm_counter_of(folio), -1);
  folio_put(folio); // the caller has a reference
  return true;
}

/// A huge entry of anonymous memory, if it maps the folio. False: it stays. It is not none before it is
/// certain to go, or whoever gives the range back meanwhile would pass it by (H14).
bool try_to_unmap_pmd(mm_struct& mm, vaddr_t start, const pmdp_t& pmdp, folio* folio) {
  {
    spin_guard pml(pmd_lockptr(pmdp));
    const pmd_t seen = pmdp_get(pmdp);
    if (!pmd_trans_huge(seen) || pmd_pfn(seen) != folio_pfn(folio)) return true;
    const pmd_t old = pmdp_invalidate_raw(start, pmdp);
    flush_tlb_mm_range(mm.context, start, start + pmd_size(), pmd_shift(), false);
    if (!may_discard(folio, pmd_dirty(old))) {
      set_pmd_at(start, pmdp, old);
      return false;
    }
    set_pmd_at(start, pmdp, pmd_t{});
    pagetable_free(pgtable_trans_huge_withdraw(pmdp));
    folio_remove_rmap_pmd(folio);
    folio_put(folio);
  }
  add_mm_counter(mm, MM_ANONPAGES, -s64{hpage_pmd_nr()});
  add_mm_counter(mm, MM_PGTABLES, -1);
  return true;
}

} // namespace

bool try_to_unmap(folio* folio, tlbflush_unmap_batch& batch) {
  VM_BUG_ON(!folio_test_locked(folio), "INV-REF", "try_to_unmap() without the folio lock");
  bool unmapped = true;
  rmap_walk(folio, [&](vm_area_struct& vma, const rmap_place& at) {
    mm_struct& mm = *vma.vm_mm;
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, at.address,
                                     at.address + at.nr * PAGE_SIZE);
    for_each_entry(
        mm, at,
        [&](const pmdp_t& pmdp) {
          if (!unmapped) return true;
          if (!folio_test_anon(folio) || !pmd_trans_huge(pmdp_get_lockless(pmdp))) return false;
          unmapped = try_to_unmap_pmd(mm, at.address, pmdp, folio);
          return true; // for all of them
        },
        [&](const pmdp_t& pmdp, vaddr_t addr, u64 n) {
          unmapped = try_to_unmap_pte(mm, addr, pmdp, folio_page(folio, n), batch);
        });
  });
  // stored to, or in use: it is memory like any other again
  if (!unmapped && folio_test_dirty(folio)) folio_set_swapbacked(folio);
  return unmapped;
}

} // namespace racewalk::inline RACEWALK_BACKEND
