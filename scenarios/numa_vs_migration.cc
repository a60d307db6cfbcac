// M11: a page is moved while its entry has lost all rights and the flush for that is still to come.
//
// NUMA hinting makes entries PROT_NONE and flushes them later. Who then takes such an entry out sees one that
// no walker would load, and may think that no TLB can hold it. But until that flush a TLB may, with all the
// rights that the entry had: what is stored through it lands in the old page, after it was copied. So
// pte_accessible() asks whether a flush is under way where it would say no (20841405940e).
#include "catalogue.h"
#include "mm/migrate.h"
#include "mm/mmu_gather.h"
#include "mm/mprotect.h"
#include "mm/page_lock.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(3) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(0, mm_); // the others run in the kernel
    mm_.existing_region(0)->areas.lookup(0)->vm_flags.set(
        VM_NONE); // a store that faults is refused: some steps less
    page_ = page_at(mm_, 0);
    folio_get(page_folio(page_));
    (void)folio_trylock(page_folio(page_));
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    cpu([this] { make_protnone(); });
    cpu([this] { move(); });
    finally([this] {
      VM_BUG_ON(stored_ && moved_ && copied_ != 8, "INV-DIRTY",
                "a store went to the old page after it was copied");
    });
  }

 private:
  /// change_prot_numa(), from where it has found the area.
  void make_protnone() {
    mmu_gather tlb(mm_);
    tlb_gather_mmu(tlb);
    change_protection(tlb, 0, PAGE_SIZE, PAGE_NONE);
    tlb_finish_mmu(tlb);
  }
  /// migrate_folio(), up to where it copies the page.
  void move() {
    try_to_migrate(page_folio(page_), split_entry::no);
    moved_ = folio_ref_count(page_folio(page_)) == 1;
    copied_ = READ_ONCE(page_words(page_)[0]);
  }

  mm_struct& mm_ = new_mm();
  page* page_ = nullptr;
  bool stored_ = false;
  bool moved_ = false;
  u64 copied_ = 0;
};

/// Lost where a PROT_NONE entry is not valid; where it is, it counts as one that a TLB may hold.
expect violation_unless_protnone_valid(const settings& s) {
  const u64 protnone = s.arch->mk_leaf(0, PAGE_NONE, s.geometry.level(PTE_LEVEL));
  return s.arch->accessible(protnone, s.geometry.level(PTE_LEVEL), false) ? expect::safe : expect::violation;
}

} // namespace

scenario numa_vs_migration() {
  return {
      .id = "M11",
      .name = "numa_vs_migration",
      .summary = "a page is moved whose entry was made PROT_NONE and is not flushed yet",
      .source = "20841405940e, af2c1401e6f9",
      .threads = {"store", "numa", "migrate"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "while a flush is under way any entry counts as one that a TLB may hold",
               nullptr, always_safe},
              {"b", "valid_only", "only an entry that hardware would use does",
               [](settings& s) { s.policy.accessible_while_pending = false; },
               violation_unless_protnone_valid},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
