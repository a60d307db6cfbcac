// M32: a device's memory goes, becomes something else or moves under a lockless walk that pins it.
//
// Its entries take no references, so zapping one drops none, and a page's count says only who has pinned it.
// A walk keeps the device while it takes the page, and asks again whether the entry leads there. The former
// is for who takes the device away: struct page goes with it. The latter is for who takes the entries out and
// then asks whether anybody has pinned a page. Neither does the work of the other. Who only splits the entry
// needs none of it: faults bring the same page back.
//
// Linux's percpu_ref needs a grace period to be killed, and that alone would wait for a walk that is under
// way. In 6.1 what waits for the device's pages to be free is not memunmap_pages(), and for device-dax
// nothing else.
#include "catalogue.h"
#include "mm/dax.h"
#include "mm/gup.h"
#include "mm/huge_memory.h"
#include "mm/mremap.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

enum shape : unsigned {
  REMOVE, ///< the device goes; who has pinned a page stores to it
  ZERO,   ///< its memory becomes zeros, unless somebody has pinned a page
  SPLIT,  ///< the huge entry is split
  MOVE,   ///< the mapping is moved
};

class world : public testbed {
 public:
  explicit world(unsigned shape) : testbed(2, 0, pmd_size()) {
    if (!has_devmap()) { // there is no such memory, and nothing to lose
      cpu([] {});
      cpu([] {});
      return;
    }
    device_ = &map_device(mm_);
    load_mm(0, mm_);
    load_mm(1, mm_);
    switch (shape) {
    case REMOVE:
      use_while([this] {
        kill_dev_dax(*device_);
        memunmap_pages(device_->pgmap);
      });
      break;
    case ZERO:
      pin_while([this] { zeroed_ = dax_zero_all(*device_) == 0; });
      finally([this] {
        VM_BUG_ON(zeroed_ && got_ != nullptr, "INV-REF", "a page that was found idle is pinned");
      });
      break;
    case SPLIT:
      pin_while([this] { split_huge_pmd_address(area(0), PAGE_SIZE); });
      finally([this] { expect_pinned(); });
      break;
    default:
      map_file(mm_, pmd_size(), pmd_size(), open(*device_), 0, VM_READ | VM_WRITE | VM_SHARED);
      pin_while([this] { move(); });
      finally([this] { expect_pinned(); });
    }
  }

 private:
  vm_area_struct& area(vaddr_t addr) { return *mm_.region(addr)->areas.lookup(addr); }
  page* first_page() const { return pfn_to_page(device_->pgmap.first); }

  /// What is stored through a pin goes to memory that is there.
  void use_while(std::function<void()> other) {
    cpu([this] {
      page* got = nullptr;
      if (pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 0) return;
      WRITE_ONCE(page_words(got)[0], 7);
      unpin_user_page(got);
    });
    cpu(std::move(other));
  }

  void pin_while(std::function<void()> other) {
    cpu([this] {
      page* got = nullptr;
      got_ = pin_user_pages_fast_only(mm_, 0, 1, FOLL_WRITE, &got) == 1 ? got : nullptr;
    });
    cpu(std::move(other));
  }
  void expect_pinned() const {
    VM_BUG_ON(got_ != nullptr && got_ != first_page(), "INV-TYPE",
              "the walk returned a page that was never mapped there");
    VM_BUG_ON(folio_maybe_dma_pinned(page_folio(first_page())) != (got_ != nullptr), "INV-REF",
              "the device's page is not pinned as often as it was");
  }

  /// What is stored at the new place is the device's.
  void move() {
    (void)move_page_tables(area(0), 0, area(pmd_size()), pmd_size(), pmd_size());
    const bool stored = this_cpu().store<u64>(pmd_size(), 7).ok();
    VM_BUG_ON(!stored || READ_ONCE(page_words(first_page())[0]) != 7, "LOST",
              "what was stored where the device was moved to is not there");
  }

  mm_struct& mm_ = new_mm();
  dev_dax* device_ = nullptr;
  page* got_ = nullptr;
  bool zeroed_ = false;
};

auto with(shape which) {
  return [=](settings& s) { s.shape = which; };
}

/// Lost where a device's entry does not read as a huge one.
expect violation_unless_trans_huge(const settings& s) {
  const level_t level{PMD_LEVEL, 9};
  const bool huge = s.arch->trans_huge(s.arch->mk_leaf(0, PAGE_SHARED, level) | s.arch->devmap);
  return huge ? expect::safe : expect::violation;
}

} // namespace

scenario gup_fast_vs_device() {
  return {
      .id = "M32",
      .name = "gup_fast_vs_device",
      .summary = "a device's memory goes while a lockless walk may be pinning it",
      .source = "__gup_device_huge, memunmap_pages; CVE-2020-10757",
      .threads = {"gup_fast", "device"},
      .set_up = [](const settings& s) { return std::make_unique<world>(s.shape); },
      .variants =
          {
              {"a", "shipped", "dead, zapped, waits for all references", nullptr, always_safe},
              {"b", "no_pagemap", "the walk does not keep the device while it takes the page",
               [](settings& s) { s.policy.gup_gets_pagemap = false; }, violation_unless_ipi},
              {"b-G", "no_pagemap_grace", "as b, the device waits for a grace period, too",
               [](settings& s) {
                 s.policy.gup_gets_pagemap = false;
                 s.policy.pagemap_kill_waits = true;
               },
               always_safe},
              {"c", "no_pins", "the device does not wait for pins, as in Linux 6.1",
               [](settings& s) { s.policy.pagemap_waits_for_pins = false; }, always_violation},
              {"d", "no_recheck", "the walk does not ask again whether the entry leads there",
               [](settings& s) { s.policy.gup_recheck_pmd = false; }, always_safe},
              {"e", "zero", "the memory becomes zeros if it is idle", with(ZERO), always_safe},
              {"e-R", "zero_no_recheck", "as e, the walk does not ask again",
               [](settings& s) {
                 s.shape = ZERO;
                 s.policy.gup_recheck_pmd = false;
               },
               violation_unless_ipi},
              {"f", "split", "the huge entry is split", with(SPLIT), always_safe},
              {"f-R", "split_no_recheck", "as f, the walk does not ask again",
               [](settings& s) {
                 s.shape = SPLIT;
                 s.policy.gup_recheck_pmd = false;
               },
               always_safe},
              {"g", "move", "the mapping is moved", with(MOVE), always_safe},
              {"g-T", "move_untested", "as g, asked only whether the entry is huge",
               [](settings& s) {
                 s.shape = MOVE;
                 s.policy.mremap_tests_devmap = false;
               },
               always_safe},
              {"g-O", "move_old", "as g-T, and it is not looked at again under its lock (up to Linux 5.7)",
               [](settings& s) {
                 s.shape = MOVE;
                 s.policy.mremap_tests_devmap = false;
                 s.policy.mremap_rechecks_pmd = false;
               },
               violation_unless_trans_huge},
          },
      .archs = {&x86_64, &x86_64_pv, &arm64, &powerpc64},
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
