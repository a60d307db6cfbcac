// The pin scheme of mail 5 (Re: mm: introduce put_user_page*(), placeholder versions), as the mail writes it:
//
//   get_page_pin()                                       test_set_page_writeback()
//       atomic_add(&page->_refcount, PAGE_PIN_BIAS);         wb = TestSetPageWriteback(page)
//       smp_wmb();                                           smp_mb();
//       if (PageWriteback(page)) {                           if (page_pinned(page)) {
//           // back off                                          // report page as pinned
//           atomic_add(&page->_refcount, -PAGE_PIN_BIAS);
//           ...
//   page_pinned()
//       (atomic_read(&page->_refcount) - page_mapcount(page)) > PAGE_PIN_BIAS
//
// "This is text book memory barrier. Either get_page_pin() see racing test_set_page_writeback() or
// test_set_page_writeback() see racing GUP." It takes a full barrier on both sides.
//
//   racewalk check examples/scenarios/mail_pin.cc
#include "mm/page_ref.h"
#include "racewalk/testbed.h"

using namespace racewalk;

namespace {

constexpr s32 PAGE_PIN_BIAS = 1024;

enum shape : unsigned { WMB, MB };

struct mail_pin : testbed {
  folio* page = page_folio(new_page(0, "p")); // a page of the machine's, with one reference
  const bool full;
  bool kept = false;
  bool seen_pinned = false;

  explicit mail_pin(const settings& s) : testbed(2), full(s.shape == MB) {
    cpu([this] { kept = get_page_pin(); });
    cpu([this] { seen_pinned = test_set_page_writeback(); });
    finally([this] {
      VM_BUG_ON(kept && !seen_pinned, "PIN-STABLE",
                "the pin was kept, and writeback was told that the page is not pinned");
    });
  }

  bool get_page_pin() {
    atomic_add(page->page._refcount, PAGE_PIN_BIAS);
    full ? smp_mb() : smp_wmb(); // pairs with smp_mb() in test_set_page_writeback()
    if (!folio_test_writeback(page)) return true;
    atomic_add(page->page._refcount, -PAGE_PIN_BIAS); // back off; the caller would wait and try again
    return false;
  }

  bool test_set_page_writeback() {
    folio_test_set_writeback(page);
    smp_mb(); // pairs with the barrier in get_page_pin()
    return page_pinned();
  }

  bool page_pinned() {
    const s32 page_mapcount = atomic_read(page->page._mapcount) + 1;
    return atomic_read(page->page._refcount) - page_mapcount > PAGE_PIN_BIAS;
  }
};

const declare_scenario pin{{
    .name = "mail_pin",
    .summary = "a pin and the start of writeback look for each other",
    .source = "mail 5",
    .threads = {"pin", "writeback"},
    .set_up = make<mail_pin>,
    .variants = {{.name = "wmb", .summary = "smp_wmb(), as the mail writes it"},
                 {.name = "mb", .summary = "smp_mb()", .depart = [](settings& s) { s.shape = MB; }}},
}};

} // namespace
