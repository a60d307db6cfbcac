#include "mm/fork.h"

#include <cerrno>

#include "arch/swapops.h"
#include "machine/tlbflush.h"
#include "mm/highmem.h"
#include "mm/huge_memory.h"
#include "mm/memory.h"
#include "mm/page_lock.h"
#include "mm/pgalloc.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the areas -------------------------------------------------------------------------------------------

namespace {

/// An area like `vma` in a region of the child, of which the parent's userfaultfd knows nothing. False when
/// memory is short.
bool vm_area_dup(mmap_region& region, mm_struct& child, const vm_area_struct& vma) {
  if (!region.areas.preallocate()) return false;
  vm_area_struct* copy = region.vm_area_alloc(child);
  if (copy == nullptr) return false;
  vma_attach(region, *copy, vma.vm_start.get(), vma.vm_end.get(), contents_of(vma).unregistered());
  atomic_or(copy->bars, READ_ONCE(vma.bars) & BIT(VMA_HAS_ANON));
  return true;
}

/// Calls visit(vma) for each area of a region, lowest first.
template <class F> void for_all_vmas(mmap_region& region, F&& visit) {
  for_each_vma(region, region.start, region.end, visit);
}

bool dup_region(mm_struct& child, mmap_region& from) {
  mmap_region* to = child.region(from.start);
  if (to == nullptr) return false;
  to->free_area_cache.set(from.free_area_cache.get());
  to->cached_hole_size.set(from.cached_hole_size.get());
  bool done = true;
  for_all_vmas(from, [&](const vm_area_struct& vma) { done = done && vm_area_dup(*to, child, vma); });
  return done && anon_vma_fork(*to, from);
}

} // namespace

int dup_areas(mm_struct& child, mm_struct& parent) {
  bool done = true;
  parent.for_each_region([&](mmap_region& region) { done = done && dup_region(child, region); });
  return done ? 0 : -ENOMEM;
}

// ---- what they map ---------------------------------------------------------------------------------------

namespace {

/// A time in which pages stop being exclusively the mm's. The mm's mmap_locks exclude others.
class write_protect_section {
 public:
  explicit write_protect_section(mm_struct& mm) : mm_(mm) {
    if (!policy().fork_write_protect_seq) return;
    advance();
    // Odd, then the look for pins: pairs with the pin, a full barrier, and the second read of the sequence in
    // gup_fast(). A write barrier would do where the look is ordered by a read-modify-write of the word that
    // holds the pins, which folio_get() is for a small folio. A large folio's are in another word, and so is
    // the announcement of the first pin ever (S5.11).
    if (policy().fork_fence == fork_fence_t::mb)
      smp_mb(); // pairs as above
    else
      smp_wmb(); // pairs as above, as far as it does
  }
  ~write_protect_section() {
    if (!policy().fork_write_protect_seq) return;
    smp_wmb(); // what was changed, then even: pairs with the acquire in gup_fast()
    advance();
  }
  write_protect_section(const write_protect_section&) = delete;
  write_protect_section& operator=(const write_protect_section&) = delete;

