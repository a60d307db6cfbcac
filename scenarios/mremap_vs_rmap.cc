// M37: a page is moved by mremap while somebody who comes from its folio looks for its entries.
//
// He looks at one place after the other. If he is past the new place before the entry arrives there, and at
// the old one after it has left, he misses it: a page stays mapped that is about to be freed, or a migration
// entry that nobody will take out. Linux takes the rmap locks for the move where the order of the areas
// allows that (need_rmap_locks); within a region that is what is done here always. Between two regions the
// order is made: the one that pages go to is visited after the one that they leave.
#include "catalogue.h"
#include "mm/migrate.h"
#include "mm/mremap.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  ONE_REGION,  ///< the page moves within a region, back to where it was mapped first
  TWO_REGIONS, ///< it moves from one to another, which it was mapped in first
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2), home_(shape == ONE_REGION ? 0 : pmd_size()) {
    map_anonymous(mm_, home_, PAGE_SIZE, "p");
    page_ = page_at(mm_, home_);
    vm_area_struct& at_home = *mm_.region(home_)->areas.lookup(home_);
    vm_area_struct& away = new_moved_area();
    new_table(mm_, away.vm_start.get());
    if (shape == TWO_REGIONS) link_regions(mm_, home_, away.vm_start.get());
    move_page_tables(at_home, home_, away, away.vm_start.get(), PAGE_SIZE);
    if (shape == TWO_REGIONS) link_regions(mm_, away.vm_start.get(), home_);
    load_mm(0, mm_);
    load_mm(1, mm_);
    cpu([this, &at_home, &away] {
      write_guard away_lock(away.vm_lock);
      write_guard home_lock(at_home.vm_lock);
      move_page_tables(away, away.vm_start.get(), at_home, home_, PAGE_SIZE);
    });
    cpu([this] { unmap_and_restore(); });
    finally([this] {
      VM_BUG_ON(page_at(mm_, home_) != page_ || folio_mapcount(page_folio(page_)) != 1, "INV-REF",
                "the page is not where it was moved to");
    });
  }

 private:
  /// Where the page has been moved before the story begins.
  vm_area_struct& new_moved_area() {
    const vaddr_t start = home_ == 0 ? PAGE_SIZE : 0;
    vm_area_struct& vma = new_area(mm_, start, PAGE_SIZE, VM_READ | VM_WRITE);
    vma.vm_pgoff.set(home_ >> PAGE_SHIFT);
    mm_.region(start)->displaced.insert(vma.displaced_node, vma);
    return vma;
  }

  /// As a migration that finds the page in use and gives it up.
  void unmap_and_restore() {
    folio* folio = page_folio(page_);
    folio_get(folio);
    folio_lock(folio);
    try_to_migrate(folio, split_entry::no);
    VM_BUG_ON(folio_mapcount(folio) != 0, "INV-REF", "an entry was missed while it was being moved");
    remove_migration_ptes(page_, page_, 1);
    folio_unlock(folio);
    folio_put(folio);
  }

  mm_struct& mm_ = new_mm();
  const vaddr_t home_;
  page* page_;
};

} // namespace

scenario mremap_vs_rmap() {
  return {
      .id = "M37",
      .name = "mremap_vs_rmap",
      .summary = "a page is moved while somebody looks for its entries",
      .source = "need_rmap_locks of move_ptes",
      .threads = {"mremap", "migration"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "in a region, under its rmap lock", nullptr, always_safe},
              {"b", "no_rmap_lock", "as a, without the lock",
               [](settings& s) { s.policy.mremap_holds_rmap_lock = false; }, always_violation},
              {"c", "shipped_regions", "between regions, to the one that is visited later",
               [](settings& s) { s.shape = TWO_REGIONS; }, always_safe},
              {"d", "regions_no_rmap_lock", "as c, without the lock: the order suffices",
               [](settings& s) {
                 s.shape = TWO_REGIONS;
                 s.policy.mremap_holds_rmap_lock = false;
               },
               always_safe},
              {"e", "regions_not_ordered", "as c, the regions stay in the order in which they came",
               [](settings& s) {
                 s.shape = TWO_REGIONS;
                 s.policy.mremap_links_after = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
