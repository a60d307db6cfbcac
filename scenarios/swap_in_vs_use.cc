// M45: a page is brought back from the swap file while others do so, too, or have a part in it.
//
// A fault reads the entry without its lock, finds the folio in the swap cache or makes it, and waits for the
// folio lock. Meanwhile another CPU may have brought the page back (c): if somebody else has it, too, the
// folio is still in the swap cache. Or it may have thrown the page away, stored another one at the address,
// and swapped that out (e): to the same slot, which is free again, so that the entry looks as it did. So the
// fault looks again at both: under the folio lock whether the folio is still the slot's content, and under
// the page-table lock whether the entry still names the slot. Neither can be left out.
//
// An entry remembers whether the page was its mm's alone, and then it comes back so, to be stored to at once.
// Fork makes a second entry for the slot, so it has to take that out of the first one (g): or the parent
// stores to the page in the swap cache, which is what the child will read.
#include <optional>

#include "catalogue.h"
#include "mm/fork.h"
#include "mm/madvise.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  TWICE,  ///< another CPU of the mm brings it back
  SHARED, ///< the same, of what a child has, too
  REUSE,  ///< the address and its slot get another page
  FORK,   ///< the mm forks
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    new_swap(1);
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    WRITE_ONCE(page_words(page_at(mm_, 0))[0], 7);
    vma_ = mm_.existing_region(0)->areas.find_vma(0);
    ptep_.emplace(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
    (void)dup_areas(child_, mm_);
    swap_out(page_at(mm_, 0));
    if (shape == REUSE)
      reuse();
    else if (shape == FORK)
      fork();
    else
      twice(shape == SHARED);
  }

 private:
  /// One fault: whether it has made the page present, the access would find out.
  void fault(fault_flags flags) { (void)handle_mm_fault(*vma_, 0, flags); }
  static void swap_out(page* page) {
    folio* folio = page_folio(page);
    folio_get(folio);
    shrink_folio_list(&folio, 1);
  }
  /// The first half of that: to be written it stays in the swap cache.
  static void put_in_slot(folio* folio) {
    folio_lock(folio);
    tlbflush_unmap_batch batch;
    if (add_to_swap(folio)) (void)try_to_unmap(folio, batch);
    try_to_unmap_flush(batch);
    folio_unlock(folio);
  }
  /// As MADV_DONTNEED does.
  void throw_away() {
    mmu_gather tlb(mm_);
    tlb_gather_mmu(tlb);
    unmap_page_range(tlb, 0, PAGE_SIZE);
    tlb_finish_mmu(tlb);
  }
  [[nodiscard]] pte_t entry() const { return ptep_get(*ptep_); }

  void twice(bool shared) {
    if (shared) (void)copy_pages(child_, mm_);
    for (int twin : {-1, 0})
      cpu([this] { fault(FAULT_FLAG_NONE); }, twin);
    finally([this] {
      VM_BUG_ON(read_back(mm_, 0) != 7, "INV-DIRTY", "the page is not what it was");
      VM_BUG_ON(pte_present(entry()) && folio_mapcount(page_folio(page_at(mm_, 0))) != 1, "INV-REF",
                "a page counts two entries where there is one: the slot has lost the child's");
    });
  }
  void reuse() {
    (void)madvise_willneed(mm_, 0, PAGE_SIZE); // it is in the swap cache
    cpu([this] { fault(FAULT_FLAG_NONE); });
    cpu([this] {
      stored_ = false;
      throw_away();
      fault(FAULT_FLAG_WRITE);
      const pte_t pte = entry();
      if (!pte_write(pte)) return; // the other CPU was in between
      page* page = pfn_to_page(pte_pfn(pte));
      WRITE_ONCE(page_words(page)[0], 8);
      stored_ = true;
      put_in_slot(page_folio(page));
    });
    finally([this] {
      VM_BUG_ON(stored_ && read_back(mm_, 0) != 8, "INV-DIRTY", "a page comes back that was thrown away");
    });
  }
  void fork() {
    cpu([this] {
      write_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
      (void)copy_pages(child_, mm_);
    });
    cpu([this] {
      read_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
      fault(FAULT_FLAG_WRITE);
    });
    finally([this] {
      VM_BUG_ON(pte_present(entry()) && pte_write(entry()), "INV-EXCL",
                "the parent may store to a page that the child has, too");
    });
  }

  mm_struct& mm_ = new_mm();
  mm_struct& child_ = new_mm();
  vm_area_struct* vma_ = nullptr;
  std::optional<ptep_t> ptep_; ///< the table stays
  bool stored_ = false;
};

auto with_shape(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}

} // namespace

scenario swap_in_vs_use() {
  return {
      .id = "M45",
      .name = "swap_in_vs_use",
      .summary = "a page comes back from the swap file while its slot or its entry changes hands",
      .source = "Linux, mm/memory.c: do_swap_page(), copy_nonpresent_pte()",
      .threads = {"fault, or fork", "fault"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "twice", "two CPUs bring it back", with_shape(TWICE), always_safe},
              {"b", "shared", "as a, and a child has it, too", with_shape(SHARED), always_safe},
              {"c", "entry_not_rechecked", "as b, nobody looks at the entry again",
               [](settings& s) {
                 s.shape = SHARED;
                 s.policy.swapin_rechecks_pte = false;
               },
               always_violation},
              {"d", "reuse", "it is thrown away, and its slot gets another page", with_shape(REUSE),
               always_safe},
              {"e", "folio_not_rechecked", "as d, nobody looks whether the folio is still the slot's",
               [](settings& s) {
                 s.shape = REUSE;
                 s.policy.swapin_rechecks_folio = false;
               },
               always_violation},
              {"f", "fork", "the mm forks and brings it back", with_shape(FORK), always_safe},
              {"g", "stays_exclusive", "as f, the parent's entry says still that the page is its own",
               [](settings& s) {
                 s.shape = FORK;
                 s.policy.fork_shares_swap_entries = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
