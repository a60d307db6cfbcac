// S3.3: a table is taken away into which a userfaultfd has just put the marks of its write protection.
//
// What is not mapped of a file is protected by markers (userfault_marker), for which nobody needs a page's
// lock: an area can be registered and protected from beginning to end while khugepaged, which has found that
// it is not, goes on to take its table. With the table the markers go, the huge page is mapped in its place,
// and the next store is not heard of. So it has to be asked again under the table's lock.
#include "arch/swapops.h"
#include "catalogue.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    file& f = map_huge_file(mm_);
    load_mm(0, mm_);
    load_mm(1, mm_);
    if (idle_without_uffd_wp()) return;
    describe(uffd_);
    cpu([this] {
      int error = userfaultfd_register(uffd_, 0, pmd_size(), UFFDIO_REGISTER_MODE_WP);
      VM_BUG_ON(error != 0, "UFFD", "the pages cannot be registered");
      error = mwriteprotect_range(uffd_, 0, PAGE_SIZE, UFFDIO_WRITEPROTECT_MODE_WP);
      VM_BUG_ON(error != 0, "UFFD", "a registered page cannot be write-protected");
    });
    cpu([&f] { retract_tables(f); });
    finally([this] {
      const pmd_t pmd = pmdp_get(find_pmd(mm_, 0).pmdp);
      const bool marked = pmd_is_table(pmd) && pte_marker_uffd_wp(ptep_get(pte_offset(pmd, 0)));
      VM_BUG_ON(!marked, "UFFD", "a page was write-protected, and nothing remembers it");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
};

} // namespace

scenario retract_vs_writeprotect() {
  return {
      .id = "S3.3",
      .name = "retract_vs_writeprotect",
      .summary = "a table gets a userfaultfd's markers while it is being taken away as empty",
      .source = "mail 3; 1d65b771bc08",
      .threads = {"write_protect", "khugepaged"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "asks again under the table's lock whether the area is registered", nullptr,
               always_safe},
              {"b", "before_locks", "asks before it takes any lock, as the series did at first",
               [](settings& s) { s.policy.retract_test = retract_test_t::before_locks; },
               violation_if_uffd_wp},
              {"c", "looks_at_entries", "looks at the entries instead, under the table's lock",
               [](settings& s) { s.policy.retract_test = retract_test_t::entries; }, always_safe},
              {"d", "no_second_look", "who marks takes the table's lock and does not look again",
               [](settings& s) { s.policy.ptl_rechecks_pmd = false; }, violation_if_uffd_wp},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
