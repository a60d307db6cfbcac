// S5.3: more than the bias, or from the bias on?
//
// Mail 5, Jan Kara's page_pinned() compares with `>`. A page of the page cache has the cache's reference
// besides the pin, which hides that this is off by one; an anonymous page has none but its mappings', which
// are subtracted: pinned once, the difference is the bias. No second CPU is needed.
#include "catalogue.h"
#include "mm/gup.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(1) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(0, mm_);
    cpu([this] {
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 0) return;
      VM_BUG_ON(!folio_maybe_dma_pinned(page_folio(got)), "PIN-MISSED",
                "the page is pinned, and is said not to be");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
};

auto compare(pin_threshold_t threshold, pin_subtract_t subtract) {
  return [=](settings& s) {
    s.policy.pin_threshold = threshold;
    s.policy.pin_subtract_mapcount = subtract;
  };
}

} // namespace

scenario pin_threshold() {
  return {
      .id = "S5.3",
      .name = "pin_threshold",
      .summary = "one pin of an anonymous page, and the comparison that is to notice it",
      .source = MAIL_5,
      .threads = {"pin"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "gt", "references minus mappings > bias, as the mail writes it",
               compare(pin_threshold_t::gt, pin_subtract_t::count_then_map), always_violation},
              {"b", "ge", "references minus mappings >= bias",
               compare(pin_threshold_t::ge, pin_subtract_t::count_then_map), always_safe},
              {"c", "upstream", "references >= bias", nullptr, always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
