// S0.1: an access through the TLB while its page is unmapped and freed.
//
// The rule that everything else rests on (M9): unhook, invalidate, free, in this order. And its condition
// (M8): the invalidation reaches every CPU that can hold the translation. A CPU that loads the mm sets its
// bit in mm_cpumask and then reads entries; a flush follows the change of an entry and then reads the mask:
// store buffering again, with a full barrier on both sides. On x86 both are locked instructions, which are
// needed anyway; arm64 and powerpc64 broadcast to all CPUs and do not ask the mask.
#include "catalogue.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  LOADED,  ///< the mm is loaded, the TLB may have the page
  LOADING, ///< the CPU loads the mm first
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    vma_tree& areas = mm_.region(0)->areas;
    areas.erase(*areas.lookup(0)); // munmap() detaches the area first: a fault finds nothing
    if (shape == LOADED) load_mm(0, mm_);
    load_mm(1, mm_);
    cpu([this, shape] {
      if (shape == LOADING) this_cpu().switch_mm(&mm_.context);
      (void)this_cpu().store<u64>(0, 1);
    });
    cpu([this] { unmap_region(mm_, whole_table(0)); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

/// Lost where memory is weakly ordered and a flush goes to the CPUs of the mask.
expect violation_if_weak_and_masked(const settings& s) {
  return s.arch->flush_targets == flush_targets_t::all ? expect::safe : violation_if_weak(s);
}

} // namespace

scenario access_vs_munmap() {
  return {
      .id = "S0.1",
      .name = "access_vs_munmap",
      .summary = "munmap frees a page that a CPU may have in its TLB",
      .source = "Documentation/core-api/cachetlb.rst, asm-generic/tlb.h",
      .threads = {"store", "munmap"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "unhook, invalidate, free", nullptr, always_safe},
              {"b", "no_flush_before_free", "unhook, free, invalidate",
               [](settings& s) { s.policy.gather_flush_before_free = false; }, always_violation},
              {"c", "loading", "as a, while the CPU loads the mm", [](settings& s) { s.shape = LOADING; },
               always_safe},
              {"d", "no_mb_before_mask", "as c, no barrier between changing the entry and reading the mask",
               [](settings& s) {
                 s.shape = LOADING;
                 s.machine.flush_mask_barrier = false;
               },
               violation_if_weak_and_masked},
              {"e", "no_mb_in_switch_mm", "as c, no barrier between setting the bit and the access",
               [](settings& s) {
                 s.shape = LOADING;
                 s.machine.switch_mm_barrier = false;
               },
               violation_if_weak_and_masked},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
