#include "mm/mapping_dirty_helpers.h"

#include <algorithm>

#include "machine/tlbflush.h"
#include "mm/mmu_gather.h"
#include "mm/pagewalk.h"
#include "mm/pgtable_generic.h"

namespace racewalk::inline RACEWALK_BACKEND {

wp_walk::wp_walk(mm_struct& mm, vaddr_t start, vaddr_t end)
    : mm_(mm), start_(start), end_(end), notify_(mm, mmu_notifier_event::protection_page, start, end) {
  inc_tlb_flush_pending(mm);
}

wp_walk::~wp_walk() {
  // An entry that was found clean or read-only may owe that to somebody who has not flushed it yet.
  if (mm_tlb_flush_nested(mm_))
    flush_tlb_range(mm_.context, start_, end_);
  else if (total_ != 0 && !policy().dirty_helpers_flush_locked)
    flush_touched();
  dec_tlb_flush_pending(mm_);
}

void wp_walk::flush_touched() {
  flush_tlb_mm_range(mm_.context, touched_start_, touched_end_, PAGE_SHIFT, false);
}

template <class Change> void wp_walk::change_entries(Change change) {
  walk_pmd_entries(mm_, start_, end_, [&](const pmdp_t& pmdp, vaddr_t addr, vaddr_t next) {
    pte_map_lock table(pmdp);
    if (!table) return;
    for (; addr < next; addr += PAGE_SIZE) {
      if (!pte_present(ptep_get(table.at(addr))) || !change(addr, table.at(addr))) continue;
      touched_start_ = std::min(touched_start_, addr);
      touched_end_ = std::max(touched_end_, addr + PAGE_SIZE);
      ++total_;
    }
    // what the page table says and what TLBs do are the same before anybody can look (S2.1)
    if (policy().dirty_helpers_flush_locked && total_ != 0) flush_touched();
  });
}

void wp_walk::wp() {
  change_entries([](vaddr_t addr, const ptep_t& ptep) {
    if (!pte_write(ptep_get(ptep))) return false;
    ptep_modify(addr, ptep, [](pte_t pte) { return pte_wrprotect(pte); });
    return true;
  });
}

void wp_walk::clean_record(word_t* bitmap, u64 first_bit) {
  change_entries([&](vaddr_t addr, const ptep_t& ptep) {
    if (!pte_dirty(ptep_get(ptep))) return false;
    ptep_modify(addr, ptep, [](pte_t pte) { return pte_mkclean(pte); });
    const u64 bit = first_bit + ((addr - start_) >> PAGE_SHIFT);
    set_bit(bit % 64, bitmap[bit / 64]);
    return true;
  });
}

namespace {

/// Calls change(walk, index) for every shared mapping of the range, `index` being the page of the file that
/// the walk begins with. How many entries have changed.
template <class Change> u64 change_mapping(address_space& mapping, u64 first, u64 nr, Change change) {
  u64 total = 0;
  read_guard i_mmap(mapping.i_mmap_rwsem);
  mapping.i_mmap.for_each(first, first + nr - 1, [&](vm_area_struct& vma) {
    if ((vma.vm_flags.get() & VM_SHARED) == 0) return; // its stores are its own
    const u64 from = std::max(first, vma.vm_pgoff.get());
    const u64 to = std::min(first + nr - 1, vma.last_pgoff()) + 1;
    const auto address = [&](u64 index) {
      return vma.vm_start.get() + ((index - vma.vm_pgoff.get()) << PAGE_SHIFT);
    };
    wp_walk walk(*vma.vm_mm, address(from), address(to));
    change(walk, from);
    total += walk.total();
  });
  return total;
}

} // namespace

u64 wp_shared_mapping_range(address_space& mapping, u64 first, u64 nr) {
  return change_mapping(mapping, first, nr, [](wp_walk& walk, u64) { walk.wp(); });
}

u64 clean_record_shared_mapping_range(address_space& mapping, u64 first, u64 nr, word_t* bitmap) {
  return change_mapping(mapping, first, nr,
                        [&](wp_walk& walk, u64 index) { walk.clean_record(bitmap, index - first); });
}

} // namespace racewalk::inline RACEWALK_BACKEND
