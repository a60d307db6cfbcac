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

namespace {

void free_stable_node(ksm_stable_node& node) {
  for (ksm_rmap_item *item = node.items.get(), *next = nullptr; item != nullptr; item = next) {
    next = item->next.get();
    kfree_obj(item);
  }
  kfree_obj(&node);
}

} // namespace

ksm_rmap_item* alloc_rmap_item() { return kmalloc_obj<ksm_rmap_item>(); }
ksm_stable_node* ksm_alloc_node() { return kmalloc_obj<ksm_stable_node>(); }
void ksm_get_node(ksm_stable_node& node) { atomic_inc(node.refs); }
void ksm_put_node(ksm_stable_node& node) {
  if (atomic_dec_and_test(node.refs)) free_stable_node(node);
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
      if (!policy().ksm_get_rechecks || (folio_test_ksm(folio) && folio_stable_node(folio) == &node))
        return folio;
      folio_put(folio);
    }
    if (READ_ONCE(node.kpfn) == pfn) return nullptr; // it is being moved, or freed
  }
}

namespace {

ksm_rmap_item* find_item(const ksm_stable_node& node, const anon_vma* anon, u64 index) {
  ksm_rmap_item* item = node.items.get();
  while (item != nullptr && (item->anon.get() != anon || item->index.get() != index))
    item = item->next.get();
  return item;
}

/// The item of a place: a new one, which is taken over, unless there is one. Caller holds the folio lock, or
/// nobody else knows the node.
ksm_rmap_item* add_item(ksm_stable_node& node, anon_vma* anon, u64 index, ksm_rmap_item* item) {
  if (ksm_rmap_item* known = find_item(node, anon, index)) {
    kfree_obj(item);
    return known;
  }
  item->anon.set(anon);
  item->index.set(index);
  item->next.set(node.items.get());
  node.items.set(item);
  node.nr_items.set(node.nr_items.get() + 1);
  return item;
}

/// Whether an entry that a walk along the item comes to maps the page.
bool item_leads_to(const ksm_rmap_item& item, folio* kpage) {
  bool found = false;
  rmap_walk_anon(*item.anon.get(), item.index.get(), 1, [&](vm_area_struct& vma, const rmap_place& at) {
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

/// Whether nobody comes to an entry by the item, now or soon. Caller holds the folio lock.
bool is_idle(const ksm_rmap_item& item, folio* kpage) {
  // Who has made an entry has let the item go afterwards: pairs with the release in merge_with_stable_node().
  if (policy().ksm_prune_spares_new && smp_load_acquire(item.mergers) != 0) return false;
  return !item_leads_to(item, kpage);
}

/// Caller holds the folio lock.
void prune_items(ksm_stable_node& node, folio* kpage) {
  ksm_rmap_item* before = nullptr;
  for (ksm_rmap_item *item = node.items.get(), *next = nullptr; item != nullptr; item = next) {
    next = item->next.get();
    if (!is_idle(*item, kpage)) {
      before = item;
      continue;
    }
    (before == nullptr ? node.items : before->next).set(next);
    node.nr_items.set(node.nr_items.get() - 1);
    kfree_obj(item);
  }
}

/// Entries that name its slot come back as entries that map it. Caller holds the folio lock.
bool may_have_idle_items(const ksm_stable_node& node, folio* kpage) {
  return !folio_test_swapcache(kpage) && node.nr_items.get() > static_cast<u64>(folio_mapcount(kpage));
}

} // namespace

void ksm_prune_items(ksm_stable_node& node, folio* kpage) {
  if (policy().ksm_prunes_locked && !folio_trylock(kpage)) return;
  if (may_have_idle_items(node, kpage)) prune_items(node, kpage);
  if (policy().ksm_prunes_locked) folio_unlock(kpage);
}

// ---- the steps of a merge --------------------------------------------------------------------------------

namespace {

/// The references of a page that one entry maps and the merger holds: nobody else can store to it.
bool only_mapped(folio* folio) { return folio_ref_count(folio) == folio_expected_ref_count(folio) + 1; }

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
  (void)folio_free_swap(page_folio(page)); // the merger has it locked
  folio_put(page_folio(page));             // the entry's
  return 0;
}

/// A folio whose page may be merged, locked while it is being looked at.
class mergeable_folio {
 public:
  explicit mergeable_folio(folio* folio) : folio_(folio) {
    if (!policy().ksm_tests_locked && !may_be_merged()) return;
    locked_ = folio_trylock(folio);
    ok_ = locked_ && (!policy().ksm_tests_locked || may_be_merged());
  }
  ~mergeable_folio() {
    if (locked_) folio_unlock(folio_);
  }
  mergeable_folio(const mergeable_folio&) = delete;
  mergeable_folio& operator=(const mergeable_folio&) = delete;
  explicit operator bool() const { return ok_; }

 private:
  bool may_be_merged() const {
    return !folio_test_large(folio_) && folio_test_anon(folio_) && !folio_test_ksm(folio_);
  }

  folio* folio_;
  bool locked_ = false;
  bool ok_ = false;
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

namespace {

/// The page is about to be mapped by the area at `addr`. Takes the item over. The item that says so until it
/// is let go; null if the page cannot be mapped. Caller has a reference to it, and no folio lock.
ksm_rmap_item* stable_tree_append(ksm_stable_node& node, folio* kpage, const vm_area_struct& vma,
                                  vaddr_t addr, ksm_rmap_item* item) {
  folio_lock(kpage);
  if (folio_test_uptodate(kpage)) {
    item = add_item(node, vma.vm_mm->existing_region(addr)->anon, linear_page_index(vma, addr), item);
    atomic_inc(item->mergers);
  } else { // what could not be read of the swap file is not what it stands for
    kfree_obj(item);
    item = nullptr;
  }
  folio_unlock(kpage);
  return item;
}

} // namespace

int merge_with_stable_node(ksm_stable_node& node, vm_area_struct& vma, vaddr_t addr, page* page,
                           ksm_rmap_item* item) {
  if (item == nullptr) return -ENOMEM;
  folio* kpage = ksm_get_folio(node);
  if (kpage == nullptr) {
    kfree_obj(item);
    return -ENOENT;
  }
  item = stable_tree_append(node, kpage, vma, addr, item);
  if (!policy().ksm_keeps_kpage) folio_put(kpage);
  const int error = item == nullptr ? -EFAULT : try_to_merge_with_ksm_page(vma, addr, page, kpage);
  // release: the entry, then whether one is to come; pairs with the acquire in is_idle()
  if (item != nullptr) (void)atomic_dec_return(item->mergers, order::release);
  if (policy().ksm_keeps_kpage) folio_put(kpage);
  return error;
}

int try_to_make_ksm_page(vm_area_struct& vma, vaddr_t addr, page* page, ksm_stable_node& node,
                         ksm_rmap_item* item) {
  if (item == nullptr) return -ENOMEM;
  folio* folio = page_folio(page);
  const mergeable_folio locked(folio);
  if (locked) (void)folio_free_swap(folio);
  if (!locked || folio_test_swapcache(folio)) { // or its slot knows it as what it is
    kfree_obj(item);
    return -EBUSY;
  }
  // where whoever has it is looked for now: a fork may have given it to others than the area's mm
  add_item(node, folio_anon_vma(folio), folio->page.index.get(), item);
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
