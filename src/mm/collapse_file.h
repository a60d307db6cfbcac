// Collapse of files that are made of memory: small folios of the page cache become one huge one, and the page
// tables that mapped them go (M23-M25).
//
// Whoever could use a small folio is shut out by its lock and by its count: unmapped and frozen, it is
// nobody's but the collapse's. A hole is shut by a mark that nobody may replace (XA_RETRY_ENTRY). From the
// moment the huge folio is in the cache until retract_page_tables() has ended its lock is held: no fault can
// map a page of the range, so every table that is left behind is empty as far as the file goes.
//
// Such a table is taken away without mmap_lock or vm_lock, under the pml and the ptl alone. So whoever
// changes entries of a table that maps a file finds it by pte_map_lock, which looks again (M6), and a walk
// that changes nothing is in an RCU section until the table is freed. What a table may hold that the file
// cannot give back the area says in `bars`, before the first such entry is put in and under the same ptl.
#pragma once

#include "mm/khugepaged.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Makes the pages [index, index + hpage_pmd_nr()) of the file one huge folio, and takes away the tables that
/// mapped them. `index` is a multiple of hpage_pmd_nr(). On failure all is as before, but for entries that
/// were taken out and come back by faults. Caller holds no lock of the file or of any mm.
scan_result collapse_file(address_space& mapping, u64 index, const collapse_control& how);

/// Looks, without shutting anybody out, whether that would probably succeed.
scan_result hpage_collapse_scan_file(address_space& mapping, u64 index, const collapse_control& how);

/// Takes away the tables of all areas that map the huge folio at `index` of the file, where they can be
/// spared. Caller holds the folio's lock, and none of its pages is mapped.
void retract_page_tables(address_space& mapping, u64 index);

/// The range of `addr`'s PMD has a table that maps pages of one huge folio and nothing else: the table goes,
/// and the folio is mapped by a huge entry if `install_pmd`, else by the next fault. Caller holds the area's
/// mmap_lock for reading.
scan_result collapse_pte_mapped_thp(mm_struct& mm, vaddr_t addr, bool install_pmd);

/// What is mapped at an address, if it is a page of a file: the file, with a reference for as long as this
/// lives, and which page. Takes the mmap_lock; the caller holds no lock of the mm.
class mapped_file {
 public:
  mapped_file(mm_struct& mm, vaddr_t addr);
  ~mapped_file();
  mapped_file(const mapped_file&) = delete;
  mapped_file& operator=(const mapped_file&) = delete;

  explicit operator bool() const { return file_ != nullptr; }
  [[nodiscard]] address_space& mapping() const { return file_->mapping(); }
  [[nodiscard]] u64 index() const { return index_; }

 private:
  file* file_ = nullptr;
  u64 index_ = 0;
};

/// Collapses the table that maps a huge page of a file at `addr` (collapse_pte_mapped_thp), with the
/// mmap_lock.
scan_result collapse_pte_mapped_thp_locked(mm_struct& mm, vaddr_t addr, bool install_pmd);

} // namespace racewalk::inline RACEWALK_BACKEND
