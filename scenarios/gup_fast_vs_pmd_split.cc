// S1.1: a huge entry is replaced by a table of small ones under a lockless walk.
//
// Mail 1: a walk comes to the same page through either version, so a split needs nothing special. True of the
// walk, given that the table's content is written before the entry that leads to it. The entry in between is
// there for others: hardware must not hold a huge and a small translation of one address, and MADV_DONTNEED
// must not take the range for empty. And when the folio is split as well, the page stays the same and the
// count that keeps it does not: the walk asks again whose page it is.
//
// The huge page of zeros is split by the same steps, into entries for the small one. Linux takes that entry
// out first: who passes a none by leaves zeros where he would have left nothing, which reads the same.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/huge_memory.h"
#include "mm/madvise.h"
#include "mm/migrate.h"
#include "mm/pgtable_generic.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PIN,       ///< a walk pins a page meanwhile
  RECYCLED,  ///< the same; the table's memory held other entries before
  TRANSLATE, ///< hardware walks twice: do its TLB entries have two sizes?
  DONTNEED,  ///< the memory is given back meanwhile
  FOLIO,     ///< the folio is split, which is mapped by a huge entry
  SMALL,     ///< the folio is split, which is mapped by small entries
  // the huge page of zeros is split, and meanwhile
  ZEROS_PIN,       ///< a page of it is pinned for reading
  ZEROS_STORE,     ///< it is stored to
  ZEROS_TRANSLATE, ///< as TRANSLATE
  ZEROS_DONTNEED,  ///< as DONTNEED
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    if (shape >= ZEROS_PIN) {
      new_area(mm_, 0, pmd_size(), VM_READ | VM_WRITE | VM_HUGEPAGE);
      touch(mm_, 0, FAULT_FLAG_NONE, "z");
    } else {
      map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
      WRITE_ONCE(page_words(page_at(mm_, 0))[0], 7);
    }
    load_mm(0, mm_);
    load_mm(1, mm_);
    vma_ = mm_.region(0)->areas.lookup(0);
    vma_->vm_flags.set(VM_READ | VM_WRITE); // what is touched again is a small page
    mapped_ = page_at(mm_, ADDR);
    if (shape == RECYCLED) fill_deposited_table();
    if (shape == SMALL) split_huge_pmd_address(*vma_, ADDR);
    switch (shape) {
    case TRANSLATE:
    case ZEROS_TRANSLATE:
      translate();
      break;
    case DONTNEED:
    case ZEROS_DONTNEED:
      give_back();
      break;
    case ZEROS_PIN:
      pin_zeros();
      break;
    case ZEROS_STORE:
      store_to_zeros();
      break;
    default:
      pin();
    }
    cpu([this, shape] {
      if (shape == FOLIO || shape == SMALL)
        (void)split_page_at(mm_, 0); // it may fail: the pin
      else
        split_huge_pmd_address(*vma_, ADDR);
    });
  }

 private:
  static constexpr vaddr_t ADDR = PAGE_SIZE; ///< the second page: not the one that the folio is counted in

  void fill_deposited_table() {
    const pmdp_t pmdp = find_pmd(mm_, 0).pmdp;
    page* deposited = pgtable_trans_huge_withdraw(pmdp);
    const pte_t other = pte_mkdirty(mk_pte(page_to_pfn(new_page(0, "other")), PAGE_SHARED));
    for (unsigned i = 0; i < ptrs_per_table(); ++i)
      WRITE_ONCE(page_words(deposited)[i], other.val);
    pgtable_trans_huge_deposit(pmdp, deposited);
  }

  void pin() {
    cpu([this] {
      got_ = nullptr;
      pin_user_pages_fast_only(mm_, ADDR, 1, FOLL_WRITE, &got_);
      VM_BUG_ON(got_ != nullptr && got_ != mapped_, "INV-TYPE",
                "the walk returned a page that was never mapped there");
    });
    finally([this] {
      VM_BUG_ON(got_ != nullptr && !folio_maybe_dma_pinned(page_folio(got_)), "INV-REF",
                "the walk has pinned another folio than its page's");
    });
  }

  walk_result walk() {
    auto& tlb = this_cpu().local.tlb;
    (void)tlb.walk_begin();
    const walk_result found = walk_page_table(mm_.context, ADDR, false);
    tlb.walk_end();
    return found;
  }
  void translate() {
    cpu([this] {
      const walk_result first = walk();
      const walk_result second = walk();
      VM_BUG_ON(first.found && second.found && !first.map.huge && second.map.huge, "INV-TLB",
                "the TLB may hold a huge and a small translation of one address");
    });
  }

  void give_back() {
    cpu([this] {
      (void)madvise_dontneed(mm_, 0, pmd_size());
      const result<u64> now = this_cpu().load<u64>(0);
      VM_BUG_ON(!now || *now != 0, "DONTNEED", "memory that was given back has its old content");
    });
  }

  /// A pin of a page of the huge one is counted, one of the small page is not; it ends as what it was.
  void pin_zeros() {
    cpu([this] {
      page* got = nullptr;
      const bool pinned = pin_user_pages(mm_, ADDR, 1, FOLL_NONE, &got) == 1;
      VM_BUG_ON(!pinned || (got != mapped_ && !is_zero_page(got)), "INV-TYPE",
                "a pin for reading has got something else than zeros");
      if (pinned) unpin_user_page(got);
    });
    finally([this] { expect_untouched(); });
  }

  void store_to_zeros() {
    cpu([this] {
      const bool stored = this_cpu().store<u64>(ADDR, 7).ok();
      const result<u64> now = this_cpu().load<u64>(ADDR);
      VM_BUG_ON(!stored || !now || *now != 7, "LOST", "what was stored is not there");
    });
    finally([this] {
      VM_BUG_ON(READ_ONCE(page_words(page_at(mm_, ADDR))[0]) != 7, "LOST", "what was stored is lost");
      expect_untouched();
    });
  }

  /// Everybody's zeros are as they were, and only the mm has a reference.
  void expect_untouched() const {
    const folio* zeros = page_folio(pfn_to_page(page_to_pfn(mapped_) & ~u64{hpage_pmd_nr() - 1}));
    VM_BUG_ON(READ_ONCE(page_words(mapped_)[0]) != 0 || READ_ONCE(pfn_words(ZERO_PFN)[0]) != 0, "ZEROS",
              "somebody has stored to the page of zeros");
    VM_BUG_ON(folio_ref_count(zeros) != 1 || atomic_read(zeros->page._pincount) != 0, "INV-REF",
              "a pin of zeros was dropped as what it was not");
  }

  mm_struct& mm_ = new_mm();
  vm_area_struct* vma_;
  page* mapped_;
  page* got_ = nullptr;
};

