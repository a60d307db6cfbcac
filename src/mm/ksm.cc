#include "mm/ksm.h"

#include <cerrno>
#include <cstring>

#include "mm/madvise.h"
#include "mm/memory.h"
#include "mm/mmu_gather.h"
#include "mm/page_lock.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/userfaultfd.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- the steps of a merge --------------------------------------------------------------------------------

namespace {

/// The references of a page that one entry maps and the merger holds: nobody else can store to it.
bool only_mapped(folio* folio) { return folio_ref_count(folio) == folio_mapcount(folio) + 1; }

/// May a TLB let stores through that the entry would not, or the entry not tell of one? An entry may owe its
/// looks to somebody who has not flushed yet; that he has not, he has said before he took the ptl: pairs with
/// inc_tlb_flush_pending() (M10). And as long as the page is exclusively the mm's, nobody has taken the right
/// to store away for good.
bool must_flush(const mm_struct& mm, pte_t pte, const page* page) {
  return pte_write(pte) || pte_dirty(pte) || (policy().ksm_tests_exclusive && PageAnonExclusive(page)) ||
         (policy().ksm_tests_flush_pending && mm_tlb_flush_pending(mm));
}

/// Ends the exclusive use of a page whose entry is gone. False if it may be pinned.
bool try_share(folio* folio, page* page) {
  if (policy().ksm_tests_exclusive) return folio_try_share_anon_rmap(folio, page);
  ClearPageAnonExclusive(page); // as if there were no such thing
  return true;
}

/// Makes the entry that maps the page read-only and clean, once no store can come that it does not tell of.
/// `result`: the entry then. 0, -EFAULT or -EBUSY. Caller holds the folio lock.
int write_protect_page(vm_area_struct& vma, vaddr_t addr, page* page, pte_t* result) {
  mm_struct& mm = *vma.vm_mm;
  folio* folio = page_folio(page);
  mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, addr, addr + PAGE_SIZE);
  const pmd_lookup at = find_pmd(mm, addr);
  if (!at.found) return -EFAULT;
  pte_map_lock table(at.pmdp);
  if (!table) return -EFAULT;
  const ptep_t ptep = table.at(addr);
  pte_t pte = ptep_get(ptep);
  if (!pte_present(pte) || pte_pfn(pte) != page_to_pfn(page)) return -EFAULT;
  if (pte_uffd_wp(pte) || pte_protnone(pte)) return -EBUSY; // it says more than where the page is
  if (must_flush(mm, pte, page)) {
    if (!policy().ksm_flushes_first && !only_mapped(folio)) return -EBUSY;
    // The entry, then the references: the exchange and the flush are a full barrier, and pair with the
    // reference that gup_fast_pte_range() takes before it reads the entry again. A walk that found the entry
    // has its reference counted here.
    pte = ptep_clear_flush(mm, addr, ptep);
    if ((policy().ksm_flushes_first && !only_mapped(folio)) || !try_share(folio, page)) {
      set_pte_at(addr, ptep, pte);
      return -EBUSY;
    }
    if (pte_dirty(pte)) folio_set_dirty(folio);
    pte = pte_wrprotect(pte_mkclean(pte));
    set_pte_at(addr, ptep, pte);
  }
  *result = pte;
  return 0;
}

bool pages_identical(const page* a, const page* b, site s = RW_HERE) {
  if (!explored()) return std::memcmp(page_address(a), page_address(b), PAGE_SIZE) == 0;
  for (unsigned word = 0; word < ptrs_per_table(); ++word)
    if (READ_ONCE(page_words(a)[word], s) != READ_ONCE(page_words(b)[word], s)) return false;
  return true;
}

/// Makes the entry `seen`, which maps the page, map `kpage`. 0, or -EFAULT if it has changed.
int replace_page(vm_area_struct& vma, vaddr_t addr, page* page, folio* kpage, pte_t seen) {
  mm_struct& mm = *vma.vm_mm;
  {
    mmu_notifier_invalidation notify(mm, mmu_notifier_event::clear, addr, addr + PAGE_SIZE);
    const pmd_lookup at = find_pmd(mm, addr);
    if (!at.found) return -EFAULT;
    pte_map_lock table(at.pmdp);
    if (!table) return -EFAULT;
    const ptep_t ptep = table.at(addr);
    if (!pte_same(ptep_get(ptep), seen)) return -EFAULT;
    folio_get(kpage);
    folio_add_rmap_pte(&kpage->page);
    pte_t entry = pte_mkclean(pte_wrprotect(mk_pte(folio_pfn(kpage), vm_page_prot(vma))));
    if (pte_soft_dirty(seen)) entry = pte_mksoft_dirty(entry);
    // Nobody reads the old page after somebody else has stored to a copy of the new one (M41). A full
    // barrier: the new page's content comes before the entry that leads to it.
    (void)ptep_clear_flush(mm, addr, ptep);
    set_pte_at(addr, ptep, entry);
    folio_remove_rmap_pte(page);
  }
  put_page(page); // the entry's
  return 0;
}

