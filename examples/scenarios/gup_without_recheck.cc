// A lockless walk takes a reference and reads the entry again. What if it did not?
//
//   racewalk check examples/scenarios/gup_without_recheck.cc
//
// Nothing of the walk or of munmap() is written here: the bodies call what the library ships, and the variant
// departs from the policy (mm/policy.h) in one line. So it does state what is expected of each.
#include "mm/gup.h"
#include "mm/mmu_gather.h"
#include "racewalk/testbed.h"

using namespace racewalk;

namespace {

struct walk_and_unmap : testbed {
  mm_struct& mm = new_mm();
  folio* page = nullptr;
  bool kept = false;
  bool alone = false;

  explicit walk_and_unmap(const settings&) : testbed(2) {
    map_anonymous(mm, 0, PAGE_SIZE, "p");
    load_mm(0, mm);
    load_mm(1, mm);
    page = page_folio(page_at(mm, 0));
    folio_get(page); // of whoever unmaps it, to look at its count afterwards
    cpu([this] {
      struct page* got = nullptr;
      kept = false;
      kept = pin_user_pages_fast_only(mm, 0, 1, FOLL_WRITE, &got) == 1;
    });
    cpu([this] {
      mmu_gather tlb(mm);
      alone = false;
      tlb_gather_mmu(tlb);
      unmap_page_range(tlb, 0, pmd_size());
      tlb_finish_mmu(tlb); // the entries are gone, and so are cached ones
      alone = folio_ref_count(page) == 1;
    });
    finally([this] {
      VM_BUG_ON(kept && alone, "INV-REF",
                "the pin was kept, and who unmapped the page found it unreferenced");
    });
  }
};

/// Where a TLB shootdown interrupts each CPU, no walk is under way once it is over.
expect unless_interrupted(const settings& s) {
  return s.arch->flush_is_rendezvous() ? expect::safe : expect::violation;
}

const declare_scenario recheck{{
    .name = "gup_without_recheck",
    .summary = "a lockless walk pins a page that is being unmapped",
    .threads = {"gup_fast", "munmap"},
    .set_up = make<walk_and_unmap>,
    .variants = {{.name = "shipped",
                  .summary = "the entry is read again once the reference is taken",
                  .expected = [](const settings&) { return expect::safe; }},
                 {.name = "no_recheck",
                  .summary = "it is not",
                  .depart = [](settings& s) { s.policy.gup_recheck_pte = false; },
                  .expected = unless_interrupted}},
}};

} // namespace