 private:
  void advance() { WRITE_ONCE(mm_.write_protect_seq, READ_ONCE(mm_.write_protect_seq) + 1); }
  mm_struct& mm_;
};

/// One area, from the parent to the child.
struct area_copy {
  vm_area_struct& dst;
  vm_area_struct& src;
  page* spare = nullptr; ///< for a page that has to be copied at once: it is got without the locks
  bool needs_spare = false;
  s64 copied = 0;  ///< entries, of the table at hand
  s64 swapped = 0; ///< and of these, in the swap file
};

/// The entry of the child's own copy of a page that may be pinned. False if there is no page for it.
bool copy_present_page(area_copy& c, vaddr_t addr, const ptep_t& dst_ptep, page* page) {
  c.needs_spare = c.spare == nullptr;
  if (c.needs_spare) return false;
  struct page* copy = c.spare;
  c.spare = nullptr;
  copy_user_highpage(copy, page); // its device, and the parent's threads, go on
  folio_add_new_anon_rmap(page_folio(copy), c.dst, addr);
  smp_wmb(); // as in do_anonymous_page(): pairs with gup_fast_pte_range()
  set_pte_at(addr, dst_ptep, pte_mkdirty(mk_pte(page_to_pfn(copy), vm_get_page_prot(c.dst.vm_flags.get()))));
  ++c.copied;
  return true;
}

/// The first form of early copying: take the right to store away before looking for pins, rather than give
/// pins up that come too late. The entry, then the pins: pairs with the pin and the second look at the entry
/// in gup_fast().
void protect_first(vaddr_t addr, const ptep_t& src_ptep) {
  ptep_set_wrprotect(addr, src_ptep);
  if (policy().fork_protects_first_barrier) smp_mb();
}

/// False if that takes a page. Pages of files are left for the child's faults to find.
bool copy_present_pte(area_copy& c, vaddr_t addr, const ptep_t& dst_ptep, const ptep_t& src_ptep, pte_t pte) {
  page* page = pfn_to_page(pte_pfn(pte));
  folio* folio = page_folio(page);
  if (!folio_test_anon(folio)) return true;
  const bool first = policy().fork_protects_first && pte_write(pte);
  if (first) protect_first(addr, src_ptep);
  folio_get(folio);
  if (!folio_try_dup_anon_rmap_pte(folio, page, *c.src.vm_mm)) {
    folio_put(folio);
    if (first) update_entry(src_ptep, arch().mkwrite);
    return copy_present_page(c, addr, dst_ptep, page);
  }
  if (pte_write(pte) && !first) ptep_set_wrprotect(addr, src_ptep);
  set_pte_at(addr, dst_ptep, pte_clear_uffd_wp(pte_mkold(pte_wrprotect(pte))));
  ++c.copied;
  return true;
}

/// An entry for a page that is being moved, or in the swap file: it is nobody's alone when it arrives. (A
/// marker is left out: the child is not userfaultfd's.)
void copy_nonpresent_pte(area_copy& c, vaddr_t addr, const ptep_t& dst_ptep, const ptep_t& src_ptep,
                         pte_t pte) {
  if (is_pte_marker(pte)) return;
  const swp_entry_t entry = pte_to_swp_entry(pte);
  const bool swapped = is_swap_entry(entry);
  VM_BUG_ON(!swapped && !is_migration_entry(entry), "INV-TYPE",
            "fork does not know what an entry stands for");
  if (!swapped && !folio_test_anon(page_folio(pfn_to_page(swp_offset_pfn(entry))))) return;
  if (swapped) swap_duplicate(entry);
  pte_t shared =
      swp_entry_to_pte(swapped ? make_swap_entry_shared(entry) : make_migration_entry_shared(entry));
  if (pte_swp_soft_dirty(pte)) shared = pte_swp_mksoft_dirty(shared);
  if (!swapped || policy().fork_shares_swap_entries)
    set_pte_at(addr, src_ptep, pte_swp_uffd_wp(pte) ? pte_swp_mkuffd_wp(shared) : shared);
  set_pte_at(addr, dst_ptep, shared);
  ++(swapped ? c.swapped : c.copied);
}

/// Copies entries from `addr` on. Returns where it stopped: before `end` if it needs a spare page, or the
/// child's table has been taken away again.
vaddr_t copy_ptes(area_copy& c, const pmdp_t& dst_pmdp, const pmdp_t& src_pmdp, vaddr_t addr, vaddr_t end) {
  pte_map_lock dst(dst_pmdp);
  if (!dst) return addr;
  pte_map_lock src(src_pmdp);
  if (!src) return end; // it maps nothing any more, or a file in one piece
  for (; addr < end; addr += PAGE_SIZE) {
    const pte_t pte = ptep_get(src.at(addr));
    if (pte_none(pte)) continue;
    if (!pte_present(pte))
      copy_nonpresent_pte(c, addr, dst.at(addr), src.at(addr), pte);
    else if (!copy_present_pte(c, addr, dst.at(addr), src.at(addr), pte))
      return addr;
  }
  return end;
}

int copy_pte_range(area_copy& c, const pmdp_t& dst, const pmdp_t& src, vaddr_t addr, vaddr_t end) {
  c.copied = c.swapped = 0;
  int error = 0;
  while (error == 0 && addr != end) {
    if (c.needs_spare) c.spare = alloc_page(GFP_KERNEL);
    if ((c.needs_spare && c.spare == nullptr) || !pte_alloc(*c.dst.vm_mm, dst)) {
      error = -ENOMEM;
    } else {
      c.needs_spare = false;
      addr = copy_ptes(c, dst, src, addr, end);
    }
  }
  add_mm_counter(*c.dst.vm_mm, MM_ANONPAGES, c.copied);
  if (c.swapped != 0) add_mm_counter(*c.dst.vm_mm, MM_SWAPENTS, c.swapped);
  return error;
}

/// What one PMD entry maps.
int copy_pmd_entry(area_copy& c, pmdp_t src_pmdp, vaddr_t addr, vaddr_t end) {
  const pmd_t seen = pmdp_get_lockless(src_pmdp);
  if (pmd_none(seen) || is_huge_zero_pmd(seen)) return 0; // faults bring zeros, as large as they fit there
  const pmd_lookup dst = pmd_alloc(*c.dst.vm_mm, addr);
  if (!dst.found) return -ENOMEM;
  if (pmd_trans_huge(seen) || is_pmd_migration_entry(seen)) {
    switch (copy_huge_pmd(c.dst, c.src, addr, dst.pmdp, src_pmdp)) {
    case copy_huge::copied:
      return 0;
    case copy_huge::no_memory:
      return -ENOMEM;
    case copy_huge::not_huge:
      break;
    }
  }
  return copy_pte_range(c, dst.pmdp, src_pmdp, addr, end);
}

int copy_pmd_range(area_copy& c, pudp_t pudp, pud_t pud, vaddr_t addr, vaddr_t end) {
  int error = 0;
  for (vaddr_t next; addr < end && error == 0; addr = next) {
    next = pmd_addr_end(addr, end);
    error = copy_pmd_entry(c, pmd_offset(pudp, pud, addr), addr, next);
  }
  return error;
}

int copy_pud_range(area_copy& c, pgdp_t pgdp, pgd_t pgd, vaddr_t addr, vaddr_t end) {
  int error = 0;
  for (vaddr_t next; addr < end && error == 0; addr = next) {
    next = pud_addr_end(addr, end);
    const pudp_t pudp = pud_offset(pgdp, pgd, addr);
    const pud_t pud = pudp_get(pudp);
    if (pud_present(pud)) error = copy_pmd_range(c, pudp, pud, addr, next);
  }
  return error;
}

/// Caller holds src's vm_lock for writing.
int copy_page_range(vm_area_struct& dst, vm_area_struct& src) {
  if ((src.vm_flags.get() & VM_SHARED) != 0) return 0; // the file has it all
  area_copy c{dst, src};
  const vaddr_t start = src.vm_start.get();
  const vaddr_t end = src.vm_end.get();
  mmu_notifier_invalidation notify(*src.vm_mm, mmu_notifier_event::protection_page, start, end);
  write_protect_section section(*src.vm_mm);
  int error = 0;
  for (vaddr_t addr = start, next; addr < end && error == 0; addr = next) {
    next = pgd_addr_end(addr, end);
    const pgdp_t pgdp = pgd_offset(*src.vm_mm, addr);
    const pgd_t pgd = pgdp_get(pgdp);
    if (pgd_present(pgd)) error = copy_pud_range(c, pgdp, pgd, addr, next);
  }
  if (c.spare != nullptr) put_page(c.spare);
  return error;
}

} // namespace

