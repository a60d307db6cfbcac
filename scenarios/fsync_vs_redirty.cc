// S2.11: does fsync() find what was stored to a page that writeback has just left dirty?
//
// A dirty page is found by a mark in the file's tree, which whoever sets PG_dirty sets after it. A page that
// a device has pinned is written from a copy and stays dirty (S5.10): writeback says so when the copy is on
// the disk, and has no folio lock then. Between its flag and its mark another thread stores to the page. It
// finds the folio dirty; if it leaves it at that, its fsync() finds no mark, waits for the writeback that is
// under way, which wrote the old content, and returns.
//
// Not from the mails: `racewalk stress --mix files` lost a store in an hour of running.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "mm/vfs.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PINNED,     ///< writeback of the page, which a device has pinned, is under way
  NOT_PINNED, ///< nobody has pinned it
  CLEAN,      ///< it begins with what is stored now
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    page_ = dirty_page_of(mm_, file_); // with the writer's reference
    unmap_page_of(mm_, file_);         // the store is by write(): entries have no part in it
    begin_writeback(shape == PINNED);
    if (shape == CLEAN) {
      batch_.submit();
      cpu([this] { (void)write_cache_pages(file_.mapping(), 0, 0); });
    } else {
      cpu([this] { writeback_batch(batch_).submit(); });
    }
    cpu([this] {
      write();
      const int error = vfs_fsync_range(file_, 0, 0, false);
      VM_BUG_ON(error == 0 && on_disk(file_, 0) != 8, "INV-DURABLE",
                "fsync() has returned, and what was stored before is not on the disk");
    });
  }

 private:
  /// With the device's pin, if it has one, which it has given up by the time of the fsync().
  void begin_writeback(bool pinned) {
    folio* folio = page_folio(page_);
    if (pinned && !folio_try_add_pins(folio, 1)) throw setup_violation{"SCENARIO", "a page cannot be pinned"};
    folio_get(folio); // the batch's
    folio_lock(folio);
    batch_.add(folio);
    if (pinned) unpin_user_page(page_);
  }

  void write() {
    folio* folio = page_folio(page_);
    folio_lock(folio);
    if (folio_mkwrite(folio) == 0) WRITE_ONCE(page_words(page_)[0], 8);
    folio_unlock(folio);
  }

  mm_struct& mm_ = new_mm();
  file& file_ = new_disk_file(1);
  page* page_ = nullptr;
  writeback_batch batch_{file_.mapping(), true}; ///< a body that submits it has a copy
};

auto how(unsigned shape, bool checks) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.dirty_checks_mark = checks;
  };
}

} // namespace

scenario fsync_vs_redirty() {
  return {
      .id = "S2.11",
      .name = "fsync_vs_redirty",
      .summary = "a page that writeback leaves dirty is stored to and synchronized",
      .source = "the files mix of racewalk stress",
      .threads = {"writeback", "write, fsync"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "mark_checked", "who finds the folio dirty sees to it that its mark is set",
               how(PINNED, true), always_safe},
              {"b", "flag_trusted", "who finds the folio dirty leaves it at that", how(PINNED, false),
               always_violation},
              {"c", "not_pinned", "as b, but nobody dirties the folio without its lock",
               how(NOT_PINNED, false), always_safe},
              {"d", "written_by_other", "somebody else writes what was stored, and fsync() waits for him",
               how(CLEAN, true), always_safe},
              {"e", "no_rmb", "as d, with no barrier between the mark that says so and the disk",
               [](settings& s) {
                 s.shape = CLEAN;
                 s.policy.fdatawait_rmb = false;
               },
               violation_if_weak},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
