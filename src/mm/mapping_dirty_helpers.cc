#include "mm/mapping_dirty_helpers.h"

#include <algorithm>

#include "machine/tlbflush.h"
#include "mm/mmu_gather.h"
#include "mm/pagewalk.h"
#include "mm/pgtable_generic.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

/// What has changed in one area.
struct touched_range {
  vaddr_t start = ~vaddr_t{0};
  vaddr_t end = 0;
  u64 entries = 0;

  void add(vaddr_t addr) {
    start = std::min(start, addr);
    end = std::max(end, addr + PAGE_SIZE);
    ++entries;
  }
};

/// Changes the entries of [start, end) of an area by change(addr, ptep, index), which says whether it has
/// changed the one at `addr`, which is present. Huge entries stay: drivers map by pages.
template <class Change>
u64 change_vma(const vm_area_struct& vma, vaddr_t start, vaddr_t end, Change&& change) {
  mm_struct& mm = *vma.vm_mm;
  mmu_notifier_invalidation notify(mm, mmu_notifier_event::protection_page, start, end);
  inc_tlb_flush_pending(mm);
  touched_range touched;
  walk_pmd_entries(mm, start, end, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    pte_map_lock table(pmdp);
    if (!table) return;
    for (; addr < next; addr += PAGE_SIZE)
      if (pte_present(ptep_get(table.at(addr))) && change(addr, table.at(addr))) touched.add(addr);
    // what the page table says and what TLBs do are the same before anybody can look (S2.1)
    if (policy().dirty_helpers_flush_locked && touched.entries != 0)
      flush_tlb_mm_range(mm.context, touched.start, touched.end, PAGE_SHIFT, false);
  });
  // An entry that was found clean or read-only may owe that to somebody who has not flushed it yet.
  if (mm_tlb_flush_nested(mm))
    flush_tlb_range(mm.context, start, end);
  else if (touched.entries != 0 && !policy().dirty_helpers_flush_locked)
    flush_tlb_mm_range(mm.context, touched.start, touched.end, PAGE_SHIFT, false);
  dec_tlb_flush_pending(mm);
  return touched.entries;
}

/// change_vma() for every shared mapping of the range; change(addr, ptep, index) with the page's index in the
/// file.
template <class Change> u64 change_mapping(address_space& mapping, u64 first, u64 nr, Change change) {
  u64 total = 0;
  read_guard i_mmap(mapping.i_mmap_rwsem);
  mapping.i_mmap.for_each(first, first + nr - 1, [&](vm_area_struct& vma) {
    if ((vma.vm_flags & VM_SHARED) == 0) return; // its stores are its own
    const u64 from = std::max(first, vma.vm_pgoff);
    const u64 to = std::min(first + nr - 1, vma.last_pgoff()) + 1;
    const auto address = [&](u64 index) { return vma.vm_start + ((index - vma.vm_pgoff) << PAGE_SHIFT); };
    total += change_vma(vma, address(from), address(to), [&](vaddr_t addr, const ptep_t& ptep) {
      return change(addr, ptep, vma.vm_pgoff + ((addr - vma.vm_start) >> PAGE_SHIFT));
    });
  });
  return total;
}

} // namespace

u64 wp_shared_mapping_range(address_space& mapping, u64 first, u64 nr) {
  return change_mapping(mapping, first, nr, [](vaddr_t addr, const ptep_t& ptep, u64) {
    if (!pte_write(ptep_get(ptep))) return false;
    ptep_modify(addr, ptep, [](pte_t pte) { return pte_wrprotect(pte); });
    return true;
  });
}

u64 clean_record_shared_mapping_range(address_space& mapping, u64 first, u64 nr, word_t* bitmap) {
  return change_mapping(mapping, first, nr, [&](vaddr_t addr, const ptep_t& ptep, u64 index) {
    if (!pte_dirty(ptep_get(ptep))) return false;
    ptep_modify(addr, ptep, [](pte_t pte) { return pte_mkclean(pte); });
    set_bit((index - first) % 64, bitmap[(index - first) / 64]);
    return true;
  });
}

} // namespace racewalk::inline RACEWALK_BACKEND