int copy_pages(mm_struct& child, mm_struct& parent) NO_THREAD_SAFETY_ANALYSIS {
  int error = 0;
  parent.for_each_region([&](mmap_region& from) NO_THREAD_SAFETY_ANALYSIS {
    const mmap_region* to = child.existing_region(from.start);
    for_all_vmas(from, [&](vm_area_struct& src) NO_THREAD_SAFETY_ANALYSIS {
      // until the flush: a fault would copy a page that threads with an old translation still store to
      down_write(src.vm_lock);
      if (error == 0) error = copy_page_range(*to->areas.find_vma(src.vm_start.get()), src);
    });
  });
  flush_tlb_mm(parent.context);
  parent.for_each_region([](mmap_region& from) NO_THREAD_SAFETY_ANALYSIS {
    for_all_vmas(from, [](vm_area_struct& src) NO_THREAD_SAFETY_ANALYSIS { up_write(src.vm_lock); });
  });
  return error;
}

int dup_mmap(mm_struct& child, mm_struct& parent) NO_THREAD_SAFETY_ANALYSIS {
  parent.mmap_write_lock_all();
  int error = dup_areas(child, parent);
  if (error == 0) error = copy_pages(child, parent);
  parent.mmap_write_unlock_all();
  return error;
}

} // namespace racewalk::inline RACEWALK_BACKEND
