// S1.1: a huge entry is replaced by a table of small ones under a lockless walk.
//
// Mail 1: a walk comes to the same page through either version, so a split needs nothing special. True of the
// walk, given that the table's content is written before the entry that leads to it. The entry in between is
// there for others: hardware must not hold a huge and a small translation of one address, and MADV_DONTNEED
// must not take the range for empty. And when the folio is split as well, the page stays the same and the
// count that keeps it does not: the walk asks again whose page it is.
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
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
    load_mm(0, mm_);
    load_mm(1, mm_);
    vma_ = mm_.region(0)->areas.lookup(0);
    vma_->vm_flags = VM_READ | VM_WRITE; // what is touched again is a small page
    WRITE_ONCE(page_words(page_at(mm_, 0))[0], 7);
    mapped_ = page_at(mm_, ADDR);
    if (shape == RECYCLED) fill_deposited_table();
    if (shape == SMALL) split_huge_pmd_address(*vma_, ADDR);
    switch (shape) {
    case TRANSLATE:
      translate();
      break;
    case DONTNEED:
      give_back();
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

  mapping walk() {
    auto& tlb = this_cpu().local.tlb;
    (void)tlb.walk_begin();
    const walk_result walk = walk_page_table(mm_.context, ADDR, false);
    tlb.walk_end();
    return walk.found ? walk.map : mapping{.pfn = 0};
  }
  void translate() {
    cpu([this] {
      const mapping first = walk();
      const mapping second = walk();
      VM_BUG_ON(first.pfn != 0 && second.pfn != 0 && !first.huge && second.huge, "INV-TLB",
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
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
