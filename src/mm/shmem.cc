#include "mm/shmem.h"

#include "mm/slab.h"
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

void fput(file& f) {
  if (!atomic_dec_and_test(f.f_count)) return;
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
