#include "mm/ksm.h"

#include <cerrno>
#include <cstring>

#include "arch/swapops.h"
#include "mm/madvise.h"
#include "mm/memory.h"
#include "mm/mmu_gather.h"
#include "mm/page_lock.h"
#include "mm/pgtable_generic.h"
#include "mm/rmap.h"
#include "mm/slab.h"
#include "mm/swapfile.h"
#include "mm/userfaultfd.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- stable nodes ----------------------------------------------------------------------------------------

ksm_stable_node::~ksm_stable_node() {
  while (ksm_rmap_item* item = items) {
    items = item->next;
    delete item;
  }
}

ksm_stable_node* ksm_alloc_node() { return kmalloc_obj<ksm_stable_node>(); }
void ksm_get_node(ksm_stable_node& node) { atomic_inc(node.refs); }
void ksm_put_node(ksm_stable_node& node) {
  if (atomic_dec_and_test(node.refs)) delete &node;
}
bool ksm_node_is_stale(const ksm_stable_node& node) { return atomic_read(node.refs) == 1; }

namespace {

void set_node_of(folio* folio, ksm_stable_node* node) {
  folio->page.mapping.set(reinterpret_cast<uintptr_t>(node));
}

} // namespace

void folio_set_stable_node(folio* folio, ksm_stable_node& node) {
  ksm_get_node(node);
  set_node_of(folio, &node);
  // swap-backed, even if it had been freed lazily: others come to rely on it
  atomic_or(folio->page.flags, BIT(PG_ksm) | BIT(PG_anon) | BIT(PG_swapbacked));
  smp_store_release(node.kpfn, folio_pfn(folio)); // what it is comes first: pairs with ksm_get_folio()
}

void folio_migrate_ksm(folio* to, folio* from) {
  ksm_stable_node* node = folio_stable_node(from);
  set_node_of(to, node);
  set_node_of(from, nullptr);
  if (node != nullptr) smp_store_release(node->kpfn, folio_pfn(to)); // as above
}

void folio_clear_stable_node(folio* folio) {
  ksm_stable_node* node = folio_stable_node(folio);
  if (node == nullptr) return;
  // what the slot had may have been read again meanwhile, to another frame
  (void)cmpxchg(node->kpfn, folio_pfn(folio), 0);
  set_node_of(folio, nullptr);
  ksm_put_node(*node);
}

folio* ksm_get_folio(const ksm_stable_node& node) {
  for (;;) {
    const pfn_t pfn = smp_load_acquire(node.kpfn);
    if (pfn == 0) return nullptr;
    page* page = pfn_to_page(pfn);
    folio* folio = page_folio(page);
    if (&folio->page == page && folio_try_get(folio)) {
      // with the reference it stays what it is; before, it may have become anything
      if (folio_test_ksm(folio) && folio_stable_node(folio) == &node) return folio;
      folio_put(folio);
    }
    if (READ_ONCE(node.kpfn) == pfn) return nullptr; // it is being moved, or freed
  }
}

namespace {

bool is_item_of(const ksm_rmap_item& item, const anon_vma* anon, u64 index) {
  return item.anon == anon && item.index == index;
}

/// Caller holds the folio lock, or nobody else knows the node.
bool add_item(ksm_stable_node& node, const vm_area_struct& vma, vaddr_t addr) {
  anon_vma* anon = vma.vm_mm->existing_region(addr)->anon;
  const u64 index = linear_page_index(vma, addr);
  for (const ksm_rmap_item* item = node.items; item != nullptr; item = item->next)
    if (is_item_of(*item, anon, index)) return true;
  auto* item = kmalloc_obj<ksm_rmap_item>(ksm_rmap_item{anon, index, node.items});
  if (item == nullptr) return false;
  node.items = item;
  ++node.nr_items;
  return true;
}

/// Whether an entry that a walk along the item comes to maps the page.
bool item_leads_to(const ksm_rmap_item& item, folio* kpage) {
  bool found = false;
  rmap_walk_anon(*item.anon, item.index, 1, [&](vm_area_struct& vma, const rmap_place& at) {
    for_each_entry(
        *vma.vm_mm, at, [](const pmdp_t&) { return false; },
        [&](const pmdp_t& pmdp, vaddr_t addr, u64) {
          const pte_map_lock table(pmdp);
          if (!table) return;
          const pte_t pte = ptep_get(table.at(addr));
          found = found || (pte_present(pte) && pte_pfn(pte) == folio_pfn(kpage));
        });
  });
  return found;
}

} // namespace