/// A folio whose page may be merged, locked while it is being looked at.
class mergeable_folio {
 public:
  explicit mergeable_folio(folio* folio)
      : folio_(folio), ok_(!folio_test_large(folio) && folio_test_anon(folio) && !folio_test_ksm(folio) &&
                           folio_trylock(folio)) {}
  ~mergeable_folio() {
    if (ok_) folio_unlock(folio_);
  }
  mergeable_folio(const mergeable_folio&) = delete;
  mergeable_folio& operator=(const mergeable_folio&) = delete;
  explicit operator bool() const { return ok_; }

 private:
  folio* folio_;
  bool ok_;
};

} // namespace

int try_to_merge_with_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page, folio* kpage) {
  const mergeable_folio locked(page_folio(page));
  if (!locked) return -EBUSY;
  pte_t seen;
  if (const int error = write_protect_page(vma, addr, page, &seen); error != 0) return error;
  if (!pages_identical(page, &kpage->page)) return -EINVAL;
  return replace_page(vma, addr, page, kpage, seen);
}

int try_to_make_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page) {
  folio* folio = page_folio(page);
  const mergeable_folio locked(folio);
  if (!locked) return -EBUSY;
  pte_t seen;
  if (const int error = write_protect_page(vma, addr, page, &seen); error != 0) return error;
  folio_set_ksm(folio);
  return 0;
}

// ---- finding pages ---------------------------------------------------------------------------------------

namespace {

/// What `addr` maps, with a reference, if suits(folio).
template <class Suits> page* get_page_if(vm_area_struct& vma, vaddr_t addr, Suits suits) {
  const pmd_lookup at = find_pmd(*vma.vm_mm, addr);
  if (!at.found) return nullptr;
  pte_map_lock table(at.pmdp);
  if (!table) return nullptr;
  const pte_t pte = ptep_get(table.at(addr));
  if (!pte_present(pte)) return nullptr;
  page* page = pfn_to_page(pte_pfn(pte));
  if (!suits(page_folio(page))) return nullptr;
  folio_get(page_folio(page));
  return page;
}

bool maps_ksm_page(vm_area_struct& vma, vaddr_t addr) {
  page* page = get_page_if(vma, addr, [](folio* folio) { return folio_test_ksm(folio); });
  if (page != nullptr) put_page(page);
  return page != nullptr;
}

} // namespace

page* get_mergeable_page(vm_area_struct& vma, vaddr_t addr) {
  return get_page_if(vma, addr, [](folio* folio) {
    return folio_test_anon(folio) && !folio_test_large(folio) && !folio_test_ksm(folio);
  });
}

u64 calc_checksum(const page* page) {
  u64 sum = 0xcbf29ce484222325;
  for (u64 i = 0; i < PAGE_SIZE / sizeof(word_t); ++i) {
    sum = (sum ^ READ_ONCE(page_words(page)[i])) * 0x9e3779b97f4a7c15;
    sum ^= sum >> 32;
  }
  return sum;
}

int unmerge_ksm_pages(mm_struct& mm, vaddr_t start, vaddr_t end) {
  bool enough = true;
  const auto unmerge = [&](vm_area_struct& vma, vaddr_t from, vaddr_t to) {
    for (vaddr_t addr = from; addr < to; addr += PAGE_SIZE)
      while (enough && maps_ksm_page(vma, addr))
        enough = handle_mm_fault(vma, addr, FAULT_FLAG_UNSHARE) != fault_result::oom;
  };
  const int error = madvise_walk_vmas(mm, start, end, unmerge);
  return enough ? error : -ENOMEM;
}

} // namespace racewalk::inline RACEWALK_BACKEND
