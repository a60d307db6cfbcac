// S5.6: pins and the start of writeback exclude each other by the page lock.
//
// Mail 5, Jan Kara: lock_page(); wait_for_stable_page(); add; unlock_page(), and with the check under the
// same lock "we are sure page is not and will not be pinned until we drop the page lock (and also until page
// writeback is completed if needed)". The answer is stable (P1) if the mapping needs stable pages, for others
// the wait is none. But the entry that allowed the pin was read before the lock was waited for, so it must be
// read again, or a page is pinned for writing behind an entry that has been made clean and read-only (P2).
// And the lock sleeps: neither the fast path nor who holds the page-table lock can wait for it.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// Which path pins.
enum class shape : unsigned { slow, fast };

class world : public testbed {
 public:
  explicit world(shape path) : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(0, mm_);
    folio_ = page_folio(page_at(mm_, 0));
    cpu([this, path] {
      pinned_ = pinned_in_writeback_ = false;
      page* got = nullptr;
      pinned_ = (path == shape::fast ? pin_user_pages_fast(mm_, 0, 1, FOLL_WRITE, &got)
                                     : pin_user_pages(mm_, 0, 1, FOLL_WRITE, &got)) == 1;
      pinned_in_writeback_ = pinned_ && folio_test_writeback(folio_);
    });
    cpu([this] {
      decided_ = folio_begin_writeback(folio_);
      folio_end_writeback(folio_);
    });
    program.finally = [this] {
      if (decided_ == writeback_decision::pinned) return;
      VM_BUG_ON(pinned_in_writeback_, "PIN-STABLE",
                "the page is pinned and under writeback, and writeback was told that it is not pinned");
      // the pin came after the check, and so after the entry was write-protected for it
      VM_BUG_ON(pinned_ && !writable(), "PIN-CLEAN",
                "the page is pinned for writing behind a read-only entry: nobody will see it dirtied");
    };
  }

 private:
  bool writable() { return pte_write(ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0))); }

  mm_struct& mm_ = new_mm();
  folio* folio_;
  bool pinned_ = false;
  bool pinned_in_writeback_ = false;
  writeback_decision decided_ = writeback_decision::pinned;
};

void page_lock(settings& s) { s.policy.pin_scheme = pin_scheme_t::page_lock; }

auto in_fast_path(pin_lock_mode_t mode) {
  return [=](settings& s) {
    page_lock(s);
    s.policy.pin_lock_mode = mode;
    s.shape = static_cast<unsigned>(shape::fast);
  };
}

} // namespace

scenario pin_page_lock() {
  return {
      .id = "S5.6",
      .name = "pin_page_lock",
      .summary = "a page is pinned for writing, under the page lock, while writeback begins",
      .source = MAIL_5,
      .threads = {"pin", "writeback"},
      .set_up = [](const settings& s) { return std::make_unique<world>(static_cast<shape>(s.shape)); },
      .variants =
          {
              {"a", "reread", "lock, wait until stable, read the entry again, add", page_lock, always_safe},
              {"b", "not_stable", "the mapping does not need stable pages: nothing waits (tolerable there)",
               [](settings& s) {
                 page_lock(s);
                 s.policy.mapping_needs_stable = false;
               },
               always_violation},
              {"c", "no_reread", "the entry read before the lock was waited for is trusted, as in the mail",
               [](settings& s) {
                 page_lock(s);
                 s.policy.pin_recheck_pte = false;
               },
               always_violation},
              {"d", "fast_blocking", "the fast path waits for the lock with interrupts off",
               in_fast_path(pin_lock_mode_t::blocking), always_violation},
              {"e", "fast_trylock", "the fast path tries the lock, and falls back",
               in_fast_path(pin_lock_mode_t::trylock), always_safe},
              {"f", "under_ptl", "the slow path waits for the lock under the page-table lock",
               [](settings& s) {
                 page_lock(s);
                 s.policy.pin_lock_mode = pin_lock_mode_t::under_ptl;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
