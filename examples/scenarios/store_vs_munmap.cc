// After munmap() has returned nothing is there any more: a load is refused. What keeps a fault that is under
// way from putting a page there?
//
//   racewalk check examples/scenarios/store_vs_munmap.cc
//
// The bodies are system calls and accesses as wholes. munmap() marks the area under its lock as one that
// takes no faults; the variant leaves that out.
#include "mm/mmap.h"
#include "racewalk/testbed.h"

using namespace racewalk;

namespace {

struct store_and_unmap : testbed {
  mm_struct& mm = new_mm();

  explicit store_and_unmap(const settings&) : testbed(2) {
    new_area(mm, 0, PAGE_SIZE, VM_READ | VM_WRITE); // nobody has touched it: the store faults
    load_mm(0, mm);
    load_mm(1, mm);
    cpu([this] { (void)this_cpu().store<u64>(0, 7); });
    cpu([this] {
      if (vm_munmap(mm, 0, PAGE_SIZE) != 0) return; // memory may be short
      VM_BUG_ON(this_cpu().load<u64>(0).ok(), "UNMAPPED", "what munmap() has taken away can be read");
    });
  }
};

const declare_scenario unmap{{
    .name = "store_vs_munmap",
    .summary = "a store faults while its area is unmapped",
    .threads = {"store", "munmap"},
    .set_up = make<store_and_unmap>,
    .variants = {{.name = "shipped",
                  .summary = "munmap() marks the area under its lock",
                  .expected = [](const settings&) { return expect::safe; }},
                 {.name = "not_marked",
                  .summary = "it does not, and a late fault takes the area for one that is there",
                  .depart = [](settings& s) { s.policy.munmap_detaches = vma_detach_t::none; },
                  .expected = [](const settings&) { return expect::violation; }}},
}};

} // namespace
