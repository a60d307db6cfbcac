// S5.4: a page that is said to be pinned, and is not.
//
// Mail 5, Jan Kara: "false positives only if there are more than 1024 non-page-table references to the page
// which I expect to be rare". As a count that is exact for his comparison (d, e); without the subtraction
// 1024 mappings do as well (b), and large folios, whose pins have a counter of their own, have none (c). What
// matters is that a wrong yes costs a copy and never data: a user stores to the page while it is written out,
// and at the end either the disk has what the page has, or the page is still dirty. Fork, which asks too,
// gives the child a copy at once, and nobody loses anything (g).
#include "catalogue.h"
#include "mm/fork.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// What the page has besides its own mapping, and whether a wrong yes is a violation (`_exact`).
enum class shape : unsigned {
  references,               ///< as many plain references as the bias of one pin
  mappings,                 ///< as many mappings
  references_forked,        ///< references; the mm forks, nothing is written out
  large_exact,              ///< references; a large folio
  references_exact,         ///< references
  one_reference_more_exact, ///< and one more
};

class world : public testbed {
 public:
  explicit world(shape what) : testbed(2) {
    if (what == shape::large_exact)
      map_anonymous(mm_, 0, pmd_size(), "p", VM_HUGEPAGE);
    else
      map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(0, mm_);
    page_ = page_at(mm_, 0);
    add_references(what);

    cpu([] { (void)this_cpu().store<u64>(0, 1); });
    what == shape::references_forked ? fork() : write_out(what);
  }

 private:
  void write_out(shape what) {
    cpu([this] {
      decided_ = folio_begin_writeback(page_folio(page_));
      on_disk_ = READ_ONCE(*page_words(page_)); // if pinned, by way of a copy made here
      folio_end_writeback(page_folio(page_));
    });
    program.finally = [this, exact = what >= shape::large_exact] {
      VM_BUG_ON(on_disk_ != READ_ONCE(*page_words(page_)) && !dirty(), "INV-DIRTY",
                "the page is clean, and what was stored to it is not on disk");
      VM_BUG_ON(exact && decided_ == writeback_decision::pinned, "PIN-EXACT",
                "nobody has pinned the page, and writeback was told that it is pinned");
    };
  }

  void fork() {
    set_bit(MMF_HAS_PINNED, mm_.flags); // else fork does not ask
    (void)dup_areas(child_, mm_);
    cpu([this] {
      write_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
      (void)copy_pages(child_, mm_);
    });
    program.finally = [this] {
      VM_BUG_ON(page_at(mm_, 0) != page_ || READ_ONCE(*page_words(page_)) != 1, "INV-DIRTY",
                "what was stored is not in the parent's page");
      VM_BUG_ON(page_at(child_, 0) == page_, "INV-EXCL", "the child shares a page that is said to be pinned");
    };
  }

  void add_references(shape what) {
    folio* folio = page_folio(page_);
    folio_ref_add(folio, GUP_PIN_COUNTING_BIAS);
    if (what == shape::one_reference_more_exact) folio_get(folio);
    if (what == shape::mappings)
      for (s32 i = 0; i < GUP_PIN_COUNTING_BIAS; i++)
        folio_add_rmap_pte(page_);
  }

  bool dirty() {
    const pmd_t pmd = pmdp_get(find_pmd(mm_, 0).pmdp);
    return folio_test_dirty(page_folio(page_)) ||
           (pmd_leaf(pmd) ? pmd_dirty(pmd) : pte_dirty(ptep_get(pte_offset(pmd, 0))));
  }

  mm_struct& mm_ = new_mm();
  mm_struct& child_ = new_mm();
  page* page_;
  writeback_decision decided_ = writeback_decision::unpinned;
  u64 on_disk_ = 0;
};

auto has(shape what) {
  return [=](settings& s) { s.shape = static_cast<unsigned>(what); };
}

/// Jan Kara's comparison.
auto subtracting(shape what) {
  return [=](settings& s) {
    s.policy.pin_subtract_mapcount = pin_subtract_t::count_then_map;
    s.policy.pin_threshold = pin_threshold_t::gt;
    s.shape = static_cast<unsigned>(what);
  };
}

} // namespace

scenario pin_false_positive() {
  return {
      .id = "S5.4",
      .name = "pin_false_positive",
      .summary = "a page with many references and no pin is stored to while it is written out",
      .source = MAIL_5,
      .threads = {"user", "writeback, or fork"},
      .set_up = [](const settings& s) { return std::make_unique<world>(static_cast<shape>(s.shape)); },
      .variants =
          {
              {"a", "references", "1024 references: said to be pinned, at the cost of a copy",
               has(shape::references), always_safe},
              {"b", "mappings", "1024 mappings, which are not subtracted: likewise", has(shape::mappings),
               always_safe},
              {"c", "large", "1024 references to a large folio: its pins are counted exactly",
               has(shape::large_exact), always_safe},
              {"d", "mail_1024", "the mail's comparison is exact with 1024 references besides mappings",
               subtracting(shape::references_exact), always_safe},
              {"e", "mail_1025", "the mail's comparison, taken for exact with 1025",
               subtracting(shape::one_reference_more_exact), always_violation},
              {"f", "upstream_exact", "upstream's comparison, taken for exact with 1024",
               has(shape::references_exact), always_violation},
              {"g", "forked", "as a, the mm forks: the child has a copy at once",
               has(shape::references_forked), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
