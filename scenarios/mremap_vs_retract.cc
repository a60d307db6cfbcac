// H3: mremap moves a page table that khugepaged takes away (CVE-2024-50066).
//
// mremap looks at the entry, sees a table, and decides to move it as a whole. khugepaged retracts tables of
// files without the mmap_lock since mail 3: between that look and the locks the entry may have become none,
// and what is put in the new place is a table at frame 0. So mremap looks again under its locks.
#include "catalogue.h"
#include "mm/mremap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    file& f = map_huge_file(mm_);
    map_file(mm_, pmd_size(), pmd_size(), f, 0, VM_READ | VM_WRITE | VM_SHARED);
    load_mm(0, mm_);
    load_mm(1, mm_);
    vm_area_struct& from = *mm_.region(0)->areas.lookup(0);
    vm_area_struct& to = *mm_.region(pmd_size())->areas.lookup(pmd_size());
    cpu([this, &from, &to] {
      write_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
      write_guard from_lock(from.vm_lock);
      write_guard to_lock(to.vm_lock);
      move_page_tables(from, 0, to, pmd_size(), pmd_size());
    });
    cpu([&f] { retract_tables(f); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

void no_second_look(settings& s) { s.policy.mremap_rechecks_pmd = false; }

} // namespace

scenario mremap_vs_retract() {
  return {
      .id = "H3",
      .name = "mremap_vs_retract",
      .summary = "the table of a file's pages is moved while khugepaged takes it away",
      .source = "CVE-2024-50066, 6fa1066fc5d0",
      .threads = {"mremap", "khugepaged"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"b", "shipped", "mremap looks again under its locks", nullptr, always_safe},
              {"a", "no_second_look", "it relies on what it saw before", no_second_look, always_violation},
              {"c", "mmap_lock_tried", "as a, khugepaged tries the mmap_lock, as before mail 3",
               [](settings& s) {
                 no_second_look(s);
                 s.policy.retract_mmap_lock = retract_lock_t::trylock;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
