// S2.10 (H21): two gathers of one mm at a time.
//
// A gather that finds an entry gone has nothing to flush; but the one that took it out may not have flushed
// yet. So who finishes while another is under way flushes everything (M9, M10): also what only hardware's
// walkers remember, or a table that is freed is walked after that (7a30df49f63a).
#include "catalogue.h"
#include "mm/madvise.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  SAME_PAGE, ///< two CPUs give the same page back; one reads it then
  TABLE,     ///< one unmaps a table, another gives back what is gone already, a third may walk
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(shape == TABLE ? 3 : 2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    load_mm(machine.nr_cpus() - 1, mm_); // the only CPU that looks
    if (shape == TABLE)
      table();
    else
      same_page();
  }

 private:
  void same_page() {
    mm_.region(0)->areas.lookup(0)->vm_flags.set(VM_NONE); // a fault gives no new page: one step less
    cpu([this] { (void)madvise_dontneed(mm_, 0, PAGE_SIZE); });
    cpu([this] {
      (void)madvise_dontneed(mm_, 0, PAGE_SIZE);
      VM_BUG_ON(this_cpu().load<u64>(0).ok(), "INV-TLB", "memory that was given back can still be read");
    });
  }
  void table() {
    map_anonymous(mm_, pmd_size(), PAGE_SIZE, "q");
    (void)madvise_dontneed(mm_, pmd_size(), pmd_size() + PAGE_SIZE); // nothing left: the gather finds nothing
    vma_tree& areas = mm_.region(0)->areas;
    areas.erase(*areas.lookup(0)); // munmap() detaches the area first: a fault finds nothing
    cpu([this] { unmap_region(mm_, whole_table(0)); });
    cpu([this] { (void)madvise_dontneed(mm_, pmd_size(), pmd_size() + PAGE_SIZE); });
    cpu([this] { (void)this_cpu().load<u64>(0); });
  }

  mm_struct& mm_ = new_mm();
};

/// Lost where a flush of pages spares walk caches.
expect violation_if_walk_caches_stay(const settings& s) {
  return s.arch->walk_cache == walk_cache_rule_t::any_flush ? expect::safe : expect::violation;
}

} // namespace

scenario nested_gather() {
  return {
      .id = "S2.10",
      .name = "nested_gather",
      .summary = "a gather ends while another one of its mm has not flushed yet",
      .source = "mail 2; 7a30df49f63a, 99baac21e458",
      .threads = {"gather", "gather_too", "walk"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"b", "shipped", "a table goes: the one that ends first flushes everything",
               [](settings& s) { s.shape = TABLE; }, always_safe},
              {"a", "loses_tables", "it flushes its range, and forgets about the table (before 7a30df49f63a)",
               [](settings& s) {
                 s.shape = TABLE;
                 s.policy.gather_nested = nested_gather_t::loses_tables;
               },
               violation_if_walk_caches_stay},
              {"b-P", "same_page", "both give the same page back", nullptr, always_safe},
              {"c", "tested_early", "as b-P, but it looks for another gather when it begins",
               [](settings& s) { s.policy.gather_nested = nested_gather_t::tested_early; }, always_violation},
              {"d", "ignored", "as b-P, but it never looks",
               [](settings& s) { s.policy.gather_nested = nested_gather_t::ignored; }, always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
