// S0.3: mprotect(PROT_READ) as a whole, and a store that is under way.
//
// After it has returned no store lands. That takes three things of it: the entries lose the right and are
// flushed; a fault that begins later judges by the new flags; and one that began earlier, by the old ones, is
// over before the entries are looked at. The last is what the area's lock is taken for. Without it a fault
// that has found the area writable puts in a page that is, behind mprotect()'s back.
//
// The bodies are a program's store and mprotect(), as wholes.
#include <sys/mman.h>

#include "catalogue.h"
#include "mm/mmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  MAPPED,    ///< the page is there, and may be in the TLB
  UNTOUCHED, ///< the store brings it
  HALF,      ///< as UNTOUCHED, and the area's other half keeps its rights
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    if (shape == MAPPED) {
      map_anonymous(mm_, 0, PAGE_SIZE, "p");
    } else {
      new_area(mm_, 0, shape == HALF ? 2 * PAGE_SIZE : PAGE_SIZE, VM_READ | VM_WRITE);
      new_table(mm_, 0);
    }
    load_mm(0, mm_);
    load_mm(1, mm_);
    cpu([this] { (void)this_cpu().store<u64>(0, STORED); });
    cpu([this] {
      VM_BUG_ON(vm_mprotect(mm_, 0, PAGE_SIZE, PROT_READ) != 0, "SCENARIO", "mprotect() fails");
      const auto seen = this_cpu().load<u64>(0);
      VM_BUG_ON(!seen.ok(), "FAULT", "a load is refused");
      seen_ = seen.value();
    });
    finally(
        [this] { VM_BUG_ON(seen_ != content(), "INV-WP", "a store landed after mprotect() had returned"); });
  }

 private:
  static constexpr u64 STORED = 7;

  u64 content() {
    const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
    return pte_present(pte) && !pte_special(pte) ? READ_ONCE(page_words(page_at(mm_, 0))[0]) : 0;
  }

  mm_struct& mm_ = new_mm();
  u64 seen_ = 0;
};

auto shipped(shape which) {
  return [which](settings& s) { s.shape = which; };
}
auto unlocked(shape which) {
  return [which](settings& s) {
    s.shape = which;
    s.policy.mprotect_keeps_faults_out = false;
  };
}

} // namespace

scenario store_vs_mprotect() {
  return {
      .id = "S0.3",
      .name = "store_vs_mprotect",
      .summary = "mprotect() takes the right to store away while a store is under way",
      .source = "Documentation/mm/process_addrs.rst, vma_start_write() in mprotect_fixup()",
      .threads = {"store", "mprotect"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "the page is there, and may be in the TLB", nullptr, always_safe},
              {"b", "untouched", "the store brings the page", shipped(UNTOUCHED), always_safe},
              {"c", "untouched_unlocked", "as b, mprotect() does not take the area's lock",
               unlocked(UNTOUCHED), always_violation},
              {"d", "half", "as b, and the area is cut in two", shipped(HALF), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
