// M26: a page of a file is write-protected by a userfaultfd while it is given back.
//
// Whoever has write-protected a page wants to hear of the next store to it, also if the page has been taken
// away in between and comes back from the file. So the entry that is zapped leaves a marker, and where there
// is nothing to protect a marker is put; whichever comes first, one is there in the end (999dad824c39,
// fe2567eb8d11). Without it the next store finds an entry that is none, and goes through.
#include "arch/swapops.h"
#include "catalogue.h"
#include "mm/madvise.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    map_file(mm_, 0, PAGE_SIZE, new_file(1), 0, VM_READ | VM_WRITE | VM_SHARED);
    touch(mm_, 0, FAULT_FLAG_NONE, "f");
    if (pte_has_uffd_wp() && userfaultfd_register(uffd_, 0, PAGE_SIZE, UFFDIO_REGISTER_MODE_WP) != 0)
      throw setup_violation("SCENARIO", "the page cannot be registered");
    describe(uffd_);
    load_mm(0, mm_);
    load_mm(1, mm_);
    if (idle_without_uffd_wp()) return;
    cpu([this] {
      const int error = mwriteprotect_range(uffd_, 0, PAGE_SIZE, UFFDIO_WRITEPROTECT_MODE_WP);
      VM_BUG_ON(error != 0, "UFFD", "a registered page cannot be write-protected");
    });
    cpu([this] { (void)madvise_dontneed(mm_, 0, PAGE_SIZE); });
    finally([this] {
      const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
      VM_BUG_ON(!pte_marker_uffd_wp(pte), "UFFD", "a page was write-protected, and nothing remembers it");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
};

} // namespace

scenario userfault_marker() {
  return {
      .id = "M26m",
      .name = "userfault_marker",
      .summary = "a page that a userfaultfd write-protects is given back",
      .source = "999dad824c39, fe2567eb8d11",
      .threads = {"write_protect", "dontneed"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "what is zapped leaves a marker; where nothing is, one is put", nullptr,
               always_safe},
              {"b", "zap_forgets", "the zapped entry leaves nothing",
               [](settings& s) { s.policy.zap_leaves_markers = false; }, violation_if_uffd_wp},
              {"c", "none_unmarked", "where nothing is mapped, nothing is put",
               [](settings& s) { s.policy.uffd_wp_marks_none = false; }, violation_if_uffd_wp},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
