// M45: a file made of memory is cut while a page of it goes to the swap file, or comes back.
//
// A page is at its place in the page cache, or in the slot that is named there, and moves from one to the
// other under its folio lock. Truncation goes through the places once. Where it finds a folio it waits for
// its lock, and may find it gone then: not because somebody else has truncated it, but to a slot. So it looks
// again at the place, and does not go on before it has emptied it (b). Who brings a page back puts it in its
// place only if that names the slot still: truncation may have taken the slot, and given it back.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/page_lock.h"
#include "mm/shmem.h"
#include "mm/truncate.h"
#include "mm/vmscan.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  OUT, ///< the page goes
  IN,  ///< it comes back
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    new_swap(1);
    folio* folio = read_mapping_folio(mapping(), 0).folio;
    folio_unlock(folio);
    if (shape == IN) {
      shrink_folio_list(&folio, 1); // with the reference
    } else {
      folio_ = folio;
    }
    cpu([this] { (void)truncate_setsize(mapping().host, 0); });
    if (shape == IN)
      cpu([this] { bring_back(); });
    else
      cpu([this] { shrink_folio_list(&folio_, 1); });
    finally([this] {
      VM_BUG_ON(!mapping().i_pages.load(0).none(), "INV-TBL", "a page is left of a file that was cut");
    });
  }

 private:
  address_space& mapping() { return file_.mapping(); }
  void bring_back() {
    folio* folio = read_mapping_folio(mapping(), 0, fgp::no_creat).folio;
    if (folio == nullptr) return;
    folio_unlock(folio);
    folio_put(folio);
  }

  file& file_ = new_file(1);
  folio* folio_ = nullptr;
};

auto with_shape(unsigned shape) {
  return [=](settings& s) { s.shape = shape; };
}

} // namespace

scenario truncate_vs_swap() {
  return {
      .id = "M45",
      .name = "truncate_vs_swap",
      .summary = "a file made of memory is cut while a page of it goes to the swap file, or comes back",
      .source = "Linux, mm/shmem.c: shmem_undo_range()",
      .threads = {"truncate", "swap"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "goes", "truncation looks again where it has had to wait", with_shape(OUT), always_safe},
              {"b", "looks_once", "it goes on", [](settings& s) { s.policy.truncate_looks_again = false; },
               always_violation},
              {"c", "comes_back", "the page is brought back", with_shape(IN), always_safe},
              {"d", "comes_back_looks_once", "as c, truncation goes on where it has had to wait",
               [](settings& s) {
                 s.shape = IN;
                 s.policy.truncate_looks_again = false;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
