// S3.2, S3.6: a page table is taken away while others use it.
//
// khugepaged has put a huge page into a file; the tables that mapped the small ones are empty, and stay so as
// long as it holds the lock of the huge one. It takes them away (retract_page_tables). Before mail 3 it took
// the mmap_lock for that, inside the folio lock, which faults take the other way round: so it could only try.
// The series takes nothing but the page-table locks. Whoever comes to a table then reads it in an RCU
// section, and looks at the entry that led to it again once it has the table's lock.
#include "catalogue.h"
#include "mm/gup.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned { FAULT, GUP_FAST };

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = map_huge_file(mm_);
    load_mm(0, mm_);
    load_mm(1, mm_);
    if (shape == FAULT)
      cpu([this] { (void)do_user_addr_fault(mm_.context, 0, FAULT_FLAG_NONE); });
    else
      cpu([this] {
        page* pages[1];
        (void)pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, pages);
      });
    cpu([&f] { retract_tables(f); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

/// As before mail 3: whoever found a table relied on the mmap_lock.
void with_mmap_lock(policy_t& p) {
  p.retract_mmap_lock = retract_lock_t::trylock;
  p.retract_holds_ptl = false;
  p.retract_free = retract_free_t::sync_ipi;
  p.pte_map_rcu = false;
  p.ptl_rechecks_pmd = false;
}

void freed_at_once_under_gup(settings& s) {
  s.shape = GUP_FAST;
  s.policy.retract_free = retract_free_t::at_once;
}

} // namespace

scenario retract_vs_fault() {
  return {
      .id = "S3.2",
      .name = "retract_vs_fault",
      .summary = "the table of a file's pages is taken away while a fault is in it",
      .source = "mail 3; S3.6",
      .threads = {"fault", "khugepaged"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "looks again under the lock, reads in an RCU section", nullptr, always_safe},
              {"b", "no_second_look", "takes the table's lock and does not look again",
               [](settings& s) { s.policy.ptl_rechecks_pmd = false; }, always_violation},
              {"c", "no_rcu", "reads the table in no RCU section",
               [](settings& s) { s.policy.pte_map_rcu = false; }, always_violation},
              {"d", "freed_at_once", "the table is freed after the flush",
               [](settings& s) { s.policy.retract_free = retract_free_t::at_once; }, always_violation},
              {"d-G", "freed_at_once_gup", "as d, the other is a walk with interrupts off",
               freed_at_once_under_gup, violation_unless_ipi},
              {"e", "sync_ipi", "the table is freed after an IPI, for which RCU sections do not wait",
               [](settings& s) { s.policy.retract_free = retract_free_t::sync_ipi; }, always_violation},
              {"S3.6-a", "mmap_lock_blocking", "khugepaged waits for the mmap_lock, the fault for the folio",
               [](settings& s) {
                 with_mmap_lock(s.policy);
                 s.policy.faults_take_vma_lock = false;
                 s.policy.retract_mmap_lock = retract_lock_t::blocking;
               },
               always_violation},
              {"S3.6-b", "mmap_lock_tried", "khugepaged tries the mmap_lock, which the fault holds",
               [](settings& s) {
                 with_mmap_lock(s.policy);
                 s.policy.faults_take_vma_lock = false;
               },
               always_safe},
              {"S3.6-c", "fault_by_vma_lock", "as b, the fault holds the lock of the area alone",
               [](settings& s) { with_mmap_lock(s.policy); }, always_violation},
              {"S3.6-d", "vma_lock_tried", "as c, khugepaged tries the lock of the area, too",
               [](settings& s) {
                 with_mmap_lock(s.policy);
                 s.policy.retract_takes_vma_lock = true;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
