// M20: a page that stands for others is moved, or goes to the swap file, while it gets a mapping and loses
// one.
//
// A walk comes to its entries from the places where it has been merged. There is one for each entry before
// there is the entry, and it says so until there is; meanwhile who makes the entry has a reference, and with
// that the page does not go. An entry that the walk has passed by before it was made has one, too. So what is
// moved or freed has been found everywhere, or it stays: the count is frozen after the walk (M3). (Linux
// makes the place after the entry; the reference is what keeps that right, too.) A place is added and
// forgotten under the folio lock, which the walk has, and the folio that a page is moved to is locked until
// it has all its entries: a place that looks idle meanwhile has a migration entry.
//
// Who comes from the node without locks gets a reference, and asks then whether it is the node's page still.
#include "arch/swapops.h"
#include "catalogue.h"
#include "mm/ksm.h"
#include "mm/madvise.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  MOVE_MERGE,  ///< the page is moved, and another one merged with it
  MOVE_STORE,  ///< it is moved, and a store takes a copy
  MOVE_UNMAP,  ///< it is moved, and nobody maps it any more
  MOVE_PRUNE,  ///< it is moved, and places that it has left are forgotten: there is none
  AGE_PRUNE,   ///< its entries are made old, and places that it has left are forgotten
  SWAP_MERGE,  ///< it goes to the swap file, and another one is merged with it
  PRUNE_MERGE, ///< places are forgotten, and another one is merged with it
  MAKE_TWICE,  ///< two scanners make the same page stand for others
};

constexpr u64 STORED = 8;

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, 2 * PAGE_SIZE, "p");
    make_stable();
    if (shape == AGE_PRUNE) {
      merge();
      (void)madvise_dontneed(mm_, PAGE_SIZE, 2 * PAGE_SIZE);
    }
    if (shape == MOVE_UNMAP) ksm_put_node(node_); // the page alone keeps it
    if (shape == SWAP_MERGE) new_swap(1);
    if (shape == MOVE_STORE) load_mm(1, mm_);
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigbus; }; // one try
    describe(node_, "node");
    for (std::size_t n = 0; n < std::size(items_); ++n)
      describe(items_[n], "item" + std::to_string(n));
    folio_ = page_folio(page_at(mm_, 0));
    if (shape == SWAP_MERGE) folio_get(folio_); // who takes it off the LRU has one
    cpu([this, shape] { walk(shape); });
    cpu([this, shape] { change(shape); });
    finally([this] {
      nothing_is_lost(0, stored_ ? STORED : 0);
      nothing_is_lost(PAGE_SIZE, 0);
    });
  }

 private:
  void walk(unsigned shape) {
    if (shape == PRUNE_MERGE) return prune();
    if (shape == AGE_PRUNE) return age();
    if (shape != SWAP_MERGE) return (void)migrate_page_at(mm_, 0);
    folio* folio = folio_;
    shrink_folio_list(&folio, 1);
  }
  void age() {
    tlbflush_unmap_batch batch;
    folio_lock(folio_);
    (void)folio_referenced(folio_, batch);
    folio_unlock(folio_);
    try_to_unmap_flush(batch);
  }
  void change(unsigned shape) {
    stored_ = false;
    if (shape == MOVE_STORE)
      store();
    else if (shape == MOVE_UNMAP)
      (void)madvise_dontneed(mm_, 0, PAGE_SIZE);
    else if (shape == MOVE_PRUNE || shape == AGE_PRUNE)
      prune();
    else
      merge();
  }

  void store() {
    read_guard vm_lock(area().vm_lock);
    (void)handle_mm_fault(area(), 0, FAULT_FLAG_WRITE);
    stored_ = this_cpu().store<u64>(0, STORED).ok();
  }
  void make_stable() {
    page* page = get_mergeable_page(area(), 0);
    const int error = try_to_make_ksm_page(area(), 0, page, node_, &items_[0]);
    VM_BUG_ON(error != 0, "SCENARIO", "a page cannot be merged");
    put_page(page);
  }
  void merge() {
    read_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
    page* page = get_mergeable_page(area(), PAGE_SIZE);
    (void)merge_with_stable_node(node_, area(), PAGE_SIZE, page, &items_[1]);
    put_page(page);
  }
  void prune() {
    folio* kpage = ksm_get_folio(node_);
    if (kpage == nullptr) return;
    ksm_prune_items(node_, kpage);
    folio_put(kpage);
  }

  vm_area_struct& area() { return *mm_.existing_region(0)->areas.lookup(0); }

  /// What is mapped can be read, and found by who comes from it.
  void nothing_is_lost(vaddr_t addr, u64 content) {
    const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, addr).pmdp), addr));
    if (pte_none(pte)) return; // unmapped
    VM_BUG_ON(is_swap_pte(pte) && is_migration_entry(pte_to_swp_entry(pte)), "INV-REF",
              "an entry was missed, and waits for a page that has been moved");
    VM_BUG_ON(read_back(mm_, addr) != content, "INV-DIRTY", "what is read is not what was stored");
    if (!pte_present(pte)) return;
    const folio* kpage = page_folio(pfn_to_page(pte_pfn(pte)));
    VM_BUG_ON(folio_test_ksm(kpage) && !has_place(kpage, addr), "INV-REF",
              "an entry maps a page, and no walk from there comes to it");
  }
  bool has_place(const folio* kpage, vaddr_t addr) {
    const ksm_stable_node* node = folio_stable_node(kpage);
    if (node == nullptr) return false;
    for (const ksm_rmap_item* item = node->items.get(); item != nullptr; item = item->next.get())
      if (item->index.get() == linear_page_index(area(), addr)) return true;
    return false;
  }

  mm_struct& mm_ = new_mm();
  ksm_stable_node node_;
  std::array<ksm_rmap_item, 2> items_;
  folio* folio_ = nullptr;
  bool stored_ = false;
};

