// S3.1: UFFDIO_COPY puts a page into a table that is being taken away without a look at what is in it.
//
// The table belongs to a private mapping of a file whose pages have become a huge one. It is empty, and it is
// argued that it stays so: who wants to map a page of the file waits for the huge page's lock. UFFDIO_COPY
// does not ask the file: it gives the area a page of its own. What tells is that the area has such pages
// (Linux: anon_vma), which UFFDIO_COPY sets before it takes the table's lock; so it has to be asked again
// under that lock.
#include <array>

#include "catalogue.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned { PRIVATE, SHARED };

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = new_huge_file();
    map_file(mm_, 0, pmd_size(), f, 0, VM_READ | VM_WRITE | (shape == SHARED ? VM_SHARED : VM_NONE));
    if (userfaultfd_register(uffd_, 0, pmd_size(), UFFDIO_REGISTER_MODE_MISSING) != 0)
      throw setup_violation("SCENARIO", "the pages cannot be registered");
    new_table(mm_, 0);
    load_mm(0, mm_);
    load_mm(1, mm_);
    describe(uffd_);
    describe(&filled_, "filled");
    content_[0] = 7;
    cpu([this] {
      const auto* bytes = reinterpret_cast<const std::byte*>(content_.data());
      if (mfill_atomic_copy(uffd_, 0, bytes, PAGE_SIZE, 0) == PAGE_SIZE) WRITE_ONCE(filled_, 1);
    });
    cpu([&f] { retract_tables(f); });
    finally([this] {
      VM_BUG_ON(READ_ONCE(filled_) != 0 && !has_content(), "INV-TBL",
                "UFFDIO_COPY has filled a page, and it is gone");
    });
  }

 private:
  bool has_content() {
    const pmd_t pmd = pmdp_get(find_pmd(mm_, 0).pmdp);
    if (!pmd_is_table(pmd)) return false;
    const pte_t pte = ptep_get(pte_offset(pmd, 0));
    return pte_present(pte) && READ_ONCE(pfn_words(pte_pfn(pte))[0]) == content_[0];
  }

  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  std::array<u64, PAGE_SIZE / sizeof(u64)> content_{};
  word_t filled_;
};

/// As from 6.1 to 6.5.
void under_mmap_lock(settings& s) {
  s.policy.retract_mmap_lock = retract_lock_t::trylock;
  s.policy.retract_takes_vma_lock = true;
  s.policy.retract_holds_ptl = false;
  s.policy.retract_test = retract_test_t::under_mmap_lock;
}

void shared_before_locks(settings& s) {
  s.shape = SHARED;
  s.policy.retract_test = retract_test_t::before_locks;
}

} // namespace

scenario retract_vs_uffdio_copy() {
  return {
      .id = "S3.1",
      .name = "retract_vs_uffdio_copy",
      .summary = "UFFDIO_COPY fills a table that is being taken away as empty",
      .source = "mail 3; 1d65b771bc08",
      .threads = {"uffdio_copy", "khugepaged"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "asks again under the table's lock whether the area has pages of its own",
               nullptr, always_safe},
              {"b", "before_locks", "asks before it takes any lock, as the series did at first",
               [](settings& s) { s.policy.retract_test = retract_test_t::before_locks; }, always_violation},
              {"c", "looks_at_entries", "looks at the entries instead, under the table's lock",
               [](settings& s) { s.policy.retract_test = retract_test_t::entries; }, always_safe},
              {"d", "under_mmap_lock", "asks once it has the mmap_lock and the area's, and takes no ptl",
               under_mmap_lock, always_safe},
              {"e", "no_ptl", "clears the entry without the table's lock",
               [](settings& s) { s.policy.retract_holds_ptl = false; }, always_violation},
              {"f", "copy_no_second_look", "UFFDIO_COPY takes the table's lock and does not look again",
               [](settings& s) { s.policy.ptl_rechecks_pmd = false; }, always_violation},
              {"g", "shared_before_locks", "as b, in a shared mapping: the file is asked, which has the page",
               shared_before_locks, always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
