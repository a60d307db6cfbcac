#include "mm/shmem.h"

#include <cerrno>

#include "mm/slab.h"
#include "mm/swapfile.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

file* shmem_file_setup(u64 bytes, fmode_t mode) {
  auto* i = kmalloc_obj<inode>();
  auto* f = i == nullptr ? nullptr : kmalloc_obj<file>(*i, mode);
  if (f == nullptr) {
    delete i;
    return nullptr;
  }
  atomic_set(i->i_size, static_cast<s64>(bytes));
  return f;
}

// ---- in the swap file ------------------------------------------------------------------------------------

bool shmem_writepage(folio* folio) {
  address_space& mapping = *folio_mapping(folio);
  if (!add_to_swap(folio)) return false;
  const swp_entry_t entry = swap_entry_of(folio, false);
  swap_duplicate(entry); // for the place in the page cache
  {
    spin_guard xa_lock(mapping.i_pages.xa_lock);
    mapping.i_pages.store(folio_index(folio), xa_entry::swapped(swp_slot(entry)));
    folio->page.mapping.set(0);
  }
  atomic_sub(mapping.nrpages, 1);
  folio_put(folio); // the page cache's reference
  return true;
}

filemap_result shmem_swapin_folio(address_space& mapping, u64 index, xa_entry swapped) {
  const swp_entry_t entry = make_swap_entry(swapped.slot(), false);
  const auto [result, folio] = shmem_swapin_cluster(mapping, index, entry);
  if (folio == nullptr) return {nullptr, result == fault_result::handled ? -EEXIST : swapin_errno(result)};
  // The slot may have been given back, and be another page's: then the place does not name it any more.
  if (const int error = filemap_replace_entry(mapping, index, swapped, folio)) {
    folio_unlock(folio);
    folio_put(folio);
    return {nullptr, error};
  }
  swap_free(entry);
  delete_from_swap_cache(folio);
  return {folio, 0};
}

void shmem_free_swap(address_space& mapping, u64 index, xa_entry swapped) {
  {
    spin_guard xa_lock(mapping.i_pages.xa_lock);
    if (!mapping.i_pages.load(index).same(swapped)) return;
    mapping.i_pages.store(index, {});
  }
  free_swap_and_cache(make_swap_entry(swapped.slot(), false));
}

int shmem_unuse() {
  int error = 0;
  u64 slot = 0;
  u64 index = 0;
  while (address_space* mapping = swap_next_shmem(&slot, &index)) {
    const filemap_result back = read_mapping_folio(*mapping, index, fgp::no_creat);
    if (back.folio != nullptr) {
      folio_unlock(back.folio);
      folio_put(back.folio);
    } else if (back.error != -ENOENT) { // else it has been truncated
      error = back.error;
    }
    iput(mapping->host);
    if (error != 0) return error;
  }
  return 0;
}

// ---- the end of a file -----------------------------------------------------------------------------------

void fput(file& f) {
  if (!atomic_dec_and_test(f.f_count)) return;
  VM_BUG_ON(explored(), "SCENARIO", "a body drops the last reference to a file: the set-up is to keep one");
  iput(*f.f_inode);
  delete &f;
}

void iput(inode& i) {
  if (i.i_op != nullptr && i.i_op->put != nullptr) return i.i_op->put(i);
  if (atomic_dec_and_test(i.i_count)) evict_inode(i);
}

void evict_inode(inode& i) {
  VM_BUG_ON(!i.i_data.i_mmap.empty(), "INV-REF", "a file goes that is still mapped");
  truncate_inode_pages(i.i_data, 0);
  i.i_data.i_pages.destroy();
  if (i.i_op != nullptr && i.i_op->evict != nullptr)
    i.i_op->evict(i);
  else
    delete &i;
}

} // namespace racewalk::inline RACEWALK_BACKEND
