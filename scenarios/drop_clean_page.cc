// M18: a page of a file is given up because the disk has its content. Does it?
//
// __remove_mapping() freezes the page's count and then asks whether it is dirty: whoever had a reference has
// dirtied it before letting go, so a count that can be frozen has nothing left to say. Asked the other way
// round, a user of get_user_pages() stores, dirties and lets go in between, and the store is lost. What a
// program stores by its own mapping is in the entry that is taken out, or faults and dirties the page first.
//
// Where dirty pages are marked in the page cache, under its lock, the order turns out not to matter: reclaim
// holds that lock from one question to the other, and who dirties the page must take it before letting go.
// What keeps no such marks (swap, memory files) has nothing but the order.
//
// The property is what a reader gets back: from memory, or from the disk.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/page_lock.h"
#include "mm/page_writeback.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  REFERENCE, ///< the store goes by a reference to a page that nobody maps; dirty pages are not marked
  MARKED,    ///< the same, and they are
  DIRTY_PTE, ///< by an entry that is writable and dirty
  CLEAN_PTE, ///< by one that is neither: the page has been written back
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    page_ = dirty_page_of(mm_, file_); // with reclaim's reference
    load_mm(0, mm_);
    if (shape == DIRTY_PTE || shape == CLEAN_PTE)
      by_mapping(shape == CLEAN_PTE);
    else
      by_reference(shape == MARKED);
    finally([this] {
      VM_BUG_ON(stored_ && read_back(file_, 0) != 8, "INV-DIRTY", "what was stored is not what is read back");
    });
  }

 private:
  void by_reference(bool marked) {
    unmap_region(mm_, whole_table(0));
    folio* folio = page_folio(page_);
    folio_clear_dirty(folio);
    file_.mapping().tracks_dirty = marked;
    folio_get(folio);
    cpu([this] {
      stored_ = true;
      WRITE_ONCE(page_words(page_)[0], 8);
      folio_mark_dirty(page_folio(page_));
      folio_put(page_folio(page_));
    });
    cpu([this] {
      folio_lock(page_folio(page_));
      (void)remove_mapping(file_.mapping(), page_folio(page_));
      folio_unlock(page_folio(page_));
      folio_put(page_folio(page_));
    });
  }

  void by_mapping(bool written_back) {
    folio* folio = page_folio(page_);
    if (written_back) {
      (void)folio_trylock(folio);
      (void)folio_clear_dirty_for_io(folio);
      folio_unlock(folio);
    } else {
      folio_clear_dirty(folio); // the entry alone knows
    }
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(0, 8).ok();
    });
    cpu([this] { give_up(); });
  }

  void give_up() {
    (void)reclaim_folio(page_folio(page_));
    folio_put(page_folio(page_));
  }

  mm_struct& mm_ = new_mm();
  file& file_ = new_disk_file(1);
  page* page_ = nullptr;
  bool stored_ = false;
};

auto with_shape(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}

} // namespace

scenario drop_clean_page() {
  return {
      .id = "M18",
      .name = "drop_clean_page",
      .summary = "a page of a file is stored to while it is given up",
      .source = "Linux, mm/vmscan.c: __remove_mapping()",
      .threads = {"store", "reclaim"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "freeze_then_dirty", "the count is frozen, then the page asked", with_shape(REFERENCE),
               always_safe},
              {"b", "dirty_then_freeze", "the page is asked, then the count frozen",
               [](settings& s) { s.policy.drop_freezes_first = false; }, always_violation},
              {"c", "marked_dirty_then_freeze", "the same where dirty pages are marked in the page cache",
               [](settings& s) {
                 s.policy.drop_freezes_first = false;
                 s.shape = MARKED;
               },
               always_safe},
              {"d", "dirty_entry", "a program stores by an entry that is dirty", with_shape(DIRTY_PTE),
               always_safe},
              {"e", "clean_entry", "a program stores by an entry that is read-only", with_shape(CLEAN_PTE),
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
