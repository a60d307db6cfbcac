// M26: a fault that is reported to a userfaultfd while the handler fills the page.
//
// The fault finds nothing and puts itself into the queue; the handler fills the page and wakes who is in the
// queue. A handler that fills pages before they are asked for has no reason to look at events again, so a
// fault that comes to the queue after the wake-up would sleep for ever. That is why it looks at the entry
// once more when it is in the queue (userfaultfd_must_wait()): the queue's lock decides that one of the two
// sees the other.
#include <array>

#include "catalogue.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// An area of two pages, the second of which nobody has touched.
class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "s");
    vm_area_struct* vma = mm_.region(0)->areas.lookup(0);
    vma->vm_end.set(2 * PAGE_SIZE);
    if (userfaultfd_register(uffd_, PAGE_SIZE, PAGE_SIZE, UFFDIO_REGISTER_MODE_MISSING) != 0)
      throw setup_violation("SCENARIO", "the page cannot be registered");
    load_mm(0, mm_);
    load_mm(1, mm_);
    describe(uffd_);
    content_[0] = 7;
    cpu([this] {
      const result<u64> found = this_cpu().load<u64>(PAGE_SIZE);
      VM_BUG_ON(!found || *found != 7, "UFFD", "the page is not what the handler has filled it with");
    });
    cpu([this] {
      const auto* bytes = reinterpret_cast<const std::byte*>(content_.data());
      const s64 done = mfill_atomic_copy(uffd_, PAGE_SIZE, bytes, PAGE_SIZE, 0);
      VM_BUG_ON(done != PAGE_SIZE, "UFFD", "a missing page cannot be filled");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  std::array<u64, PAGE_SIZE / sizeof(u64)> content_{};
};

} // namespace

scenario userfault_wake() {
  return {
      .id = "M26",
      .name = "userfault_wake",
      .summary = "a userfaultfd handler fills a page as it is touched",
      .source = "fs/userfaultfd.c, userfaultfd_must_wait()",
      .threads = {"touch", "uffdio_copy"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "queue the fault, then look at the entry again", nullptr, always_safe},
              {"b", "no_recheck", "queue the fault, and sleep",
               [](settings& s) { s.policy.uffd_rechecks_when_queued = false; }, always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
