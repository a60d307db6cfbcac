// S0.2: a fault finds its area without a lock, while munmap() takes the area away.
//
// The look-up may be late, and an area's memory becomes another area's: it never goes back while the mm
// lives, so it can be locked, and then has to be asked what it is. munmap() for its part marks the area
// detached under the same lock, for writing, before it takes the entries away. Then no fault is under way in
// it, and none begins; who was refused waits for the mmap_lock and finds no area. That is what lets munmap()
// free the tables with no lock at all (M39).
//
// The bodies are a program's store and munmap(), as wholes.
#include <sys/mman.h>

#include "catalogue.h"
#include "mm/mmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  GONE,   ///< the area goes
  REUSED, ///< and its memory becomes an area at another address
  CUT,    ///< the first of its two pages goes; the rest stays, and is stored to
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2), shape_(shape) {
    new_area(mm_, 0, shape == CUT ? 2 * PAGE_SIZE : PAGE_SIZE, VM_READ | VM_WRITE);
    new_table(mm_, 0);
    load_mm(0, mm_);
    load_mm(1, mm_);
    cpu([this] {
      stored_ = false;
      stored_ = this_cpu().store<u64>(shape_ == CUT ? PAGE_SIZE : 0, 1).ok();
    });
    cpu([this] { unmap(); });
    finally([this] { check(); });
  }

 private:
  void unmap() {
    VM_BUG_ON(vm_munmap(mm_, 0, PAGE_SIZE) != 0, "SCENARIO", "munmap() fails");
    if (shape_ != REUSED) return;
    const long at = vm_mmap(mm_, PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE);
    VM_BUG_ON(at != PAGE_SIZE, "SCENARIO", "mmap() fails");
  }

  void check() {
    VM_BUG_ON(present_at(0), "INV-TBL", "a page is mapped where no area is");
    VM_BUG_ON(get_mm_counter(mm_, MM_ANONPAGES) != (present_at(PAGE_SIZE) ? 1 : 0), "INV-RSS",
              "a page is counted that no entry leads to");
    VM_BUG_ON(shape_ == CUT && !stored_, "FAULT", "a store is refused where the area has always been");
    VM_BUG_ON(shape_ == REUSED && present_at(PAGE_SIZE), "INV-TBL", "a page is mapped that nobody has used");
  }
  bool present_at(vaddr_t addr) {
    const pmd_lookup at = find_pmd(mm_, addr);
    if (!at.found || !pmd_is_table(pmdp_get(at.pmdp))) return false;
    return pte_present(ptep_get(pte_offset(pmdp_get(at.pmdp), addr)));
  }

  mm_struct& mm_ = new_mm();
  const unsigned shape_;
  bool stored_ = false;
};

auto rechecked(shape which, vma_recheck_t how) {
  return [which, how](settings& s) {
    s.shape = which;
    s.policy.vma_recheck = how;
  };
}
auto detached(vma_detach_t how) {
  return [how](settings& s) { s.policy.munmap_detaches = how; };
}

} // namespace

scenario fault_vs_unmap() {
  using enum vma_recheck_t;
  return {
      .id = "S0.2",
      .name = "fault_vs_unmap",
      .summary = "munmap() takes an area away that a fault has found without a lock",
      .source = "Documentation/mm/process_addrs.rst, vma_start_read(), vma_mark_detached()",
      .threads = {"store", "munmap"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "the fault asks the locked area whether it is the one", nullptr, always_safe},
              {"b", "unchecked", "it does not ask", rechecked(GONE, none), always_violation},
              {"c", "attached", "it asks whether it is attached", rechecked(GONE, attached), always_safe},
              {"d", "not_marked", "as a, munmap() waits for faults under way, and does not mark the area",
               detached(vma_detach_t::none), always_violation},
              {"e", "marked_unlocked", "as a, munmap() marks the area without its lock",
               detached(vma_detach_t::unlocked), always_violation},
              {"f", "reused", "as a, and its memory becomes another area", rechecked(REUSED, address),
               always_safe},
              {"g", "reused_attached", "as c, and its memory becomes another area",
               rechecked(REUSED, attached), always_violation},
              {"h", "cut", "the area is cut in two, and the fault is in the part that stays",
               rechecked(CUT, address), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
