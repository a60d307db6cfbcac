// S5.10: a device stores to a page that has been written back.
//
// A file system expects to hear of a store before it happens (page_mkwrite): it reserves room, attaches
// buffers, and drops them again when the page is clean. A device that has the page pinned stores without a
// fault, and set_page_dirty() at the unpin then finds a file system that is not prepared: the motive of the
// whole series. Writeback can tell a pinned page and keep it dirty, writing from a copy; it cannot tell a
// plain reference. Who pins for long is refused where it matters (6.5).
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  PIN,      ///< the device's driver has the page pinned
  GET,      ///< it has a reference, as before FOLL_PIN
  LONGTERM, ///< it asks for a long-term pin
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = new_disk_file(1);
    page_ = dirty_page_of(mm_, f);
    // what nobody maps is no different, but for who faults it in
    if (shape != LONGTERM) {
      unmap_page_of(mm_, f);
      f.mapping().tracks_dirty = false; // nobody looks for dirty pages here
    }
    describe(&prepared_, "prepared");
    if (shape == PIN && !folio_try_add_pins(page_folio(page_), 1))
      throw setup_violation{"SCENARIO", "a page cannot be pinned"};
    if (shape == GET) folio_get(page_folio(page_));
    load_mm(0, mm_);
    cpu([this, shape] { device(shape); });
    cpu([this] { file_system(); });
    finally([this] {
      VM_BUG_ON(folio_test_dirty(page_folio(page_)) && READ_ONCE(prepared_) == 0, "FS-PREPARED",
                "the page is dirty, and the file system has not prepared for that");
    });
  }

 private:
  void device(unsigned shape) {
    page* page = page_;
    if (shape == LONGTERM && pin_user_pages_fast(mm_, 0, 1, FOLL_WRITE | FOLL_LONGTERM, &page) != 1) return;
    // its stores are as they may be: what counts is when it says that there were any
    if (shape != GET) {
      unpin_user_pages_dirty_lock(&page, 1);
      return;
    }
    folio* folio = page_folio(page);
    folio_lock(folio);
    folio_mark_dirty(folio);
    folio_unlock(folio);
    folio_put(folio);
  }

  /// Writes the page, and drops its buffers if it is clean then.
  void file_system() {
    folio* folio = page_folio(page_);
    folio_lock(folio);
    (void)writeback_folio(folio);
    folio_lock(folio);
    if (!folio_test_dirty(folio)) WRITE_ONCE(prepared_, 0);
    folio_unlock(folio);
  }

  mm_struct& mm_ = new_mm();
  page* page_ = nullptr;
  word_t prepared_{1};
};

auto how(unsigned shape, bool bounces) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.wb_bounces_pinned = bounces;
  };
}

} // namespace

scenario pin_redirty() {
  return {
      .id = "S5.10",
      .name = "pin_redirty",
      .summary = "a device stores to a page that is written back, and dirties it when it is done",
      .source = MAIL_5,
      .threads = {"device", "file system"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "bounce", "a pinned page is written from a copy and stays dirty", how(PIN, true),
               always_safe},
              {"b", "pins_ignored", "writeback does not ask", how(PIN, false), always_violation},
              {"c", "reference", "the driver has a reference only (FOLL_GET)", how(GET, true),
               always_violation},
              {"d", "longterm", "a long-term pin for writing is refused", how(LONGTERM, true), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
