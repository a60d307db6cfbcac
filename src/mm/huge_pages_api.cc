// The public face (racewalk/huge_pages.h), and khugepaged's thread.
#include "mm/house_cpu.h"
#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

TransparentHugePages::TransparentHugePages(System& system) : system_(system) {
  system_.machine().thp = &thp_;
}

TransparentHugePages::~TransparentHugePages() {
  stop_khugepaged();
  system_.machine().thp = nullptr;
}

void TransparentHugePages::start_khugepaged() {
  khugepaged_.start([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      bool had_huge_pages = true;
      {
        HouseCpu cpu(system_, house_call::khugepaged); // only while it works
        had_huge_pages = thp_.khugepaged.do_scan(thp_.mms, stop);
      }
      thp_.khugepaged.wait_work(stop, had_huge_pages);
    }
  });
}

void TransparentHugePages::stop_khugepaged() { khugepaged_.stop(); }
bool TransparentHugePages::khugepaged_runs() const { return khugepaged_.runs(); }

expected<void> TransparentHugePages::tune_khugepaged(const Tuning& how) {
  if (!thp_.khugepaged.tune(how)) return std::errc::invalid_argument;
  return {};
}

std::uint64_t TransparentHugePages::split_deferred() {
  HouseCpu cpu(system_);
  return deferred_split_scan();
}

TransparentHugePages::Statistics TransparentHugePages::statistics() const {
  const auto count = [this](thp_event event) { return thp_.events[event].load(std::memory_order_relaxed); };
  return {.fault_alloc = count(THP_FAULT_ALLOC),
          .fault_fallback = count(THP_FAULT_FALLBACK),
          .collapse_alloc = count(THP_COLLAPSE_ALLOC),
          .collapse_alloc_failed = count(THP_COLLAPSE_ALLOC_FAILED),
          .split_pmd = count(THP_SPLIT_PMD),
          .split_page = count(THP_SPLIT_PAGE),
          .split_page_failed = count(THP_SPLIT_PAGE_FAILED),
          .deferred_split_page = count(THP_DEFERRED_SPLIT_PAGE),
          .zero_page_alloc = count(THP_ZERO_PAGE_ALLOC),
          .zero_page_alloc_failed = count(THP_ZERO_PAGE_ALLOC_FAILED),
          .zero_page_mapped = count(THP_ZERO_PAGE_MAPPED),
          .compact_success = count(COMPACT_SUCCESS),
          .compact_fail = count(COMPACT_FAIL),
          .compact_pages_moved = count(COMPACT_PAGES_MOVED),
          .pages_collapsed = thp_.khugepaged.pages_collapsed(),
          .full_scans = thp_.khugepaged.full_scans()};
}

} // namespace racewalk::inline RACEWALK_BACKEND
