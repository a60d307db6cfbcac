// S1.6: may mm_cpumask name CPUs that do not run the mm?
//
// Mail 1, Peter Zijlstra: "Power never accurately tracks mm_cpumask(), so using that makes the whole thing
// more expensive than it needs to be", and "Basically PowerPC only ever sets bits in there, unlike x86 that
// also clears bits". A bit too many costs an interrupt and loses nothing. A bit too few loses: who trims the
// mask must not take out a CPU that can still use the mm, and only that CPU knows. So a CPU that holds the mm
// lazily takes itself out, in an interrupt, after it has dropped the mm (38cf307c1f20); Cpu::switch_mm() runs
// with interrupts off, so that it is either before or after that.
//
// Tables are freed at once after an IPI to the mask.
#include "catalogue.h"
#include "machine/tlbflush.h"
#include "mm/gup.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  BITS_STAY, ///< the mask names a lazy CPU and an idle one
  TRIMMED,   ///< lazy CPUs are taken out before the unmap
  EXACT,     ///< nobody is named who does not hold the mm
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(3) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    load_mm(0, mm_);
    WRITE_ONCE(machine.cpu(0).is_lazy, 1);
    if (shape != EXACT) set_bit(2, mm_.context.cpumask);
    cpu([this] {
      this_cpu().switch_mm(&mm_.context); // no longer lazy
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) != 0) unpin_user_page(got);
    });
    cpu([this, shape] {
      if (shape == TRIMMED) exit_flush_lazy_tlbs(mm_.context);
      unmap_region(mm_, whole_table(0));
    });
    cpu([] {});
  }

 private:
  mm_struct& mm_ = new_mm();
};

/// Lost where dropping an mm clears the CPU's bit.
expect violation_if_trimmed(const settings& s) {
  return s.arch->mm_cpumask == cpumask_rule_t::set_only ? expect::safe : expect::violation;
}

auto with(shape which, lazy_mask_clear_t clear = lazy_mask_clear_t::by_target) {
  return [=](settings& s) {
    s.shape = which;
    s.machine.lazy_mask_clear = clear;
    s.policy.serialize_mode = serialize_mode_t::ipi;
    s.policy.table_free = table_free_t::at_once;
  };
}

} // namespace

scenario overapproximated_mask() {
  return {
      .id = "S1.6",
      .name = "overapproximated_mask",
      .summary = "a table is freed after an IPI to a mask that names idle and lazy CPUs",
      .source = "mail 1 (Re: Introduces new count-based method for tracking lockless pagetable walks)",
      .threads = {"leave lazy, gup_fast", "trim, unmap", "idle"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "bits_stay", "bits are only ever set", with(BITS_STAY), always_safe},
              {"b", "cleared_by_flusher", "who trims the mask clears the bits of lazy CPUs itself",
               with(TRIMMED, lazy_mask_clear_t::by_flusher), always_violation},
              {"c", "cleared_by_target", "a lazy CPU drops the mm, then clears its bit, in an interrupt",
               with(TRIMMED), always_safe},
              {"d", "irqs_on_in_switch_mm", "as c, but lazy mode is left with interrupts on",
               [](settings& s) {
                 with(TRIMMED)(s);
                 s.machine.switch_mm_irqs_off = false;
               },
               violation_if_trimmed},
              {"e", "exact", "to compare the cost: as a, without the idle CPU's bit", with(EXACT),
               always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
