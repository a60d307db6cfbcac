// S3.4: a collapse fills a hole of a file that a userfaultfd handler is to fill.
//
// khugepaged may put zeros where a file has holes. Whoever has registered an area for missing pages, and has
// then seen that a page is missing, is to hear of the first touch. So khugepaged shuts the holes, so that
// nobody sees them any more, and then asks whether an area is registered (Linux: under i_mmap_lock_read and
// the lock of the page cache, after XA_RETRY_ENTRY is in). "I wrote one, then read the other" on both sides:
// it takes a full barrier on both. Linux has locks there, and no lock in common.
#include "catalogue.h"
#include "mm/collapse_file.h"
#include "mm/filemap.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    file& f = new_file(hpage_pmd_nr());
    map_file(mm_, 0, pmd_size(), f, 0, VM_READ | VM_WRITE | VM_SHARED);
    cpu([&f] {
      (void)collapse_file(f.mapping(), 0, {.max_ptes_none = hpage_pmd_nr(), .wanted_only = false});
    });
    describe(uffd_);
    cpu([this, &f] {
      missing_ = false;
      if (userfaultfd_register(uffd_, 0, pmd_size(), UFFDIO_REGISTER_MODE_MISSING) != 0) return;
      folio* there = filemap_get_folio(f.mapping(), 0); // as mincore() does
      missing_ = there == nullptr;
      if (there != nullptr) folio_put(there);
    });
    finally([this, &f] {
      VM_BUG_ON(missing_ && f.mapping().i_pages.load(0).is_folio(), "UFFD",
                "a page was seen to be missing in a registered area, and its first touch is not reported");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  bool missing_ = false;
};

auto asking(missing_test_t when) {
  return [=](settings& s) { s.policy.collapse_missing_test = when; };
}

} // namespace

scenario collapse_vs_missing() {
  return {
      .id = "S3.4",
      .name = "collapse_vs_missing",
      .summary = "a collapse fills the holes of a file while a userfaultfd is registered for them",
      .source = "Linux, mm/khugepaged.c: collapse_file()",
      .threads = {"khugepaged", "register"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "shuts the holes, full barrier, asks", nullptr, always_safe},
              {"a-L", "locks_only", "no barrier in between, as in Linux",
               [](settings& s) { s.policy.collapse_missing_mb = false; }, violation_if_weak},
              {"b", "asked_before", "asked before they are", asking(missing_test_t::before),
               always_violation},
              {"c", "not_asked", "not asked", asking(missing_test_t::never), always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
