// S1.5: must the changed entry be visible before mm_cpumask is read?
//
// Mail 1, Leonardo Bras: "the pmd is updated, then serialize_against_pte_lookup is ran. [...] there is a
// guarantee that if there is any 'lockless pagetable walk' it is running on top of a updated version of this
// pmd". Only with a full barrier on each side. One CPU changes the entry and looks at the mask, the other
// sets its bit there and looks at the entry: store buffering. On x86 the second barrier is the locked
// set_bit() itself, the first one is missing like anywhere else.
//
// Here nothing but the serialization keeps a table under a walk, unless the variant says so: tables are freed
// at once, and the TLB is flushed afterwards. Where a flush is an IPI it is a second serialization with a
// barrier of its own, and hides that the first one has none.
#include "catalogue.h"
#include "mm/gup.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    cpu([this] {
      this_cpu().switch_mm(&mm_.context);
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) != 0) unpin_user_page(got);
    });
    cpu([this] { unmap_region(mm_, whole_table(0)); });
  }

 private:
  mm_struct& mm_ = new_mm();
};

void serialized(settings& s) {
  s.policy.serialize_mode = serialize_mode_t::ipi;
  s.policy.table_free = table_free_t::at_once;
  s.policy.gather_flush_before_free = false;
}

expect violation_unless_sc_or_ipi(const settings& s) {
  return s.arch->flush_is_rendezvous() ? expect::safe : violation_unless_sc(s);
}

} // namespace

scenario serialize_before_mask() {
  return {
      .id = "S1.5",
      .name = "serialize_before_mask",
      .summary = "a table is freed after an IPI to mm_cpumask, while a CPU loads the mm and walks",
      .source = "mail 1 (Re: Introduces new count-based method for tracking lockless pagetable walks)",
      .threads = {"switch, gup_fast", "unmap"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "mb", "smp_mb() between changing the entry and reading the mask", serialized,
               always_safe},
              {"b", "no_mb", "the mask is read with no barrier before",
               [](settings& s) {
                 serialized(s);
                 s.policy.serialize_barrier = false;
               },
               violation_unless_sc},
              {"c", "no_mb_in_switch_mm", "no smp_mb__after_atomic() between setting the bit and the walk",
               [](settings& s) {
                 serialized(s);
                 s.machine.switch_mm_barrier = false;
               },
               violation_if_weak},
              {"d", "no_mb_but_flush", "as b, with the TLB flush before the table is freed",
               [](settings& s) {
                 serialized(s);
                 s.policy.serialize_barrier = false;
                 s.policy.gather_flush_before_free = true;
               },
               violation_unless_sc_or_ipi},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
