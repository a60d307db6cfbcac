#include "mm/truncate.h"

#include <algorithm>
#include <cerrno>

#include "mm/filemap.h"
#include "mm/highmem.h"
#include "mm/rmap.h"
#include "mm/shmem.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- entries ---------------------------------------------------------------------------------------------

namespace {

/// The part of an area that maps pages [first, last] of its file, which it does.
void unmap_mapping_range_vma(vm_area_struct& vma, u64 first, u64 last, even_cows cows) {
  const u64 pgoff = vma.vm_pgoff.get();
  const auto address = [&](u64 index) { return vma.vm_start.get() + ((index - pgoff) << PAGE_SHIFT); };
  const vaddr_t start = address(std::max(first, pgoff));
  const vaddr_t end = address(std::min(last, vma.last_pgoff()) + 1);
  mmu_notifier_invalidation notify(*vma.vm_mm, mmu_notifier_event::clear, start, end);
  mmu_gather tlb(*vma.vm_mm);
  tlb_gather_mmu(tlb);
  tlb.keeps_anon = cows == even_cows::no;
  unmap_page_range(tlb, start, end, &vma);
  tlb_finish_mmu(tlb);
}

} // namespace

void unmap_mapping_pages(address_space& mapping, u64 first, u64 last, even_cows cows) {
  read_guard i_mmap(mapping.i_mmap_rwsem); // the areas stay, and with them their tables
  mapping.i_mmap.for_each(first, last,
                          [&](vm_area_struct& vma) { unmap_mapping_range_vma(vma, first, last, cows); });
}

// ---- pages -----------------------------------------------------------------------------------------------

namespace {

/// Pages [first, last] of the file, of a locked folio that reaches beyond them, become zero: it stays.
void zero_part(address_space& mapping, folio* folio, u64 first, u64 last) {
  unmap_mapping_pages(mapping, first, last, even_cows::no);
  for (u64 index = first; index <= last; ++index)
    clear_highpage(folio_file_page(folio, index));
  folio_mark_dirty(folio);
}

/// Takes a locked folio of the file out, or what it has of pages [first, last].
void truncate_locked_folio(address_space& mapping, folio* folio, u64 first, u64 last) {
  folio_wait_writeback(folio);
  const u64 index = folio_index(folio);
  const u64 end = index + (folio_test_large(folio) ? folio_nr_pages(folio) : 1) - 1;
  if (index < first || end > last) {
    zero_part(mapping, folio, std::max(first, index), std::min(last, end));
    return;
  }
  // a fault may have mapped it since the entries were taken out: none can now, which needs the folio lock
  if (folio_mapped(folio)) unmap_mapping_pages(mapping, index, end, even_cows::no);
  folio_clear_dirty(folio);
  filemap_remove_folio(folio);
}

/// False: while this waited for it, something else has taken its place.
bool truncate_inode_folio(address_space& mapping, folio* folio, u64 first, u64 last) {
  folio_lock(folio);
  const bool here = folio_mapping(folio) == &mapping;
  if (here) truncate_locked_folio(mapping, folio, first, last);
  folio_unlock(folio);
  return here;
}

/// Bytes [from, to) of a page of the file become zero, where it is mapped too. fgp::uptodate: as far as it is
/// in the cache.
int zero_partial_page(address_space& mapping, u64 index, u64 from, u64 to, fgp how = fgp::creat) {
  const auto [folio, error] = read_mapping_folio(mapping, index, how);
  if (folio == nullptr) return error == -ENOENT || error == -EAGAIN ? 0 : error;
  folio_wait_writeback(folio);
  zero_user_segment(folio_file_page(folio, index), from, to);
  folio_clear_mappedtodisk(folio); // the disk may take back the room of a part of it
  folio_mark_dirty(folio);
  folio_unlock(folio);
  folio_put(folio);
  return 0;
}

} // namespace

void truncate_inode_pages_range(address_space& mapping, u64 first, u64 last) {
  for (u64 index = first; index <= last;) {
    const xa_entry entry = filemap_get_next_entry(mapping, &index, last);
    if (entry.none()) return;
    if (entry.is_swap()) {
      shmem_free_swap(mapping, index, entry);
      continue; // and looks again: it may have come back
    }
    folio* folio = entry.folio();
    const bool done = truncate_inode_folio(mapping, folio, first, last);
    const u64 end = folio_test_large(folio) ? folio_index(folio) + folio_nr_pages(folio) - 1 : index;
    folio_put(folio);
    if (!done && policy().truncate_looks_again) continue;
    index = std::max(index, end) + 1;
    if (index == 0) return;
  }
}

namespace {

/// The end of a page that is the file's last becomes zero. What is on a disk is cut off there, whether it can
/// be read or not.
int zero_beyond_end(address_space& mapping, u64 bytes, fgp how) {
  if (bytes % PAGE_SIZE == 0) return 0;
  const int error = zero_partial_page(mapping, bytes >> PAGE_SHIFT, bytes % PAGE_SIZE, PAGE_SIZE, how);
  return shmem_mapping(mapping) ? error : 0;
}

} // namespace

int pagecache_isize_extended(inode& inode, u64 from, u64 to) {
  return from < to ? zero_beyond_end(inode.i_data, from, fgp::uptodate) : 0;
}

int truncate_setsize(inode& inode, u64 bytes) {
  address_space& mapping = inode.i_data;
  const u64 old_bytes = i_size_read(inode);
  // What the last page has beyond the end, the old or the new one, must not be seen when the file grows.
  const int error = bytes < old_bytes ? zero_beyond_end(mapping, bytes, fgp::creat)
                                      : pagecache_isize_extended(inode, old_bytes, bytes);
  if (error != 0) return error;
  atomic_set(inode.i_size, static_cast<s64>(bytes));
  if (bytes >= old_bytes) return 0;
  const u64 first = (bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
  // The size, then what is in the cache: pairs with the barrier in filemap_add_folio(). A fault that adds a
  // folio either sees the new size, or the folio is found here. One that was there is locked by both.
  smp_mb();
  unmap_mapping_pages(mapping, first, ~u64{0}, even_cows::yes);
  truncate_inode_pages(mapping, first);
  unmap_mapping_pages(mapping, first, ~u64{0}, even_cows::yes); // private copies made meanwhile
  return 0;
}

int truncate_pagecache_range(inode& inode, u64 start, u64 end) {
  address_space& mapping = inode.i_data;
  end = std::min(end, i_size_read(inode));
  if (start >= end) return 0;
  const u64 first = (start + PAGE_SIZE - 1) >> PAGE_SHIFT; // the first whole page, and the one after the last
  const u64 beyond = end == i_size_read(inode) ? (end + PAGE_SIZE - 1) >> PAGE_SHIFT : end >> PAGE_SHIFT;
  int error = 0;
  if (start % PAGE_SIZE != 0)
    error = zero_partial_page(mapping, start >> PAGE_SHIFT, start % PAGE_SIZE,
                              std::min<u64>(PAGE_SIZE, end - (start & PAGE_MASK)));
  if (error == 0 && beyond >= first && (end & PAGE_MASK) >> PAGE_SHIFT == beyond && end % PAGE_SIZE != 0)
    error = zero_partial_page(mapping, beyond, 0, end % PAGE_SIZE);
  if (error != 0 || beyond <= first) return error;
  unmap_mapping_pages(mapping, first, beyond - 1, even_cows::no);
  truncate_inode_pages_range(mapping, first, beyond - 1);
  return 0;
}

} // namespace racewalk::inline RACEWALK_BACKEND