/// Two scanners come to the same page.
class two_scanners : public testbed {
 public:
  two_scanners() : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    for (unsigned n = 0; n < 2; ++n) {
      describe(nodes_[n], "node" + std::to_string(n));
      describe(items_[n], "item" + std::to_string(n));
      cpu([this, n] { made_[n] = make_stable(n); });
    }
    finally(
        [this] { VM_BUG_ON(made_[0] && made_[1], "INV-REF", "a page was made to stand for others twice"); });
  }

 private:
  bool make_stable(unsigned n) {
    mmap_region& region = *mm_.existing_region(0);
    read_guard mmap_lock(region.mmap_lock);
    page* page = get_mergeable_page(*region.areas.lookup(0), 0);
    if (page == nullptr) return false;
    const bool made = try_to_make_ksm_page(*region.areas.lookup(0), 0, page, nodes_[n], &items_[n]) == 0;
    put_page(page);
    return made;
  }

  mm_struct& mm_ = new_mm();
  std::array<ksm_stable_node, 2> nodes_;
  std::array<ksm_rmap_item, 2> items_;
  std::array<bool, 2> made_{};
};

std::unique_ptr<scenario_world> set_up(const settings& s) {
  if (s.shape == MAKE_TWICE) return std::make_unique<two_scanners>();
  return std::make_unique<world>(s.shape);
}

auto of(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}
auto without(unsigned shape, bool policy_t::*choice) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.*choice = false;
  };
}

} // namespace

scenario walk_vs_merge() {
  return {
      .id = "M20",
      .name = "walk_vs_merge",
      .summary = "a page that stands for others is moved or swapped while it gets and loses mappings",
      .source = "Linux, mm/ksm.c: rmap_walk_ksm(), ksm_get_folio(), folio_migrate_ksm()",
      .threads = {"walk", "change"},
      .set_up = set_up,
      .variants =
          {
              {"a", "shipped", "it is moved while another page is merged with it", nullptr, always_safe},
              {"b", "swap", "it goes to the swap file while another page is merged with it", of(SWAP_MERGE),
               always_safe},
              {"c", "store", "it is moved while a store takes a copy", of(MOVE_STORE), always_safe},
              {"d", "unmap", "it is moved while its last entry goes", of(MOVE_UNMAP), always_safe},
              {"e", "prune", "it is moved while places are forgotten", of(MOVE_PRUNE), always_safe},
              {"f", "no_reference", "as a, who merges lets the page go before there is an entry",
               without(MOVE_MERGE, &policy_t::ksm_keeps_kpage), always_violation},
              {"g", "no_reference_swap", "as b, who merges lets the page go before there is an entry",
               without(SWAP_MERGE, &policy_t::ksm_keeps_kpage), always_violation},
              {"h", "not_asked_again", "as a, who has got a reference does not ask whose page it is",
               without(MOVE_MERGE, &policy_t::ksm_get_rechecks), always_violation},
              {"i", "move_unlocked", "as a, the page arrives unlocked: a place comes while the walk goes on",
               without(MOVE_MERGE, &policy_t::migrate_locks_new), violation_if_weak},
              {"i-e", "move_unlocked_prune",
               "as e, the page arrives unlocked: its place looks as if it had left",
               without(MOVE_PRUNE, &policy_t::migrate_locks_new), always_violation},
              {"j", "age", "its entries are made old while a place that it has left is forgotten",
               of(AGE_PRUNE), always_safe},
              {"k", "prune_unlocked", "as j, a place is forgotten without the folio lock",
               without(AGE_PRUNE, &policy_t::ksm_prunes_locked), always_violation},
              {"l", "prune_vs_merge", "a place is not forgotten while its entry is still to come",
               of(PRUNE_MERGE), always_safe},
              {"m", "prune_new", "as l, it is", without(PRUNE_MERGE, &policy_t::ksm_prune_spares_new),
               always_violation},
              {"n", "two_scanners", "two scanners make the same page stand for others", of(MAKE_TWICE),
               always_safe},
              {"o", "tested_unlocked", "as n, each asks before it has the folio lock whether one has",
               without(MAKE_TWICE, &policy_t::ksm_tests_locked), always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
