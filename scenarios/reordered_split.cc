// S4.4: does the split of mail 4, which asks what the entry is before it invalidates it, make anything worse?
//
// The order changed for entries that are not present alone. For a huge page it is as before: one exchange
// takes what hardware has recorded and leaves an entry that still looks huge, the TLBs are flushed, and a
// filled table takes its place. So everything that was ever argued about a split must hold of it on every
// architecture: a lockless walk (S1.1), memory that is given back (H14), a store that hardware records
// (S4.5), writeback that relies on hearing of the next store (S2.1), and the migration entry that the order
// was changed for (S4.2).
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/huge_memory.h"
#include "mm/madvise.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PIN,       ///< a lockless walk pins a page
  DONTNEED,  ///< the memory is given back
  STORE,     ///< it is stored to for the first time
  WRITEBACK, ///< the same, and who splits it cleans it next, and writes it elsewhere
  MOVING,    ///< it is being moved: what is split is a migration entry, and a lockless reader passes by
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
    vma_ = mm_.region(0)->areas.lookup(0);
    page_ = page_at(mm_, 0);
    vma_->vm_flags.set(VM_READ | VM_WRITE); // what is touched again is a small page
    load_mm(0, mm_);
    load_mm(1, mm_);
    WRITE_ONCE(page_words(page_)[0], 7);
    cpu([this, shape] {
      split_huge_pmd(*vma_, 0, pmdp_);
      if (shape == WRITEBACK) write_back();
    });
    // a store goes through a translation that there is, or not at all
    if (shape == WRITEBACK)
      mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
    switch (shape) {
    case PIN:
      pin();
      break;
    case DONTNEED:
      give_back();
      break;
    case MOVING:
      read_while_moving();
      break;
    default:
      store();
    }
  }

 private:
  void pin() {
    cpu([this] {
      page* got = nullptr;
      pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got);
      VM_BUG_ON(got != nullptr && got != page_, "INV-TYPE", "the walk returned a page that was never there");
    });
  }

  void give_back() {
    cpu([this] {
      (void)madvise_dontneed(mm_, 0, pmd_size());
      const result<u64> now = this_cpu().load<u64>(0);
      VM_BUG_ON(!now || *now != 0, "DONTNEED", "memory that was given back has its old content");
    });
  }

  /// Whoever writes what is dirty finds every store: it is in what was written, or an entry says so.
  void store() {
    set_pmd_at(0, pmdp_, pmd_mkclean(pmdp_get(pmdp_)));
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    finally([this] {
      VM_BUG_ON(stored_ && READ_ONCE(written_) != 8 && !entry_is_dirty(), "INV-DIRTY",
                "the page was stored to and its entry is clean");
    });
  }
  bool entry_is_dirty() const {
    const pmd_t pmd = pmdp_get(pmdp_);
    return pmd_leaf(pmd) ? pmd_dirty(pmd) : pte_dirty(ptep_get(pte_offset(pmd, 0)));
  }
  void write_back() {
    folio* folio = page_folio(page_);
    folio_lock(folio);
    (void)folio_mkclean(folio);
    WRITE_ONCE(written_, READ_ONCE(page_words(page_)[0]));
    folio_unlock(folio);
  }

  void read_while_moving() {
    folio* moving = page_folio(page_);
    folio_get(moving);
    folio_lock(moving);
    try_to_migrate(moving, split_entry::no);
    cpu([this] {
      const pmd_t pmd = pmdp_get_lockless(pmdp_);
      VM_BUG_ON(pmd_present(pmd) && pmd_leaf(pmd), "INV-TYPE", "a migration entry reads as a huge page");
      page* got = nullptr;
      pin_user_pages_fast_only(mm_, 0, 1, FOLL_NONE, &got);
      VM_BUG_ON(got != nullptr, "INV-TYPE", "a page was made of the bits of a migration entry");
    });
  }

  mm_struct& mm_ = new_mm();
  pmdp_t pmdp_ = pmd_alloc(mm_, 0).pmdp;
  vm_area_struct* vma_;
  page* page_;
  bool stored_ = false;
  shared<u64> written_{7};
};

auto shipped(shape which) {
  return [which](settings& s) { s.shape = which; };
}

/// Lost where hardware records by itself what was stored to.
expect violation_if_hw_dirty(const settings& s) {
  return s.arch->hw_sets_ad() ? expect::violation : expect::safe;
}

} // namespace

scenario reordered_split() {
  return {
      .id = "S4.4",
      .name = "reordered_split",
      .summary =
          "a huge entry is split in the order of mail 4, under everything that a split was argued about",
      .source = "mail 4 (3a5a8d343e1c)",
      .threads = {"split", "other"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "gup_fast", "a lockless walk, as S1.1", shipped(PIN), always_safe},
              {"b", "dontneed", "the memory is given back, as H14", shipped(DONTNEED), always_safe},
              {"c", "store", "hardware records a store, as S4.5", shipped(STORE), always_safe},
              {"c-B", "store_read_then_store", "as c, the entry is read, then the invalid one stored",
               [](settings& s) {
                 s.shape = STORE;
                 s.policy.invalidate_by_exchange = false;
               },
               violation_if_hw_dirty},
              {"d", "writeback", "as c, then the page is cleaned and written, as S2.1", shipped(WRITEBACK),
               always_safe},
              {"e", "migration", "the entry keeps the place of a page that is being moved, as S4.2",
               shipped(MOVING), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
