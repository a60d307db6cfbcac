// H14: MADV_DONTNEED passes by a huge entry that is none for a moment. S4.5: what hardware records in that
// moment.
//
// Who changes the rights of a huge page takes the entry out and puts another in, under the pmd lock; who
// gives memory back looks without that lock first, and takes an entry that is none for an empty range. So the
// entry has to look huge throughout (ced108037c2a, 58ceeb6bec86, 5b7abeae3af8). And the old entry has to be
// taken in the same step that ends its validity, or a dirty bit that hardware sets in between is lost
// (d52605d7cb30).
#include "catalogue.h"
#include "mm/huge_memory.h"
#include "mm/madvise.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
    load_mm(0, mm_);
    load_mm(1, mm_);
    vma_ = mm_.region(0)->areas.lookup(0);
    vma_->vm_flags.set(VM_READ | VM_WRITE); // what is touched again is a small page
    WRITE_ONCE(page_words(page_at(mm_, 0))[0], 7);
  }

 protected:
  /// As mprotect and NUMA hinting do it.
  void change() {
    mmu_gather tlb(mm_);
    tlb_gather_mmu(tlb);
    (void)change_huge_pmd(tlb, 0, pmdp_, PAGE_SHARED_EXEC);
    tlb_finish_mmu(tlb);
  }
  mm_struct& mm_ = new_mm();
  vm_area_struct* vma_;
  pmdp_t pmdp_ = pmd_alloc(mm_, 0).pmdp;
};

class giving_back : public world {
 public:
  giving_back() {
    cpu([this] { change(); });
    cpu([this] {
      (void)madvise_dontneed(mm_, 0, pmd_size());
      const result<u64> now = this_cpu().load<u64>(0);
      VM_BUG_ON(!now || *now != 0, "DONTNEED", "memory that was given back has its old content");
    });
  }
};

class storing : public world {
 public:
  explicit storing(bool flushed) {
    set_pmd_at(0, pmdp_, pmd_mkclean(pmdp_get(pmdp_)));
    cpu([this, flushed] {
      if (flushed) return change();
      mmu_gather tlb(mm_);
      tlb_gather_mmu(tlb);
      (void)change_huge_pmd(tlb, 0, pmdp_, PAGE_SHARED_EXEC); // a right is added: nothing needs a flush yet
    });
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    finally([this] {
      VM_BUG_ON(stored_ && !pmd_dirty(pmdp_get(pmdp_)), "INV-DIRTY",
                "the page was stored to and its entry is clean");
    });
  }

 private:
  bool stored_ = false;
};

/// Lost where hardware records by itself what was stored to.
expect violation_if_hw_dirty(const settings& s) {
  return s.arch->hw_sets_ad() ? expect::violation : expect::safe;
}

} // namespace

scenario dontneed_vs_change_pmd() {
  return {
      .id = "H14",
      .name = "dontneed_vs_change_pmd",
      .summary = "a huge page is given back while its entry changes",
      .source = "ced108037c2a, 58ceeb6bec86, 5b7abeae3af8",
      .threads = {"change_pmd", "dontneed"},
      .set_up = [](const settings&) { return std::make_unique<giving_back>(); },
      .variants =
          {
              {"a", "shipped", "the entry is invalid in between, and looks huge", nullptr, always_safe},
              {"b", "transient_none", "the entry is none in between",
               [](settings& s) { s.policy.change_pmd_through_none = true; }, always_violation},
              {"c", "transient_none_locked", "as b, who finds none takes the lock and looks again",
               [](settings& s) {
                 s.policy.change_pmd_through_none = true;
                 s.policy.zap_trusts_none = false;
               },
               always_safe},
          },
  };
}

scenario store_vs_invalidate_pmd() {
  return {
      .id = "S4.5",
      .name = "store_vs_invalidate_pmd",
      .summary = "hardware records a store in a huge entry that is being changed",
      .source = "mail 4; d52605d7cb30",
      .threads = {"change_pmd", "store"},
      .set_up = [](const settings& s) { return std::make_unique<storing>(s.shape != 0); },
      .variants =
          {
              {"a", "shipped", "one exchange takes the old entry and leaves the invalid one", nullptr,
               always_safe},
              {"b", "read_then_store", "the entry is read, then the invalid one stored",
               [](settings& s) { s.policy.invalidate_by_exchange = false; }, violation_if_hw_dirty},
              {"a-F", "shipped_flushed", "as a, and the TLBs are flushed", [](settings& s) { s.shape = 1; },
               always_safe},
              {"b-F", "read_then_store_flushed", "as b, and the TLBs are flushed: too late",
               [](settings& s) {
                 s.shape = 1;
                 s.policy.invalidate_by_exchange = false;
               },
               violation_if_hw_dirty},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
