// S1.2: is collapsing small pages into a huge one as harmless to a lockless walk as splitting one?
//
// Mail 1 takes split and collapse for the same: "the same page through either version". Not so: a collapse
// copies to a different page, decides by a count that nobody else uses the old one, and keeps the old table
// for later, when it is freed at once. Two things can be lost: a pin that the walk keeps of a page that is no
// longer there (P1), and the table under the walk (P2). The walk's second look at the pmd (70cbc3cc78a9)
// helps against the first, waiting for the walk (2ba99c5e0881) against both.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/khugepaged.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PINNED,      ///< P1: a pin was kept, and the collapse found the page unused
  FREED,       ///< P2: the huge page is unmapped again, and the table goes with it
  REPOPULATED, ///< P1, after a collapse that failed and put the table back
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "s");
    load_mm(0, mm_);
    load_mm(1, mm_);
    small_ = page_at(mm_, 0);
    if (shape == REPOPULATED) folio_get(page_folio(small_));
    cpu([this] {
      got_ = nullptr;
      pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got_);
    });
    cpu([this, shape] {
      collapsed_ = false;
      if (shape == REPOPULATED) {
        const scan_result first = collapse();
        VM_BUG_ON(first != scan_result::page_count, "INV-REF", "a page in use was collapsed");
        folio_put(page_folio(small_));
      }
      collapsed_ = collapse() == scan_result::succeed;
      if (shape == FREED) unmap_region(mm_, whole_table(0));
    });
    program.finally = [this] {
      VM_BUG_ON(got_ == small_ && collapsed_, "INV-REF",
                "the pin of the small page was kept, and the collapse found that page unused: what the pin's "
                "owner writes is lost");
    };
  }

 private:
  scan_result collapse() { return collapse_huge_page(mm_, 0, {.max_ptes_none = 0, .wanted_only = false}); }

  mm_struct& mm_ = new_mm();
  page* small_;
  page* got_ = nullptr;
  bool collapsed_ = false;
};

/// Which safeguards there are.
auto with(shape which, bool recheck_pmd, bool recheck_pte, bool sync) {
  return [=](settings& s) {
    s.shape = which;
    s.policy.gup_recheck_pmd = recheck_pmd;
    s.policy.gup_recheck_pte = recheck_pte;
    s.policy.collapse_sync_ipi = sync;
  };
}
auto serialized(shape which) {
  return [=](settings& s) {
    with(which, false, true, false)(s);
    s.policy.serialize_mode = serialize_mode_t::ipi;
  };
}

/// Lost where memory is weakly ordered and a shootdown interrupts nobody.
expect violation_if_weak_unless_ipi(const settings& s) {
  return s.arch->flush_is_rendezvous() ? expect::safe : violation_if_weak(s);
}

} // namespace

scenario gup_fast_vs_collapse() {
  return {
      .id = "S1.2",
      .name = "gup_fast_vs_collapse",
      .summary = "small pages are copied into a huge one while a lockless walk may pin them",
      .source = "mail 1; 70cbc3cc78a9 and 2ba99c5e0881",
      .threads = {"gup_fast", "khugepaged"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"e", "shipped", "the walk looks again, and the collapse waits for walks", nullptr,
               always_safe},
              {"e-P2", "shipped_freed", "as e, then the table is freed", with(FREED, true, true, true),
               always_safe},
              {"b", "neither", "the walk does not look again, the collapse does not wait",
               with(PINNED, false, false, false), violation_unless_ipi},
              {"b-P2", "neither_freed", "as b, then the table is freed", with(FREED, false, false, false),
               violation_unless_ipi},
              {"c", "recheck_only", "the walk looks again", with(PINNED, true, true, false), always_safe},
              {"c-P2", "recheck_only_freed", "as c, then the table is freed", with(FREED, true, true, false),
               violation_unless_ipi},
              {"d", "sync_only", "the collapse waits for walks", with(PINNED, false, false, true),
               always_safe},
              {"d-P2", "sync_only_freed", "as d, then the table is freed", with(FREED, false, false, true),
               always_safe},
              {"f", "pte_recheck_only", "the walk looks again at the pte, which is cleared after the copy",
               with(PINNED, false, true, false), violation_unless_ipi},
              {"f-P2", "pte_recheck_only_freed", "as f, then the table is freed",
               with(FREED, false, true, false), violation_unless_ipi},
              {"g", "recheck_only_relaxed",
               "as c, with a pin that does not order the second look after itself",
               [](settings& s) {
                 with(PINNED, true, true, false)(s);
                 s.policy.pin_fence = pin_fence_t::relaxed;
               },
               violation_if_weak_unless_ipi},
              {"h", "serialize", "unhooking the table interrupts the CPUs of the mm (powerpc before 6.1)",
               serialized(PINNED), always_safe},
              {"h-P2", "serialize_freed", "as h, then the table is freed", serialized(FREED), always_safe},
              {"i", "repopulated", "as c, after a collapse that met a page in use and put the table back",
               with(REPOPULATED, true, true, false), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
