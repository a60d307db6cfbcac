// S2.3, S2.4: does writeback see every store to a shared mapping whose entries somebody write-protects? (mail
// 2)
//
// folio_mkclean() passes an entry by that is read-only and clean: nobody can have stored through it since the
// folio was last written. A helper for drivers takes the right to store away and flushes when it has dropped
// the page-table lock; in between the entry says read-only, and a TLB lets stores through. That alone does no
// harm: an entry that is dirty is not passed by, and a store to one that is clean has a dirty bit to set.
#include "catalogue.h"
#include "mm/filemap.h"
#include "mm/mapping_dirty_helpers.h"
#include "mm/page_lock.h"
#include "mm/rmap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  CLEAN, ///< the entry is writable and clean
  DIRTY, ///< it is writable and dirty, because hardware has set it so
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2) {
    map_file(mm_, 0, PAGE_SIZE, file_, 0, VM_READ | VM_WRITE | VM_SHARED);
    touch(mm_, 0, FAULT_FLAG_WRITE, "p");
    page_ = page_at(mm_, 0);
    folio_ = page_folio(page_);
    (void)folio_trylock(folio_); // writeback's
    const ptep_t ptep = pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0);
    const pte_t clean = pte_mkclean(ptep_get(ptep));
    if (shape == CLEAN) set_pte_at(0, ptep, clean);
    if (shape == DIRTY && arch().mmu_permits(clean.val, clean.level(), true))
      set_pte_at(0, ptep, clean.with(arch().mmu_update(clean.val, clean.level(), true)));
    load_mm(0, mm_);
    // what faults is not lost: it is stored when all is over
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
    cpu([this] {
      (void)folio_mkclean(folio_);
      written_ = READ_ONCE(page_words(page_)[0]);
      stored_ = this_cpu().store<u64>(0, 8).ok(); // what came before is on the disk, wherever it was done
    });
    cpu([this] { wp_shared_mapping_range(file_.mapping(), 0, 1); });
    finally([this] {
      const pte_t pte = ptep_get(pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0));
      VM_BUG_ON(stored_ && !pte_dirty(pte), "INV-DIRTY",
                "the page was stored to after it was written, and its entry says that it is clean");
    });
  }

 private:
  mm_struct& mm_ = new_mm();
  file& file_ = new_disk_file(1);
  page* page_ = nullptr;
  folio* folio_ = nullptr;
  bool stored_ = false;
  u64 written_ = 0; ///< to the disk
};

/// As Linux has it: writeback does not ask whether a flush is to come.
auto without_test(unsigned shape) {
  return [=](settings& s) {
    s.shape = shape;
    s.policy.mkclean_tests_flush_pending = mkclean_pending_t::no;
  };
}
void on_hw_b(settings& s) {
  without_test(CLEAN)(s);
  if (s.arch == &x86_64) s.arch = &x86_64_hw_b;
}
/// The entry that hardware has made dirty is clean when it is read-only.
void forgetting(settings& s) {
  without_test(DIRTY)(s);
  if (s.arch == &arm64) s.arch = &arm64_wrprotect_forgets;
}
expect violation_if_forgotten(const settings& s) {
  return s.arch == &arm64_wrprotect_forgets ? expect::violation : expect::safe;
}

} // namespace

scenario wrprotect_vs_writeback() {
  return {
      .id = "S2.3",
      .name = "wrprotect_vs_writeback",
      .summary = "a page is stored to and written back while a driver write-protects its entry",
      .source = "mail 2, examples 2b and 2c",
      .threads = {"writeback", "wrprotect"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"b", "clean", "the entry is clean: a store has its dirty bit still to set",
               without_test(CLEAN), always_safe},
              {"b-B", "clean_hw_b", "as b, on CPUs that set it in a read-only entry, too", on_hw_b,
               always_safe},
              {"c", "dirty", "the entry is dirty, and stays so (S2.4)", without_test(DIRTY), always_safe},
              {"c-F", "dirty_forgotten", "as c, arm64 forgets what hardware has recorded in the bits that go",
               forgetting, violation_if_forgotten},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