bool stable_tree_append(folio* kpage, const vm_area_struct& vma, vaddr_t addr) {
  folio_lock(kpage);
  ksm_stable_node* node = folio_stable_node(kpage);
  // what could not be read of the swap file is not what it stands for
  const bool added = node != nullptr && folio_test_uptodate(kpage) && add_item(*node, vma, addr);
  folio_unlock(kpage);
  return added;
}

void ksm_prune_items(folio* kpage) {
  if (!folio_trylock(kpage)) return;
  ksm_stable_node* node = folio_stable_node(kpage);
  // entries that name its slot come back as entries that map it
  if (node != nullptr && !folio_test_swapcache(kpage) &&
      node->nr_items > static_cast<u64>(folio_mapcount(kpage)))
    for (ksm_rmap_item** at = &node->items; *at != nullptr;) {
      ksm_rmap_item* item = *at;
      if (item_leads_to(*item, kpage)) {
        at = &item->next;
        continue;
      }
      *at = item->next;
      --node->nr_items;
      delete item;
    }
  folio_unlock(kpage);
}

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

int try_to_make_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page, ksm_stable_node& node) {
  folio* folio = page_folio(page);
  const mergeable_folio locked(folio);
  if (!locked) return -EBUSY;
  folio_free_swap(folio);
  if (folio_test_swapcache(folio)) return -EBUSY; // its slot knows it as what it is
  if (!add_item(node, vma, addr)) return -ENOMEM;
  pte_t seen;
  if (const int error = write_protect_page(vma, addr, page, &seen); error != 0) return error;
  folio_set_dirty(folio); // its entries are clean
  folio_set_stable_node(folio, node);
  return 0;
}

// ---- finding pages ---------------------------------------------------------------------------------------

namespace {

/// Whether `addr` has a page that stands for others, mapped or in the swap file.
bool has_ksm_page(vm_area_struct& vma, vaddr_t addr) {
  const pmd_lookup at = find_pmd(*vma.vm_mm, addr);
  if (!at.found) return false;
  pte_map_lock table(at.pmdp);
  if (!table) return false;
  const pte_t pte = ptep_get(table.at(addr));
  if (pte_present(pte)) return folio_test_ksm(page_folio(pfn_to_page(pte_pfn(pte))));
  return is_swap_pte(pte) && is_swap_entry(pte_to_swp_entry(pte)) && swap_holds_ksm(pte_to_swp_entry(pte));
}

} // namespace

page* get_mergeable_page(vm_area_struct& vma, vaddr_t addr) {
  const pmd_lookup at = find_pmd(*vma.vm_mm, addr);
  if (!at.found) return nullptr;
  pte_map_lock table(at.pmdp);
  if (!table) return nullptr;
  const pte_t pte = ptep_get(table.at(addr));
  if (!pte_present(pte)) return nullptr;
  page* page = pfn_to_page(pte_pfn(pte));
  folio* folio = page_folio(page);
  if (!folio_test_anon(folio) || folio_test_large(folio) || folio_test_ksm(folio)) return nullptr;
  folio_get(folio);
  return page;
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
  fault_result result = fault_result::handled;
  const auto unmerge = [&](vm_area_struct& vma, vaddr_t from, vaddr_t to) {
    for (vaddr_t addr = from; addr < to; addr += PAGE_SIZE)
      while (result == fault_result::handled && has_ksm_page(vma, addr))
        result = handle_mm_fault(vma, addr, FAULT_FLAG_UNSHARE);
  };
  const int error = madvise_walk_vmas(mm, start, end, unmerge);
  return result == fault_result::handled ? error : swapin_errno(result);
}

} // namespace racewalk::inline RACEWALK_BACKEND
