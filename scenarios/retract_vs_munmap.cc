// S3.9: khugepaged takes a table away from an area that is being unmapped.
//
// It finds the area by the file, and holds nothing of the mm. What keeps the tables that it walks is that the
// area is still in the file's tree: munmap() takes it out under i_mmap_rwsem before its tables go, and exit
// does the same, since khugepaged holds no mm_users either (mail 3). Once they go without that, a second look
// at the entry does not help: whoever frees tables of detached areas takes no page-table lock.
#include "catalogue.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned { MUNMAP, EXIT };

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = map_huge_file(mm_);
    load_mm(0, mm_);
    load_mm(1, mm_);
    vma_tree& areas = mm_.region(0)->areas;
    vm_area_struct& area = *areas.lookup(0);
    areas.erase(area); // munmap() detaches the area first: a fault finds nothing
    cpu([this, &area, shape] { unmap_region(mm_, whole_table(0), shape == EXIT, &area); });
    cpu([&f] { retract_tables(f); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

void late_unlink(settings& s) { s.policy.unlink_before_tables = false; }

} // namespace

scenario retract_vs_munmap() {
  return {
      .id = "S3.9",
      .name = "retract_vs_munmap",
      .summary = "the table of a file's pages is taken away while its area is unmapped",
      .source = "mail 3",
      .threads = {"munmap", "khugepaged"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "the area leaves the file before its tables go", nullptr, always_safe},
              {"a-X", "exit", "as a, the mm is dying", [](settings& s) { s.shape = EXIT; }, always_safe},
              {"b", "late_unlink", "its tables go first", late_unlink, always_violation},
              {"c", "no_second_look", "as b, and khugepaged does not look again under its lock",
               [](settings& s) {
                 late_unlink(s);
                 s.policy.retract_rechecks_pmd = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
