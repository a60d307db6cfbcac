// S3.7: a table that maps a file's huge page by small entries is replaced, in a private area.
//
// khugepaged takes the entries out and then the table. Faults wait for the lock of the huge folio.
// UFFDIO_COPY does not, as it needs no lock of the file for a private area: it may put a page into an entry
// that has just been taken out. There the locks of the entry above and of the table are held together until
// the table is gone.
//
// A store to a page that is mapped already needs no lock of the folio either: its fault copies the page. So
// once the table's lock is held, all entries have to be looked at again.
#include <array>

#include "catalogue.h"
#include "mm/collapse_file.h"
#include "mm/userfaultfd.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  FILL,  ///< the other is UFFDIO_COPY
  STORE, ///< or a store
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    file& f = new_huge_file();
    map_file(mm_, 0, pmd_size(), f, 0, VM_READ | VM_WRITE);
    // only small entries serve it from now on
    if (userfaultfd_register(uffd_, 0, pmd_size(), UFFDIO_REGISTER_MODE_MISSING) != 0)
      throw setup_violation("SCENARIO", "the area cannot be registered");
    describe(uffd_);
    touch(mm_, 0, FAULT_FLAG_NONE, "h");
    content_[0] = 7;
    cpu([this] {
      read_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
      (void)collapse_pte_mapped_thp(mm_, 0, false);
    });
    shape == FILL ? fill() : store();
  }

 private:
  void fill() {
    cpu([this] {
      filled_ = false;
      filled_ = mfill_atomic_copy(uffd_, 0, reinterpret_cast<const std::byte*>(content_.data()), PAGE_SIZE,
                                  0) == PAGE_SIZE;
    });
    finally([this] {
      page* there = mapped();
      const bool kept = there != nullptr && READ_ONCE(page_words(there)[0]) == 7;
      VM_BUG_ON(filled_ && !kept, "INV-RSS", "a private page is lost");
    });
  }
  void store() {
    // what is missing then is the file's
    if (userfaultfd_unregister(uffd_, 0, pmd_size()) != 0)
      throw setup_violation("SCENARIO", "the area cannot be unregistered");
    vm_area_struct& area = *mm_.region(0)->areas.lookup(0);
    cpu([this, &area] {
      read_guard vm_lock(area.vm_lock);
      (void)handle_mm_fault(area, 0, FAULT_FLAG_WRITE);
    });
    finally([this] {
      page* there = mapped();
      const bool own = there != nullptr && folio_test_anon(page_folio(there));
      VM_BUG_ON(get_mm_counter(mm_, MM_ANONPAGES) != (own ? 1 : 0), "INV-RSS", "a private page is lost");
    });
  }
  /// What is mapped at 0; null if nothing is by a small entry.
  page* mapped() {
    const pmd_t pmd = pmdp_get(find_pmd(mm_, 0).pmdp);
    if (!pmd_is_table(pmd)) return nullptr;
    const pte_t pte = ptep_get(pte_offset(pmd, 0));
    return pte_present(pte) ? pfn_to_page(pte_pfn(pte)) : nullptr;
  }

  mm_struct& mm_ = new_mm();
  userfaultfd_ctx uffd_{mm_};
  std::array<u64, PAGE_SIZE / sizeof(u64)> content_{};
  bool filled_ = false;
};

} // namespace

scenario pte_mapped_thp_vs_copy() {
  return {
      .id = "S3.7",
      .name = "pte_mapped_thp_vs_copy",
      .summary = "khugepaged replaces a private table while a page of its own is put into it",
      .source = "Linux, mm/khugepaged.c: collapse_pte_mapped_thp(); mail 3",
      .threads = {"khugepaged", "fill"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "the entry above is locked first", nullptr, always_safe},
              {"b", "late_pml", "the table's lock is dropped between its entries and the entry above",
               [](settings& s) { s.policy.collapse_pte_mapped_early_pml = false; }, always_violation},
              {"a-W", "store", "as a, a store copies one of the pages", [](settings& s) { s.shape = STORE; },
               always_safe},
              {"c", "not_again", "the entries are looked at before they are locked; a store copies a page",
               [](settings& s) {
                 s.shape = STORE;
                 s.policy.collapse_pte_mapped_reverify = false;
               },
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
