// S1.3d: why the collapse of powerpc's hash MMU waits for walks before its flush, not after it.
//
// A low-level fault finds an entry without a lock and makes a translation of it in the hash table. If a
// collapse unhooks the table and flushes in between, the translation is made after its flush, from an entry
// that nobody uses any more but which is as it was: a store through it goes to the small page while that is
// copied, and is lost. Waiting for walks later, as every collapse does before it looks at reference counts,
// is too late: the fault is over by then, and what it left behind stays.
#include "catalogue.h"
#include "mm/khugepaged.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, pmd_size(), "s");
    load_mm(0, mm_);
    load_mm(1, mm_);
    cpu([this] { stored_ = static_cast<bool>(this_cpu().store<u64>(0, STORED)); });
    cpu([this] { (void)collapse_huge_page(mm_, 0, {.max_ptes_none = 0, .wanted_only = false}); });
    finally([this] {
      VM_BUG_ON(stored_ && READ_ONCE(page_words(page_at(mm_, 0))[0]) != STORED, "INV-TLB",
                "the store went to the small page after that had been copied: it is lost");
    });
  }

 private:
  static constexpr u64 STORED = 7;
  mm_struct& mm_ = new_mm();
  bool stored_ = false;
};

expect violation_if_hash(const settings& s) { return s.arch->hash_mmu() ? expect::violation : expect::safe; }

} // namespace

scenario hash_fault_vs_collapse() {
  return {
      .id = "S1.3",
      .name = "hash_fault_vs_collapse",
      .summary = "a low-level fault makes a translation while the table it has found is taken away",
      .source = "mail 1; 13bd817bb884, hash__pmdp_collapse_flush",
      .threads = {"store", "khugepaged"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"d", "shipped", "the collapse waits for walks before it flushes", nullptr, always_safe},
              {"d-N", "no_serialize", "it flushes, then waits",
               [](settings& s) { s.policy.hash_collapse_serializes = false; }, violation_if_hash},
              {"d-R", "sync_before_copy", "as d, and it does not wait a second time",
               [](settings& s) { s.policy.collapse_sync_ipi = false; }, always_safe},
          },
      .archs = {&powerpc64_hash},
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
