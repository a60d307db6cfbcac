// M45: a page that has come back from the swap file keeps its slot, and goes again without being written.
//
// What the slot has is what the page is as long as nobody stores to it. Stores are recorded by hardware in
// the entry that maps the page, and by who has a reference in the folio. So reclaim takes the entry out, and
// what it says goes with the folio (b): a store that comes later faults, and brings the page back. Then the
// count is frozen, and only then the folio is asked whether it is dirty (d): who had a reference has said so
// by then (M18).
//
// A store makes the slot worthless, and so a fault that knows of one gives it back: when it brings the page
// in, or when it finds that nobody else has it. Not if an entry names the slot (f), of a child that has not
// brought the page back: what the child is to read is the page as it was, and that may not be in the file
// yet.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/fork.h"
#include "mm/gup.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "mm/swapfile.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  STORE,  ///< a program stores by its mapping
  PINNED, ///< a device that has pinned it stores, says so, and lets the page go
  SHARED, ///< a program stores, and a child has the page still in the swap file
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    new_swap(2); // with one in use there is room
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    WRITE_ONCE(page_words(page_at(mm_, 0))[0], 7);
    mm_.context.fault = child_.context.fault = [](mm_context&, vaddr_t, fault_flags) {
      return fault_result::sigbus; // one try
    };
    if (shape == SHARED)
      share();
    else
      drop(shape == PINNED);
  }

 private:
  /// The page is back, and as it was.
  void bring_back() { touch(mm_, 0, FAULT_FLAG_NONE, "q"); }

  void drop(bool pinned) {
    folio* out = page_folio(page_at(mm_, 0));
    folio_get(out);
    shrink_folio_list(&out, 1);
    bring_back();
    page_ = page_at(mm_, 0);
    folio_get(page_folio(page_));
    if (pinned) (void)pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &pinned_);
    load_mm(1, mm_);
    cpu([this] {
      folio* folio = page_folio(page_);
      shrink_folio_list(&folio, 1);
    });
    cpu([this, pinned] { pinned ? store_by_pin() : store(); });
    finally([this] { nothing_lost(); });
  }
  void nothing_lost() {
    VM_BUG_ON(stored_ && read_back(mm_, 0) != 8, "INV-DIRTY", "what was stored is not what is read back");
  }

  /// One fault: the access is tried again once.
  static void fault(mm_struct& mm, fault_flags flags) {
    (void)handle_mm_fault(*mm.existing_region(0)->areas.find_vma(0), 0, flags);
  }
  void store() {
    stored_ = this_cpu().store<u64>(0, 8).ok();
    if (stored_) return;
    fault(mm_, FAULT_FLAG_WRITE);
    stored_ = this_cpu().store<u64>(0, 8).ok();
  }
  void store_by_pin() {
    stored_ = true;
    page* pinned = pinned_;
    WRITE_ONCE(page_words(pinned)[0], 8);
    folio_mark_dirty(page_folio(pinned)); // a full barrier, after the store
    unpin_user_pages(&pinned, 1);
  }

  /// The page is on its way out when the mm forks and brings it back.
  void share() {
    folio* folio = page_folio(page_at(mm_, 0));
    folio_lock(folio);
    tlbflush_unmap_batch batch;
    if (add_to_swap(folio)) (void)try_to_unmap(folio, batch);
    try_to_unmap_flush(batch);
    folio_unlock(folio);
    (void)dup_areas(child_, mm_);
    (void)copy_pages(child_, mm_);
    bring_back();
    load_mm(0, mm_);
    load_mm(1, child_);
    cpu([this] { store(); });
    cpu([this] {
      fault(child_, FAULT_FLAG_NONE);
      const auto read = this_cpu().load<u64>(0);
      VM_BUG_ON(read.ok() && *read != 7, "INV-DIRTY",
                "a child does not read what was there when it was made");
    });
    finally([this] {
      nothing_lost();
      VM_BUG_ON(read_back(child_, 0) != 7, "INV-DIRTY",
                "a child has not got what was there when it was made");
    });
  }

  mm_struct& mm_ = new_mm();
  mm_struct& child_ = new_mm();
  page* page_ = nullptr;
  page* pinned_ = nullptr;
  bool stored_ = false;
};

auto with_shape(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}
void with_pin(settings& s) {
  s.shape = PINNED;
  s.policy.swap_out_looks_for_pins = false;
}

} // namespace

scenario drop_swap_cache() {
  return {
      .id = "M45",
      .name = "drop_swap_cache",
      .summary = "a page that keeps its slot is dropped, or loses the slot, while somebody stores to it",
      .source = "Linux, mm/vmscan.c: __remove_mapping(); mm/swapfile.c: folio_free_swap()",
      .threads = {"reclaim, or store", "store, or the child's load"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "its entry goes and says whether it was stored to", with_shape(STORE),
               always_safe},
              {"b", "mark_left_behind", "as a, nobody looks at what the entry said",
               [](settings& s) {
                 s.shape = STORE;
                 s.policy.swap_out_collects_dirty = false;
               },
               always_violation},
              {"c", "pinned", "a device stores to it; nobody looks for pins: the count is enough", with_pin,
               always_safe},
              {"d", "dirty_then_freeze", "as c, the page is asked first, then the count is frozen",
               [](settings& s) {
                 with_pin(s);
                 s.policy.drop_freezes_first = false;
               },
               always_violation},
              {"e", "shared", "the mm stores to it, and a child's entry names the slot", with_shape(SHARED),
               always_safe},
              {"f", "slot_not_counted", "as e, the store takes the page out of the slot all the same",
               [](settings& s) {
                 s.shape = SHARED;
                 s.policy.free_swap_counts_entries = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
