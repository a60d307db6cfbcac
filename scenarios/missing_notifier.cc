// S3.5: what do those lose who keep translations elsewhere, if a change of the table is not told to them?
//
// Mail 3 removes an empty table without a notification: "ok for KVM, wrong for IOMMUv2". Who keeps a table of
// his own (KVM, HMM) was told when the pages went, and has nothing that leads through the empty table. Who
// walks the CPUs' tables (an IOMMU under SVA) has the table in his walk cache, or is just walking it, and
// neither a grace period nor an interrupt waits for a device. So he has to be told after the entry has
// changed and before the table is used again, and what he is told has to wait for the walks that are under
// way. Since 6.6 (6bbd42e2df8f) the flush of the CPUs' TLBs does that.
//
// The other half is the table that is not empty: a collapse that tells nobody leaves KVM with pages that are
// copied and given away (f268f6cf875f, CVE-2022-48991).
#include "catalogue.h"
#include "mm/iommu_sva.h"
#include "mm/khugepaged.h"
#include "mm/shadow_table.h"
#include "racewalk/testbed.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// What becomes of the memory.
enum class change : u8 {
  unmapped,        ///< the page and its table go
  table_removed,   ///< the table goes, its page went before
  collapsed,       ///< the small pages are copied into a huge one
  collapsed_freed, ///< and that is given back, with the table that was kept for it
};

/// Who has it mapped elsewhere.
enum class client : u8 {
  device,         ///< walks the mm's tables, hears the flushes of the CPUs' TLBs
  device_ranges,  ///< the same, hears ranges instead
  shadow,         ///< has the page in a table of his own
  shadow_looking, ///< has not, and looks it up meanwhile
};

constexpr unsigned shape_of(client who, change what) {
  return static_cast<unsigned>(who) * 4 + static_cast<unsigned>(what);
}
constexpr client client_of(unsigned shape) { return static_cast<client>(shape / 4); }
constexpr change change_of(unsigned shape) { return static_cast<change>(shape % 4); }

/// The mm, and CPU 0 which changes it.
class changing : public testbed {
 protected:
  changing(change what, unsigned cpus, unsigned devices) : testbed(cpus, devices) {
    map_anonymous(mm_, 0,
                  what == change::collapsed || what == change::collapsed_freed ? pmd_size() : PAGE_SIZE, "s");
    if (what == change::table_removed) zap(PAGE_SIZE);
    load_mm(0, mm_);
    cpu([this, what] { make(what); });
    if (what != change::collapsed) return; // else what would be lost is in use after it was freed
    finally([this] {
      VM_BUG_ON(stored_ && READ_ONCE(page_words(page_at(mm_, 0))[0]) != VALUE, "INV-TLB",
                "a store went to a page that its address does not lead to any more");
    });
  }

  /// What the client writes, and that it did.
  static constexpr u64 VALUE = 42;
  void wrote(const result<void>& stored) { stored_ = stored.ok(); }
  void begins() { stored_ = false; }

  mm_struct& mm_ = new_mm();

 private:
  void zap(u64 bytes) {
    mmu_gather tlb(mm_);
    tlb_gather_mmu(tlb);
    unmap_page_range(tlb, 0, bytes);
    tlb_finish_mmu(tlb);
  }
  void make(change what) {
    if (what == change::collapsed || what == change::collapsed_freed)
      (void)collapse_huge_page(mm_, 0, {.max_ptes_none = 0, .wanted_only = false});
    else
      unmap_region(mm_, whole_table(0));
    if (what == change::collapsed_freed) zap(pmd_size());
  }

  bool stored_ = false;
};

/// A device that works in the mm.
class with_device : public changing {
 public:
  with_device(change what, sva_notifier listens) : changing(what, 1, 1) {
    const int error = iommu_sva_bind_device(sva_, mm_, listens);
    VM_BUG_ON(error != 0, "SCENARIO", "the device cannot be bound");
    describe(&sva_, "device");
    describe(&sva_.next, "device.next");
    device([this] {
      begins();
      wrote(iommu_.store<u64>(0, VALUE));
    });
  }

 private:
  Device iommu_{machine, device_id()};
  iommu_sva sva_{iommu_};
};

/// A virtual machine with a table of its own, which runs on CPU 1.
class with_shadow : public changing {
 public:
  with_shadow(change what, bool looking) : changing(what, 2, 0) {
    const int error = shadow_.attach(mm_);
    VM_BUG_ON(error != 0, "SCENARIO", "the client cannot subscribe");
    describe(shadow_);
    if (!looking) (void)shadow_.fault_fast(0); // there is nothing to be found if the page went before
    load_mm(1, mm_);
    cpu([this, looking] {
      begins();
      if (looking && !shadow_.fault_fast(0)) return;
      wrote(shadow_.store(0, VALUE));
    });
  }