auto with(shape which, split_step_t step = split_step_t::invalid) {
  return [=](settings& s) {
    s.shape = which;
    s.policy.split_step = step;
  };
}

} // namespace

scenario gup_fast_vs_pmd_split() {
  return {
      .id = "S1.1",
      .name = "gup_fast_vs_pmd_split",
      .summary = "a huge entry is replaced by a table while a lockless walk may go through it",
      .source = "mail 1; __split_huge_pmd_locked, __split_huge_page",
      .threads = {"gup_fast", "split"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "invalidate, flush, table", nullptr, always_safe},
              {"a-R", "recycled", "as a, the table's memory held other entries before", with(RECYCLED),
               always_safe},
              {"a-TLB", "translate", "as a, hardware walks", with(TRANSLATE), always_safe},
              {"a-DN", "dontneed", "as a, the memory is given back", with(DONTNEED), always_safe},
              {"b", "no_wmb", "as a-R, no barrier between filling the table and the entry that leads to it",
               [](settings& s) {
                 s.shape = RECYCLED;
                 s.policy.split_wmb = false;
               },
               violation_if_weak},
              {"c", "direct", "table in place of the huge entry, then flush", with(PIN, split_step_t::direct),
               always_safe},
              {"c-TLB", "direct_translate", "as c, hardware walks", with(TRANSLATE, split_step_t::direct),
               always_violation},
              {"d", "none", "clear, flush, table", with(PIN, split_step_t::none), always_safe},
              {"d-DN", "none_dontneed", "as d, the memory is given back", with(DONTNEED, split_step_t::none),
               always_violation},
              {"e", "folio", "the folio is split too", with(FOLIO), always_safe},
              {"e-S", "folio_small", "as e, the folio is mapped by small entries", with(SMALL), always_safe},
              // The entry that the walk read comes back after the split, so that only the folio tells. Where
              // a flush interrupts, the one that takes the entry out waits for the walk.
              {"e-H", "folio_no_recheck", "as e-S, the walk does not ask again whose page it is",
               [](settings& s) {
                 s.shape = SMALL;
                 s.policy.gup_recheck_folio = false;
               },
               violation_unless_ipi},
              {"f", "zeros", "the huge page of zeros is split, a page of it pinned", with(ZEROS_PIN),
               always_safe},
              {"f-W", "zeros_store", "as f, it is stored to", with(ZEROS_STORE), always_safe},
              {"f-TLB", "zeros_translate", "as f, hardware walks", with(ZEROS_TRANSLATE), always_safe},
              {"f-c", "zeros_direct_translate", "as f-TLB, table in place of the huge entry, then flush",
               with(ZEROS_TRANSLATE, split_step_t::direct), always_violation},
              {"f-DN", "zeros_none_dontneed", "as Linux: clear, flush, table; the memory is given back",
               with(ZEROS_DONTNEED, split_step_t::none), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
