// The page cache: a file's pages in memory, found, filled and let go.
//
// A folio in the cache has its mapping and index set; the cache holds one reference for each of its pages.
// They change, with the entries in i_pages, under xa_lock and the folio lock: who holds the folio lock, or a
// reference taken from an entry that it then found unchanged, knows where the folio belongs. Who comes by the
// lock after waiting asks again: truncation may have taken the folio out (folio->mapping is null then).
//
// Locks (M42): mmap_lock > vm_lock > invalidate_lock > folio lock > i_mmap_rwsem > page-table locks >
// xa_lock.
#pragma once

#include <utility>

#include "mm/fs.h"
#include "mm/memory.h"
#include "mm/page_lock.h"
#include "mm/page_ref.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// The file that the folio is a part of; null if of none, or of none any more.
inline address_space* folio_mapping(const folio* folio, site s = RW_HERE) {
  if (folio_test_anon(folio, s)) return nullptr;
  return reinterpret_cast<address_space*>(static_cast<uintptr_t>(folio->page.mapping.get(s)));
}
/// Which page of the file the folio begins with. Folio lock, or as above.
inline u64 folio_index(const folio* folio, site s = RW_HERE) { return folio->page.index.get(s); }
/// The page of the folio that is page `index` of the file.
inline page* folio_file_page(folio* folio, u64 index) {
  return folio_page(folio, index - folio_index(folio));
}

inline u64 i_size_read(const inode& i, site s = RW_HERE) {
  return static_cast<u64>(atomic_read(i.i_size, s));
}
/// How many pages the file has, the last of them perhaps in part.
inline u64 i_size_pages(const inode& i, site s = RW_HERE) {
  return (i_size_read(i, s) + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/// What is at the index: a folio, with a reference; the slot of one that is in the swap file; or none. No
/// lock needed.
xa_entry filemap_get_entry(address_space& mapping, u64 index);
/// The folio at the index, with a reference; null if none is there. No lock needed.
folio* filemap_get_folio(address_space& mapping, u64 index);
/// What filemap_get_entry() says of the first index that has something at `*index` or after it, but not after
/// `last`; `*index` is moved to the folio's first page, or stays if that is before it. None if there is
/// nothing.
xa_entry filemap_get_next_entry(address_space& mapping, u64* index, u64 last);
/// The first folio, in the same way. Null if there is none.
folio* filemap_get_next_folio(address_space& mapping, u64* index, u64 last);

/// Puts a new folio, which comes out locked, into the cache. 0; -EEXIST if something is there by now;
/// -ENOMEM.
[[nodiscard]] int filemap_add_folio(address_space& mapping, folio* folio, u64 index);
/// Puts a locked folio, which is no file's, into the cache in the place of `expected`. 0; -EEXIST if
/// something else is there by now; -ENOMEM.
[[nodiscard]] int filemap_replace_entry(address_space& mapping, u64 index, xa_entry expected, folio* folio);
/// Takes a locked folio that nobody maps out of the cache, and drops the cache's reference; the caller has
/// its own.
void filemap_remove_folio(folio* folio);

/// The folio at the index with its content, locked and with a reference, brought back from the swap file or
/// made if it is not there: or an error (-EIO, -ENOMEM). Null if the file ends before the index. May sleep.
/// Caller holds i_rwsem for writing, or the invalidate_lock: the disk has nothing old there.
struct filemap_result {
  struct folio* folio;
  int error;
};
/// fgp::no_creat: -ENOENT rather than to make it; fgp::uptodate: nor is it read, but -EAGAIN.
enum class fgp : u8 { creat, no_creat, uptodate };
filemap_result read_mapping_folio(address_space& mapping, u64 index, fgp how = fgp::creat);
/// The same for who holds no lock of the file; fgp::creat or fgp::no_creat. What will be wanted soon is read
/// with it.
filemap_result filemap_get_page(file& f, u64 index, const ra_request& request, fgp how = fgp::creat);
/// The folio at the index, locked and with a reference, for bytes [from, to) of it to be written; made if it
/// is not there. What it has besides is read, or zero beyond the end of the file. Errors as above. May sleep.
/// Caller holds i_rwsem for writing.
filemap_result filemap_write_begin(address_space& mapping, u64 index, u64 from, u64 to);

/// A locked folio has been read, or could not be: unlocks it.
inline void folio_end_read(folio* folio, bool success) {
  if (success) folio_set_uptodate(folio);
  folio_unlock(folio);
}

/// Marks the folio dirty, for writeback to find. The caller holds its lock, or the lock of an entry that maps
/// it, or has it pinned. True if it was clean.
bool folio_mark_dirty(folio* folio);

/// What a fault's file has at a page: the locked folio with a reference, or why there is none. With
/// fgp::no_creat, fault_result::handled without a folio: it would have to be made.
struct vm_fault_folio {
  fault_result result;
  struct folio* folio;
};
vm_fault_folio filemap_fault(const vm_area_struct& vma, u64 index, fgp how = fgp::creat);
/// Before a locked folio that writeback knows to be clean becomes writable: it is dirty from now on, and
/// whoever needs its content to be stable is done. 0 or a negative errno: there is no room for it.
int folio_mkwrite(folio* folio);
/// The same for a fault.
fault_result filemap_page_mkwrite(folio* folio);

/// Before a page is dirtied: who does so faster than pages can be written waits. Not afterwards: the page
/// could be written and write-protected before the store that it was dirtied for. No folio is locked; may
/// sleep.
inline void balance_dirty_pages(address_space& mapping) {
  if (mapping.a_ops != nullptr && mapping.a_ops->balance_dirty != nullptr)
    mapping.a_ops->balance_dirty(mapping);
}

/// Maps pages that are in the cache anyway, around the one at `addr` that is read (M25's fault-around): those
/// of `vma`, behind the table, that are up to date and that nobody has locked. Returns whether `addr` is
/// mapped then.
bool filemap_map_pages(vm_area_struct& vma, vaddr_t addr, const pmdp_t& pmdp);

} // namespace racewalk::inline RACEWALK_BACKEND
