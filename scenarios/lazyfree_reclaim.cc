// M21: memory that was freed lazily (MADV_FREE) is taken back, or stored to again, but never both. S2.8: an
// update of an entry that is not one step.
//
// Reclaim takes a page's entry out and discards the page if it was not stored to and nobody else holds it. A
// lockless walk takes its reference before it looks at the entry again, so the entry has to go before the
// references are counted (6c8e2a256915). Here nothing is lost without a barrier of its own between the two:
// the exchange that takes the entry out is a full one, and where it is not, counting the flush that is put
// off is. Who holds a reference may store through it, say so, and drop it; so whether the folio is dirty is
// asked after the references were counted. And MADV_FREE flushes what it makes clean, or a CPU goes on
// storing by a TLB entry that knows the page as dirty and tells nobody.
//
// All of it rests on the entry telling of stores. Whoever changes an entry that hardware may be marking must
// not read it and then store it: the mark that comes in between is lost, and with it the page (S2.8).
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/madvise.h"
#include "mm/task_mmu.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PIN,    ///< a device pins the page while it is taken back
  DEVICE, ///< ... stores, marks it dirty and lets it go
  STORE,  ///< a CPU stores after madvise() has returned
  TRACK,  ///< a CPU stores while another one clears soft-dirty, and then takes the page back
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    page_ = page_at(mm_, 0);
    load_mm(1, mm_);
    if (shape != STORE) (void)madvise_free(mm_, 0, PAGE_SIZE);
    prepare(shape);
  }

 private:
  void prepare(unsigned shape) {
    switch (shape) {
    case PIN:
      return pin(false);
    case DEVICE:
      return pin(true);
    case STORE:
      return store();
    default:
      return track();
    }
  }
  [[nodiscard]] bool still_mapped() {
    const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
    return pte_present(pte) && pte_pfn(pte) == page_to_pfn(page_);
  }
  void take_back() { (void)madvise_pageout(mm_, 0, PAGE_SIZE); }

  void pin(bool use) {
    cpu([this] { take_back(); });
    cpu([this, use] {
      pinned_ = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &pinned_) != 1 || !use) return;
      WRITE_ONCE(page_words(pinned_)[0], 8);
      folio_set_dirty(page_folio(pinned_));
      unpin_user_pages(&pinned_, 1);
    });
    finally([this] {
      VM_BUG_ON(pinned_ != nullptr && !still_mapped(), "INV-DIRTY",
                "a page was pinned for writing, and its mapping has lost it");
    });
  }
  void store() {
    describe(&returned_, "returned");
    cpu([this] {
      (void)madvise_free(mm_, 0, PAGE_SIZE);
      smp_store_release(returned_, 1); // pairs with the acquire below: what is stored then is stored later
      take_back();
    });
    cpu([this] {
      stored_ = false;
      if (smp_load_acquire(returned_) != 0) stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    finally([this] { nothing_lost(); });
  }
  void track() {
    cpu([this] {
      (void)clear_refs(mm_, clear_refs_t::soft_dirty);
      take_back();
    });
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    finally([this] { nothing_lost(); });
  }
  void nothing_lost() {
    const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
    const u64 now = pte_present(pte) ? READ_ONCE(pfn_words(pte_pfn(pte))[0]) : 0;
    VM_BUG_ON(stored_ && now != 8, "INV-DIRTY",
              "a store is lost: the page was taken back as if it were clean");
  }

  mm_struct& mm_ = new_mm();
  page* page_ = nullptr;
  page* pinned_ = nullptr;
  word_t returned_{0};
  bool stored_ = false;
};

/// Lost where hardware records by itself what was stored to.
expect violation_if_hw_dirty(const settings& s) {
  return s.arch->hw_sets_ad() && s.arch->soft_dirty != 0 ? expect::violation : expect::safe;
}

} // namespace

scenario plain_update_of_entry() {
  return {
      .id = "S2.8",
      .name = "plain_update_of_entry",
      .summary =
          "an entry is made read-only while hardware marks it dirty; then the page is dropped as clean",
      .source = "mail 2 (example 2b and the reply to it)",
      .threads = {"clear_refs", "store"},
      .set_up = [](const settings&) { return std::make_unique<world>(TRACK); },
      .variants =
          {
              {"b", "shipped", "the entry is taken out by an exchange, and put back", nullptr, always_safe},
              {"c", "atomic", "it is changed in one atomic step",
               [](settings& s) { s.policy.ptep_modify = ptep_modify_t::atomic; }, always_safe},
              {"a", "plain", "it is read, then stored, and not flushed",
               [](settings& s) {
                 s.policy.ptep_modify = ptep_modify_t::plain;
                 s.policy.clear_refs_flush = clear_refs_flush_t::none;
               },
               violation_if_hw_dirty},
              {"d", "plain_flushed",
               "it is read, then stored, and flushed before the page is dropped: too late",
               [](settings& s) { s.policy.ptep_modify = ptep_modify_t::plain; }, violation_if_hw_dirty},
          },
  };
}

scenario lazyfree_reclaim() {
  return {
      .id = "M21",
      .name = "lazyfree_reclaim",
      .summary = "a page that was freed lazily is taken back while somebody stores to it",
      .source = "6c8e2a256915, 802a3a92ad7a",
      .threads = {"reclaim", "store"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "a device pins it: entry, barrier, references, then dirtiness", nullptr,
               always_safe},
              {"a-M", "no_mb", "as a, nothing orders the entry before the references",
               [](settings& s) { s.policy.lazyfree_mb = false; }, always_safe},
              {"b", "device", "the device stores, says so, and lets it go",
               [](settings& s) { s.shape = DEVICE; }, always_safe},
              {"c", "dirty_first", "as b, dirtiness before references",
               [](settings& s) {
                 s.shape = DEVICE;
                 s.policy.lazyfree_dirty_first = true;
               },
               always_violation},
              {"d", "no_rmb", "as b, nothing orders references before dirtiness",
               [](settings& s) {
                 s.shape = DEVICE;
                 s.policy.lazyfree_rmb = false;
               },
               violation_if_weak},
              {"e", "store", "a CPU stores after MADV_FREE has returned",
               [](settings& s) { s.shape = STORE; }, always_safe},
              {"f", "store_not_flushed", "as e, MADV_FREE does not flush what it has made clean",
               [](settings& s) {
                 s.shape = STORE;
                 s.policy.madvise_free_flushes = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
