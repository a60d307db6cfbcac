// S5.2: references minus mappings, read one after the other.
//
// Mail 5, Jan Kara's page_pinned(): (atomic_read(&page->_refcount) - page_mapcount(page)) > PAGE_PIN_BIAS,
// "there will be no false negatives". There are: the two reads are no snapshot. A mapping that comes or goes
// between them counts on one side only, and takes the difference down to the bias. A page in the page cache
// (one reference) is pinned throughout, and mapped or unmapped meanwhile.
#include "catalogue.h"
#include "mm/page_pin.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// What the other CPU does.
enum class shape : unsigned { maps, maps_twice, unmaps };

class world : public testbed {
 public:
  explicit world(shape what) : testbed(2) {
    if (!folio_try_add_pins(page_folio(page_), 1))
      throw setup_violation{"SCENARIO", "a new page cannot be pinned"};
    if (what == shape::unmaps) map();
    cpu([this] {
      VM_BUG_ON(!folio_maybe_dma_pinned(page_folio(page_)), "PIN-MISSED",
                "the page is pinned all the time, and is said not to be");
    });
    cpu([this, what] {
      switch (what) {
      case shape::maps_twice:
        map();
        [[fallthrough]];
      case shape::maps:
        map();
        break;
      case shape::unmaps:
        folio_remove_rmap_pte(page_);
        put_page(page_);
        break;
      }
    });
  }

 private:
  void map() {
    folio_get(page_folio(page_));
    folio_add_rmap_pte(page_);
  }

  page* page_ = new_page(0, "p");
};

auto subtract(pin_subtract_t how, pin_threshold_t threshold, shape what) {
  return [=](settings& s) {
    s.policy.pin_subtract_mapcount = how;
    s.policy.pin_threshold = threshold;
    s.shape = static_cast<unsigned>(what);
  };
}

} // namespace

scenario pin_subtraction() {
  using enum pin_subtract_t;
  using enum pin_threshold_t;
  return {
      .id = "S5.2",
      .name = "pin_subtraction",
      .summary = "whether a page is pinned is asked while a mapping of it comes or goes",
      .source = MAIL_5,
      .threads = {"is_pinned", "map"},
      .set_up = [](const settings& s) { return std::make_unique<world>(static_cast<shape>(s.shape)); },
      .variants =
          {
              {"a", "count_then_map", "as the mail writes it; a mapping comes",
               subtract(count_then_map, gt, shape::maps), always_violation},
              {"b", "map_then_count", "mappings are read first; a mapping goes",
               subtract(map_then_count, gt, shape::unmaps), always_violation},
              {"c", "ge", "pinned from the bias on (>=); a mapping comes",
               subtract(count_then_map, ge, shape::maps), always_safe},
              {"d", "ge_two", "pinned from the bias on (>=); two mappings come",
               subtract(count_then_map, ge, shape::maps_twice), always_violation},
              {"e", "upstream", "nothing is subtracted; two mappings come",
               subtract(no, ge, shape::maps_twice), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
