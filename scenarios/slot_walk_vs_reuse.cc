// S1.3: why huge pages are special to a look-up that ends at an entry.
//
// Mail 1: "the returned ptep may be invalid". For powerpc's __find_linux_pte, which returns the place of an
// entry, that is so: the huge page is given back, another CPU faults, and the slot holds a table.
// 13bd817bb884 answered with an interrupt before the slot can be used again; the series of 2020 with rules
// for the users: do not read again, expect the value to be stale, look first whether it is a leaf.
// get_user_pages_fast, which returns pages, has no such trouble.
#include "catalogue.h"
#include "mm/gup.h"
#include "mm/huge_memory.h"
#include "mm/madvise.h"
#include "mm/pte_walk.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  TWO_CPUS, ///< one gives the memory back, another faults
  ONE_CPU,  ///< the same one does both
  USED,     ///< the memory is given back, the page that was found is read
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(shape == TWO_CPUS ? 3 : 2) {
    map_anonymous(mm_, 0, pmd_size(), "h", VM_HUGEPAGE);
    vma_ = mm_.region(0)->areas.lookup(0);
    vma_->vm_flags.set(VM_READ | VM_WRITE); // the next fault finds no huge page
    for (unsigned cpu = 0; cpu < (shape == TWO_CPUS ? 3 : 2); ++cpu)
      load_mm(cpu, mm_);
    cpu([this, shape] {
      lockless_walk section(mm_);
      const linux_pte pte = find_linux_pte(mm_, 0);
      if (!pte.found) return;
      page* page = linux_pte_page(pte, 0);
      if (shape == USED && page != nullptr) (void)READ_ONCE(page_words(page)[0]);
    });
    cpu([this, shape] {
      give_back();
      if (shape == ONE_CPU) fault();
    });
    if (shape == TWO_CPUS) cpu([this] { fault(); });
  }

 private:
  /// The part of MADV_DONTNEED that takes the entry out.
  void give_back() {
    mmu_gather tlb(mm_);
    tlb_gather_mmu(tlb);
    (void)zap_huge_pmd(tlb, 0, find_pmd(mm_, 0).pmdp);
    tlb_finish_mmu(tlb);
  }
  /// The part of a fault that puts a table in.
  void fault() {
    const pmdp_t pmdp = find_pmd(mm_, 0).pmdp;
    if (pmd_none(pmdp_get_lockless(pmdp))) (void)pte_alloc(mm_, pmdp);
  }

  mm_struct& mm_ = new_mm();
  vm_area_struct* vma_;
};

auto with(shape which, bool reloads, bool tests_leaf) {
  return [=](settings& s) {
    s.shape = which;
    s.policy.slot_walk_reloads = reloads;
    s.policy.slot_walk_tests_leaf = tests_leaf;
  };
}

} // namespace

scenario slot_walk_vs_reuse() {
  return {
      .id = "S1.3",
      .name = "slot_walk_vs_reuse",
      .summary = "a look-up ends at the slot of a huge page, which is taken out and replaced by a table",
      .source = "mail 1; 13bd817bb884",
      .threads = {"find_linux_pte", "dontneed", "fault"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"c", "shipped", "the value that was read on the way is used", nullptr, always_safe},
              {"c-L", "tests_leaf", "the slot is read again, and asked whether it holds a leaf",
               with(TWO_CPUS, true, true), always_safe},
              {"a", "reload", "the slot is read again", with(TWO_CPUS, true, false), always_violation},
              {"b", "reload_serialize", "as a, who takes the entry out interrupts the CPUs of the mm",
               [](settings& s) {
                 with(TWO_CPUS, true, false)(s);
                 s.policy.serialize_mode = serialize_mode_t::ipi;
               },
               always_safe},
              {"e", "reload_one_cpu", "as a, the CPU that took the entry out faults",
               with(ONE_CPU, true, false), violation_unless_ipi},
              {"c-P", "stale_page", "as c, the page that was found is read", with(USED, false, true),
               violation_unless_ipi},
              {"c-G", "stale_page_serialize", "as c-P, who takes the entry out interrupts the CPUs of the mm",
               [](settings& s) {
                 with(USED, false, true)(s);
                 s.policy.serialize_mode = serialize_mode_t::ipi;
               },
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
