// S3.9, the other part: MADV_DONTNEED takes away the table that it has emptied (Linux 6.14,
// CONFIG_PT_RECLAIM).
//
// Unlike munmap it holds the mmap_lock only for reading: faults of the area go on, khugepaged comes from the
// file, and walks with no lock at all pass by. So it has to find the table empty under both of its locks; who
// had found it before looks at the PMD entry again under the ptl (M6); and as such a one is in an RCU
// section, not with interrupts off, a shootdown that interrupts all CPUs is no reason to free the table at
// once.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/madvise.h"
#include "mm/pgalloc.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  FAULT,   ///< a page of the table is stored to meanwhile
  GUP,     ///< a lockless walk goes through it
  RETRACT, ///< khugepaged takes it away
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file* f = shape == RETRACT ? &map_huge_file(mm_) : nullptr;
    if (f == nullptr) {
      new_area(mm_, 0, pmd_size(), VM_READ | VM_WRITE);
      touch(mm_, 0, FAULT_FLAG_WRITE, "p");
    }
    load_mm(0, mm_);
    load_mm(1, mm_);
    cpu([this] { (void)madvise_dontneed(mm_, 0, pmd_size()); });
    switch (shape) {
    case FAULT:
      cpu([this] {
        VM_BUG_ON(do_user_addr_fault(mm_.context, PAGE_SIZE, FAULT_FLAG_WRITE) != fault_result::handled,
                  "FAULT", "a store is refused");
      });
      break;
    case GUP:
      cpu([this] {
        page* got = nullptr;
        if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_NONE, &got) == 1) unpin_user_page(got);
      });
      break;
    default:
      cpu([f] { retract_tables(*f); });
    }
    finally([this] {
      VM_BUG_ON(get_mm_counter(mm_, MM_ANONPAGES) != reachable_pages(), "INV-TBL",
                "a page is counted that no entry leads to");
      VM_BUG_ON(get_mm_counter(mm_, MM_PGTABLES) != (has_table() ? 2 : 1), "INV-TBL",
                "a table was counted out twice, or never");
    });
  }

 private:
  bool has_table() const { return pmd_is_table(pmdp_get(find_pmd(mm_, 0).pmdp)); }
  s64 reachable_pages() const {
    if (!has_table()) return 0;
    s64 pages = 0;
    for (vaddr_t addr = 0; addr < pmd_size(); addr += PAGE_SIZE)
      pages += pte_present(ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), addr)));
    return pages;
  }

  mm_struct& mm_ = new_mm();
};

auto shipped(shape which) {
  return [which](settings& s) { s.shape = which; };
}
auto freed_at_once(shape which) {
  return [which](settings& s) {
    s.shape = which;
    s.policy.table_free = table_free_t::at_once;
  };
}

} // namespace

scenario reclaim_empty_table() {
  return {
      .id = "S3.9",
      .name = "reclaim_empty_table",
      .summary = "a table that MADV_DONTNEED has emptied goes, while others are about to use it",
      .source = "mail 3; try_to_free_pte (Linux 6.14)",
      .threads = {"MADV_DONTNEED", "other"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"d", "fault", "a fault looks again under the lock", shipped(FAULT), always_safe},
              {"d-G", "gup_fast", "a lockless walk", shipped(GUP), always_safe},
              {"d-K", "retract", "khugepaged looks again under the lock", shipped(RETRACT), always_safe},
              {"e", "unchecked", "as d, whether the table is still empty is not looked at",
               [](settings& s) {
                 s.shape = FAULT;
                 s.policy.reclaim_pt_rechecks = false;
               },
               always_violation},
              {"e-F", "fault_unchecked", "as d, the fault does not look again",
               [](settings& s) {
                 s.shape = FAULT;
                 s.policy.ptl_rechecks_pmd = false;
               },
               always_violation},
              {"e-R", "fault_without_rcu", "as d, the fault is in no RCU section when it finds the table",
               [](settings& s) {
                 s.shape = FAULT;
                 s.policy.pte_map_rcu = false;
               },
               always_violation},
              {"e-K", "retract_unchecked", "as d-K, khugepaged does not look again",
               [](settings& s) {
                 s.shape = RETRACT;
                 s.policy.retract_rechecks_pmd = false;
               },
               always_violation},
              {"f", "at_once", "as d, the table is freed after the flush, without a grace period",
               freed_at_once(FAULT), always_violation},
              {"f-G", "gup_fast_at_once", "as d-G, the table is freed after the flush", freed_at_once(GUP),
               violation_unless_ipi},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
