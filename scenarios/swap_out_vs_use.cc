// M45: a page goes to the swap file while somebody uses it. Is what is read back what was stored?
//
// Its entry is replaced by one that names a slot, and what the slot gets is written once no TLB can let a
// store through any more: the flush is put off to make one of many, but not past the writing. Who holds the
// page otherwise is asked for after the entry has gone: a lockless walk pins first and looks at the entry
// again, so one of the two sees the other. Nothing that was stored is lost if that question is left out: the
// page stays in the swap cache as long as somebody holds it, and his store makes it dirty again before he
// lets go. That rests on the count being frozen before the page is asked whether it is dirty (M18), and here
// there is no mark under a lock that would order the two.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  STORE,  ///< a program stores by its mapping
  PIN,    ///< a device pins the page, without locks
  PINNED, ///< it has: it stores, says so, and lets the page go
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    new_swap(1);
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    page_ = page_at(mm_, 0);
    folio_get(page_folio(page_));
    load_mm(1, mm_);
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigbus; }; // one try
    if (shape == PINNED) (void)pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &pinned_);
    cpu([this] {
      folio* folio = page_folio(page_);
      shrink_folio_list(&folio, 1);
    });
    if (shape == PIN)
      pin();
    else
      store(shape == PINNED);
  }

 private:
  void store(bool pinned) {
    cpu([this, pinned] {
      stored_ = pinned;
      if (pinned)
        store_by_pin();
      else
        stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    finally([this] {
      VM_BUG_ON(stored_ && read_back(mm_, 0) != 8, "INV-DIRTY", "what was stored is not what is read back");
    });
  }
  void store_by_pin() {
    page* pinned = pinned_;
    WRITE_ONCE(page_words(pinned)[0], 8);
    folio_mark_dirty(page_folio(pinned)); // a full barrier, after the store
    unpin_user_pages(&pinned, 1);
  }
  void pin() {
    cpu([this] {
      pinned_ = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &pinned_) != 1) pinned_ = nullptr;
    });
    finally([this] {
      const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
      VM_BUG_ON(pinned_ != nullptr && !pte_present(pte), "INV-EXCL",
                "a page was pinned for writing, and its mapping has lost it");
    });
  }

  mm_struct& mm_ = new_mm();
  page* page_ = nullptr;
  page* pinned_ = nullptr;
  bool stored_ = false;
};

void with_pin(settings& s) {
  s.shape = PINNED;
  s.policy.swap_out_looks_for_pins = false;
}

} // namespace

scenario swap_out_vs_use() {
  return {
      .id = "M45",
      .name = "swap_out_vs_use",
      .summary = "a page goes to the swap file while somebody stores to it",
      .source = "Linux, mm/vmscan.c: shrink_folio_list(); mm/rmap.c: try_to_unmap_one()",
      .threads = {"reclaim", "store"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "entries are flushed, then the page is written", nullptr, always_safe},
              {"b", "flush_late", "it is written first: a TLB lets stores through that nobody writes",
               [](settings& s) { s.policy.reclaim_flushes_first = false; }, always_violation},
              {"c", "pin", "a device pins it meanwhile: the entry, then the pins",
               [](settings& s) { s.shape = PIN; }, always_safe},
              {"d", "pins_ignored", "it is pinned, and nobody looks: the swap cache keeps what is in use",
               with_pin, always_safe},
              {"e", "dirty_then_freeze", "as d, the page is asked first, then the count is frozen",
               [](settings& s) {
                 with_pin(s);
                 s.policy.drop_freezes_first = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
