// M20: a write fault keeps a page that nobody else has, while KSM makes this very page stand for others.
//
// From then on others are merged with it, so nobody may store to it, not even who has it alone. KSM has a
// reference as long as it is at work, and a fault copies what others hold: so there is nothing to ask before.
// Afterwards the reference is gone, the page is mapped by one entry, and only PG_ksm tells. It is set under
// the folio lock, without the page-table lock that the fault holds; so a fault that asked before it counted
// has asked too early, and asks again once it has the folio lock.
#include "catalogue.h"
#include "mm/ksm.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

constexpr u64 STORED = 8;

class world : public testbed {
 public:
  world() : testbed(2) {
    map_anonymous(mm_, 0, PAGE_SIZE, "p");
    share_with_nobody();
    load_mm(0, mm_);
    mm_.context.fault = [](mm_context&, vaddr_t, fault_flags) { return fault_result::sigbus; }; // one try
    describe(node_, "node");
    cpu([this] {
      stored_ = false;
      read_guard vm_lock(area().vm_lock);
      (void)handle_mm_fault(area(), 0, FAULT_FLAG_WRITE);
      stored_ = this_cpu().store<u64>(0, STORED).ok();
    });
    cpu([this] { make_stable(); });
    finally([this] {
      VM_BUG_ON(stable_ && READ_ONCE(page_words(page_)[0]) != content_, "INV-WP",
                "a store went to the page that stands for others");
      VM_BUG_ON(stored_ && read_back(mm_, 0) != STORED, "INV-DIRTY", "what was stored is not what is read");
    });
  }

 private:
  vm_area_struct& area() { return *mm_.existing_region(0)->areas.lookup(0); }

  /// As a fork leaves the page whose child is gone: the next store faults, and may keep it.
  void share_with_nobody() {
    const ptep_t ptep = pte_offset(pmdp_get(find_pmd(mm_, 0).pmdp), 0);
    set_pte_at(0, ptep, pte_wrprotect(ptep_get(ptep)));
    page_ = page_at(mm_, 0);
    ClearPageAnonExclusive(page_);
  }

  void make_stable() {
    stable_ = false;
    read_guard mmap_lock(mm_.existing_region(0)->mmap_lock);
    page* page = get_mergeable_page(area(), 0);
    if (page == nullptr) return;
    stable_ = try_to_make_ksm_page(area(), 0, page, node_, &item_) == 0;
    content_ = READ_ONCE(page_words(page)[0]); // what others are compared with
    put_page(page);
  }

  mm_struct& mm_ = new_mm();
  page* page_ = nullptr;
  ksm_stable_node node_;
  ksm_rmap_item item_;
  u64 content_ = 0;
  bool stored_ = false;
  bool stable_ = false;
};

auto asking(reuse_ksm_t when) {
  return [=](settings& s) { s.policy.reuse_tests_ksm = when; };
}

} // namespace

scenario reuse_vs_merge() {
  return {
      .id = "M20",
      .name = "reuse_vs_merge",
      .summary = "a write fault keeps a page while it is made one that others are merged with",
      .source = "Linux, mm/memory.c: wp_can_reuse_anon_page(); mm/ksm.c; 09854ba94c6a, 52d1e606ee73",
      .threads = {"store", "merge"},
      .set_up = [](const settings&) { return std::make_unique<world>(); },
      .variants =
          {
              {"a", "shipped", "the fault asks with the folio lock", nullptr, always_safe},
              {"b", "asked_before", "it asks, then counts references: KSM's may have gone in between",
               asking(reuse_ksm_t::before), always_violation},
              {"c", "not_asked", "who has it alone may store to it", asking(reuse_ksm_t::never),
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
