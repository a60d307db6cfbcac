#include "mm/khugepaged_scan.h"

#include <algorithm>

#include "mm/collapse_file.h"
#include "mm/deferred_split.h"
#include "mm/huge_memory.h"
#include "mm/khugepaged.h"
#include "mm/page_alloc.h"
#include "mm/shmem.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- looking ---------------------------------------------------------------------------------------------

namespace {

/// Whether the area may have huge pages that khugepaged makes: of anonymous memory, or of a file that is made
/// of memory and whose huge pages fit where it is mapped.
bool may_be_collapsed(const vm_area_struct& vma, vaddr_t start) {
  if (!hugepage_wanted(vma)) return false;
  return vma_is_anonymous(vma) || (vma_is_shmem(vma) && linear_page_index(vma, start) % hpage_pmd_nr() == 0);
}

/// The first PMD's range from `addr` on, in the region, that is to be a huge page; the region's end if there
/// is none.
vaddr_t next_candidate_in(mmap_region& region, vaddr_t addr) {
  read_guard mmap_lock(region.mmap_lock);
  while (addr < region.end) {
    const vm_area_struct* vma = region.areas.find_vma(addr);
    if (vma == nullptr) break;
    const vaddr_t start = (std::max(addr, vma->vm_start.get()) + ~pmd_mask()) & pmd_mask();
    const bool fits = start < vma->vm_end.get() && vma->vm_end.get() - start >= pmd_size();
    if (fits && may_be_collapsed(*vma, start)) return start;
    addr = vma->vm_end.get();
  }
  return region.end;
}

/// The same in the whole mm; the end of all addresses if there is none.
vaddr_t next_candidate(const mm_struct& mm, vaddr_t addr) {
  const u64 region_size = geometry().size(geometry().root_level());
  while (addr < geometry().address_limit()) {
    const vaddr_t end = (addr & ~(region_size - 1)) + region_size;
    if (mmap_region* region = mm.existing_region(addr))
      if (const vaddr_t found = next_candidate_in(*region, addr); found < end) return found;
    addr = end;
  }
  return geometry().address_limit();
}

/// What has been looked at.
struct scan_step {
  vaddr_t next; ///< where to go on; the end of all addresses: in the next mm
  u64 pages;
  scan_result result; ///< of a collapse, if one was due
};

scan_result collapse_in_mm(mm_struct& mm, vaddr_t start, const collapse_control& how) {
  const scan_result result = hpage_collapse_scan_pmd(mm, start, how);
  return result == scan_result::succeed ? collapse_huge_page(mm, start, how) : result;
}

/// The file's pages become one folio, and faults map it. One that is mapped page by page loses the table that
/// does that; the next fault maps it whole.
scan_result collapse_in_file(mm_struct& mm, vaddr_t start, const mapped_file& file,
                             const collapse_control& how) {
  if (file.index() % hpage_pmd_nr() != 0) return scan_result::vma_check; // another area by now
  const scan_result result = hpage_collapse_scan_file(file.mapping(), file.index(), how);
  if (result == scan_result::succeed) return collapse_file(file.mapping(), file.index(), how);
  if (result != scan_result::pte_mapped_hugepage) return result;
  return collapse_pte_mapped_thp_locked(mm, start, false);
}

scan_step scan_from(mm_struct& mm, vaddr_t addr, const khugepaged_settings& settings) {
  const collapse_control how{.max_ptes_none = settings.max_ptes_none,
                             .wanted_only = true,
                             .max_ptes_shared = settings.max_ptes_shared,
                             .max_ptes_swap = settings.max_ptes_swap};
  const vaddr_t start = next_candidate(mm, addr);
  if (start >= geometry().address_limit()) return {start, 1, scan_result::vma_null};
  const mapped_file file(mm, start);
  return {start + pmd_size(), hpage_pmd_nr(),
          file ? collapse_in_file(mm, start, file, how) : collapse_in_mm(mm, start, how)};
}

/// Less than an eighth of the frames is free.
bool memory_is_short() { return machine().zone->nr_free() < machine().zone->nr_frames() / 8; }

} // namespace

bool khugepaged_scan::do_scan(mm_list& mms, const std::stop_token& stop) {
  if (make_room_.exchange(false) || memory_is_short()) deferred_split_scan();
  unsigned ends_met = 0; // at the second one everything has been looked at
  for (u64 pages = 0; pages < tuning().pages_to_scan && ends_met < 2 && !stop.stop_requested();) {
    scan_step done{geometry().address_limit(), 0, scan_result::vma_null};
    if (const mm_user user(mms, mm_); user) done = scan_from(*mm_, address_, tuning());
    pages += done.pages;
    address_ = done.next;
    if (done.result == scan_result::succeed) ++pages_collapsed_;
    if (done.result == scan_result::alloc_huge_page_fail) {
      make_room_ = true;
      return false;
    }
    if (address_ < geometry().address_limit()) continue;
    bool wrapped = false;
    mm_ = mms.next(mm_, &wrapped);
    address_ = 0;
    if (wrapped) ++full_scans_;
    ends_met += wrapped;
  }
  return true;
}

// ---- when ------------------------------------------------------------------------------------------------

khugepaged_settings khugepaged_scan::tuning() const {
  std::lock_guard guard(lock_);
  return tuning_;
}

bool khugepaged_scan::tune(const khugepaged_settings& how) {
  if (how.pages_to_scan == 0 || how.max_ptes_none >= hpage_pmd_nr() ||
      how.max_ptes_shared >= hpage_pmd_nr() || how.max_ptes_swap >= hpage_pmd_nr() ||
      how.scan_sleep.count() < 0 || how.alloc_sleep.count() < 0)
    return false;
  std::lock_guard guard(lock_);
  tuning_ = how;
  wakeup_ = true; // the sleep may be shorter now
  changed_.notify_all();
  return true;
}

void khugepaged_scan::wake() {
  std::lock_guard guard(lock_);
  wakeup_ = true;
  changed_.notify_all();
}

void khugepaged_scan::wake_to_make_room() {
  make_room_ = true;
  wake();
}

void khugepaged_scan::wait_work(const std::stop_token& stop, bool had_huge_pages) {
  std::unique_lock guard(lock_);
  const auto due = had_huge_pages ? tuning_.scan_sleep : tuning_.alloc_sleep;
  changed_.wait_for(guard, stop, due, [&] { return wakeup_; });
  wakeup_ = false;
}

} // namespace racewalk::inline RACEWALK_BACKEND
