// H11: mremap and the TLB. A page is moved from one address to another; somebody frees it there; a CPU still
// reaches it by the old address.
//
// (a) CVE-2018-18281: the entry moved under the page-table locks, and the old address was flushed after they
// had been dropped. ftruncate() came through the file, without the mmap_lock that mremap holds, found the
// entry at its new address, flushed that, and freed the page. eb66ae030829: flush before the locks are
// dropped. Here an entry moves under the rmap lock, too, which alone would keep ftruncate() out (M37); Linux
// does without it where it can.
#include "catalogue.h"
#include "mm/memory.h"
#include "mm/mremap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  ONE_PAGE, ///< an entry moves
  TABLE,    ///< the table that it stands in moves
  HUGE,     ///< a huge entry moves
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(3) {
    const u64 bytes = shape == HUGE ? pmd_size() : PAGE_SIZE;
    map_anonymous(mm_, 0, bytes, "p", shape == HUGE ? VM_HUGEPAGE : VM_NONE);
    vm_area_struct& from = *mm_.region(0)->areas.lookup(0);
    vm_area_struct& to = new_area(mm_, new_addr(), pmd_size(), VM_READ | VM_WRITE);
    link_regions(mm_, 0, new_addr());
    if (shape == ONE_PAGE) new_table(mm_, new_addr());
    for (unsigned id = 0; id < 3; ++id)
      load_mm(id, mm_);
    WRITE_ONCE(page_words(page_at(mm_, 0))[0], 7);
    // mremap holds the areas' vm_locks: a fault waits for it, and finds nothing to be mapped afterwards
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigsegv; };
    cpu([this, shape, &from, &to] {
      move_page_tables(from, 0, to, new_addr(), shape == ONE_PAGE ? PAGE_SIZE : pmd_size());
    });
    cpu([this, bytes] { unmap(bytes); });
    cpu([this] {
      const result<u64> word = this_cpu().load<u64>(0); // refused, or what was there
      VM_BUG_ON(word && *word != 7, "INV-TLB", "an access went to a page that is somebody else's by now");
    });
  }

 private:
  static vaddr_t new_addr() { return pmd_size(); }
  /// What truncate does at each place where the file's page is mapped, under the lock that keeps those
  /// places.
  void unmap(u64 bytes) {
    read_guard rmap_lock(mm_.region(new_addr())->anon_vma_lock);
    mmu_gather tlb(mm_);
    tlb_gather_mmu(tlb);
    unmap_page_range(tlb, new_addr(), new_addr() + bytes);
    tlb_finish_mmu(tlb);
  }

  mm_struct& mm_ = new_mm();
};

auto flush_late(shape which) {
  return [which](settings& s) {
    s.shape = which;
    s.policy.mremap_flush_under_ptl = false;
  };
}
auto without_rmap_lock(shape which, bool flush_under_ptl) {
  return [=](settings& s) {
    s.shape = which;
    s.policy.mremap_holds_rmap_lock = false;
    s.policy.mremap_flush_under_ptl = flush_under_ptl;
  };
}
auto shipped(shape which) {
  return [which](settings& s) { s.shape = which; };
}

} // namespace

scenario mremap_vs_unmap() {
  return {
      .id = "H11",
      .name = "mremap_vs_unmap",
      .summary = "what was moved is freed at its new address while it is used at the old one",
      .source = "CVE-2018-18281, eb66ae030829; 97113eb39fa7",
      .threads = {"mremap", "truncate", "load"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a-F", "shipped", "the old address is flushed before the page-table locks are dropped",
               shipped(ONE_PAGE), always_safe},
              {"a-N", "no_rmap_lock", "as a-F, without the rmap lock", without_rmap_lock(ONE_PAGE, true),
               always_safe},
              {"a", "flush_after_unlock", "as a-N, it is flushed afterwards",
               without_rmap_lock(ONE_PAGE, false), always_violation},
              {"a-L", "flush_under_rmap_lock", "as a-F, flushed when only the rmap lock is held any more",
               flush_late(ONE_PAGE), always_safe},
              {"a-H", "shipped_huge", "as a-F, a huge page moves", shipped(HUGE), always_safe},
              {"a-HL", "flush_after_unlock_huge", "as a, a huge page moves", without_rmap_lock(HUGE, false),
               always_violation},
              {"b-F", "shipped_table", "a whole table moves under the rmap lock for writing", shipped(TABLE),
               always_safe},
              {"b", "rmap_lock_read", "under the rmap lock for reading",
               [](settings& s) {
                 s.shape = TABLE;
                 s.policy.mremap_rmap_lock = mremap_rmap_lock_t::read;
               },
               always_violation},
              {"b-L", "flush_after_unlock_table", "as b-F, flushed when only the rmap lock is held any more",
               flush_late(TABLE), always_safe},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