 private:
  shadow_table shadow_{0, 1};
};

std::unique_ptr<scenario_world> set_up(const settings& s) {
  const change what = change_of(s.shape);
  switch (client_of(s.shape)) {
  case client::device:
    return std::make_unique<with_device>(what, sva_notifier::secondary_tlbs);
  case client::device_ranges:
    return std::make_unique<with_device>(what, sva_notifier::ranges);
  case client::shadow:
    return std::make_unique<with_shadow>(what, false);
  case client::shadow_looking:
    break;
  }
  return std::make_unique<with_shadow>(what, true);
}

auto shaped(client who, change what) {
  return [=](settings& s) { s.shape = shape_of(who, what); };
}
/// The flushes of the CPUs' TLBs are not told to anybody, as before 6.6.
auto no_hook(client who, change what) {
  return [=](settings& s) {
    s.shape = shape_of(who, what);
    s.machine.flush_secondary_tlbs = false;
  };
}
/// No range is told to anybody.
auto no_ranges(client who, change what) {
  return [=](settings& s) {
    s.shape = shape_of(who, what);
    s.policy.notify_ranges = false;
  };
}
auto no_draining(client who, change what) {
  return [=](settings& s) {
    s.shape = shape_of(who, what);
    s.machine.device_drains_walks = false;
  };
}
auto no_retry(change what) {
  return [=](settings& s) {
    s.shape = shape_of(client::shadow_looking, what);
    s.policy.secondary_retry = false;
  };
}

} // namespace

scenario missing_notifier() {
  using enum client;
  using enum change;
  return {
      .id = "S3.5",
      .name = "missing_notifier",
      .summary = "a table changes that a device walks, or that a virtual machine has a copy of",
      .source = "mail 3; 6bbd42e2df8f; f268f6cf875f (CVE-2022-48991)",
      .threads = {"change", "client"},
      .set_up = set_up,
      .variants =
          {
              {"a", "device_table", "an empty table goes; the device hears the flush",
               shaped(device, table_removed), always_safe},
              {"a-K", "shadow_table", "an empty table goes; the shadow table has nothing of it",
               shaped(shadow_looking, table_removed), always_safe},
              {"b", "device_table_unheard", "as a, the device hears nothing", no_hook(device, table_removed),
               always_violation},
              {"b-K", "shadow_table_unheard", "as a-K, nobody is told anything",
               [](settings& s) {
                 no_hook(shadow_looking, table_removed)(s);
                 s.policy.notify_ranges = false;
               },
               always_safe},
              {"c", "device_collapse_ranges", "small pages are collapsed; the device hears the range's end",
               shaped(device_ranges, collapsed), always_safe},
              {"c-W", "device_collapse_ranges_undrained", "as c, and does not wait for walks under way",
               no_draining(device_ranges, collapsed), always_violation},
              {"d", "device_collapse_hook", "small pages are collapsed; the device hears the flush alone",
               no_ranges(device, collapsed), always_safe},
              {"d-F", "device_collapse_hook_freed",
               "as d, then the huge page goes and the kept table with it", no_ranges(device, collapsed_freed),
               always_safe},
              {"d-W", "device_table_undrained", "as a, the flush does not wait for walks under way",
               no_draining(device, table_removed), always_violation},
              {"e", "shadow_collapse", "small pages are collapsed; the shadow table hears the range",
               shaped(shadow, collapsed), always_safe},
              {"e-N", "shadow_collapse_untold", "as e, and does not hear it (CVE-2022-48991)",
               no_ranges(shadow, collapsed), always_violation},
              {"f", "shadow_looks_up", "small pages are collapsed while a look-up is under way",
               shaped(shadow_looking, collapsed), always_safe},
              {"f-R", "shadow_no_retry", "as f, and enters what it found without looking at the sequence",
               no_retry(collapsed), always_violation},
              {"g", "device_unmap", "a page and its table go; the device hears the flush",
               shaped(device, unmapped), always_safe},
              {"g-H", "device_unmap_unheard", "as g, the device hears nothing", no_hook(device, unmapped),
               always_violation},
              {"g-R", "device_unmap_ranges", "as g, the device hears the range's end, before the table goes",
               shaped(device_ranges, unmapped), always_violation},
              {"h", "shadow_unmap", "a page goes; the shadow table hears the range", shaped(shadow, unmapped),
               always_safe},
              {"h-N", "shadow_unmap_untold", "as h, and does not hear it", no_ranges(shadow, unmapped),
               always_violation},
              {"i", "shadow_unmap_looks_up", "a page goes while a look-up is under way",
               shaped(shadow_looking, unmapped), always_safe},
              {"i-R", "shadow_unmap_no_retry",
               "as i, and enters what it found without looking at the sequence", no_retry(unmapped),
               always_violation},
          },
  };
}

} // namespace racewalk::inline RACEWALK_BACKEND
