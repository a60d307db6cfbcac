// S4.7: may a lockless walk pin through an entry that was invalidated so that nobody would?
//
// Who ends a page's exclusive use invalidates its entry, looks for pins and then clears PG_anon_exclusive
// (M33). That relies on no new pin through the invalid entry. Where the test of access is the generic one
// (present, and writable) it accepts the entry, which keeps those bits: riscv64, loongarch64, s390x, sparc64.
// Mostly the harm is undone: a move or a split finds the reference and puts all back. But for a while a
// pinned page is not exclusive. Writeback is safe all the same: between the entry and its look at the pins it
// clears PG_dirty, which is a full barrier (S5.8 i).
#include <string_view>

#include "catalogue.h"
#include "mm/gup.h"
#include "mm/migrate.h"
#include "mm/page_lock.h"
#include "mm/page_writeback.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  UNMAP,     ///< the entry becomes a migration entry: a pinned page is exclusive at any time
  SPLIT,     ///< the folio is split: the same
  MOVE,      ///< the folio is moved, if it can be: a pinned page is exclusive in the end
  WRITEBACK, ///< the folio is written back: a pin is seen
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
    load_mm(0, mm_);
    load_mm(1, mm_);
    folio_ = page_folio(page_at(mm_, 0));
    if (shape == UNMAP) {
      folio_get(folio_);
      folio_lock(folio_);
    }
    cpu([this, shape] {
      got_ = nullptr;
      pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got_);
      VM_BUG_ON((shape == UNMAP || shape == SPLIT) && got_ != nullptr && !PageAnonExclusive(got_), "INV-EXCL",
                "a pinned page is not exclusive");
    });
    cpu([this, shape] { change(shape); });
    finally([this, shape] {
      VM_BUG_ON(shape == MOVE && got_ != nullptr && !PageAnonExclusive(got_), "INV-EXCL",
                "a pinned page is not exclusive");
      VM_BUG_ON(shape == WRITEBACK && got_ != nullptr && decided_ == writeback_decision::unpinned,
                "PIN-STABLE", "the page is pinned for writing, and writeback was told that it is not");
    });
  }

 private:
  void unmap() { try_to_migrate(folio_, split_entry::no); }
  void change(unsigned shape) {
    switch (shape) {
    case UNMAP:
      unmap();
      break;
    case SPLIT:
      (void)split_page_at(mm_, 0);
      break;
    case MOVE:
      (void)migrate_page_at(mm_, 0);
      break;
    case WRITEBACK:
      decided_ = writeback_decision::pinned;
      decided_ = folio_begin_writeback(folio_);
      break;
    }
  }

  mm_struct& mm_ = new_mm();
  folio* folio_;
  page* got_ = nullptr;
  writeback_decision decided_ = writeback_decision::pinned;
};

/// The generic test of access takes an invalidated entry.
bool generic_test(const settings& s) {
  for (const std::string_view name : {"riscv64", "loongarch64", "s390x", "sparc64"})
    if (s.arch->name == name) return true;
  return false;
}
expect violation_if_generic(const settings& s) { return generic_test(s) ? expect::violation : expect::safe; }

auto with(shape which, bool refuse) {
  return [=](settings& s) {
    s.shape = which;
    s.policy.gup_refuses_invalid = refuse;
  };
}

} // namespace

scenario pin_invalidated_pmd() {
  return {
      .id = "S4.7",
      .name = "pin_invalidated_pmd",
      .summary = "a lockless walk comes upon a huge entry that was invalidated to keep pins out",
      .source = "derived from mail 4 and the generic pmd_access_permitted()",
      .threads = {"gup_fast", "change"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"b", "shipped", "an invalid entry is refused", nullptr, always_safe},
              {"b-S", "split", "as b, the folio is split", with(SPLIT, true), always_safe},
              {"b-W", "writeback", "as b, the folio is written back", with(WRITEBACK, true), always_safe},
              {"a", "arch_test", "the architecture's test of access decides", with(UNMAP, false),
               violation_if_generic},
              {"a-S", "arch_test_split", "as a, the folio is split", with(SPLIT, false),
               violation_if_generic},
              {"a-M", "arch_test_move", "as a, in the end: the folio is moved if nobody else holds it",
               with(MOVE, false), always_safe},
              {"a-W", "arch_test_writeback", "as a, the folio is written back", with(WRITEBACK, false),
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
