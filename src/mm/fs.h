// Files as the manager sees them: an inode with its pages in memory, and openings of it.
//
// What may be mapped lives in an address_space: i_pages holds the pages, i_mmap the areas that map them. What
// keeps them true to what the file is made of are its operations; a file that is made of memory alone (shmem)
// has none. hostfs.h has files that are the host's.
//
// Lifetimes: an area holds a reference to its file, a file one to its inode; the pages go with the inode. A
// page in i_pages has one reference for that.
#pragma once

#include <span>

#include "mm/errseq.h"
#include "mm/interval_tree.h"
#include "mm/page_tree.h"
#include "mm/readahead.h"
#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// As long as a file can be, in bytes.
inline constexpr u64 MAX_LFS_FILESIZE = ~u64{0} >> 1;
/// Whether a file may have these bytes, as far as a loff_t says (rw_verify_area()).
constexpr bool valid_file_range(u64 pos, u64 bytes) {
  return pos <= MAX_LFS_FILESIZE && bytes <= MAX_LFS_FILESIZE - pos;
}

struct inode;
struct address_space;
struct dev_dax;

/// A page of a file that is written back.
struct page_io {
  u64 index;     ///< which page of the file
  page* content; ///< it, or a copy of it
  int error;     ///< how that went: 0 or a negative errno
};

/// How a file's pages come from what the file is made of, and go there. A null operation is one that it does
/// not need. What can fail returns 0 or a negative errno.
struct address_space_operations {
  /// Fills pages [index, index + nr) of the file, which nobody has read yet and which are locked. Null: they
  /// are zero.
  int (*read_pages)(address_space& mapping, u64 index, page* const* pages, unsigned nr) = nullptr;
  /// The same for who wants them later: marks those that it could read as up to date, unlocks all and drops
  /// the caller's references, perhaps only after it has returned. Null: there is nothing to be gained.
  void (*readahead)(address_space& mapping, u64 index, page* const* pages, unsigned nr) = nullptr;
  /// Writes these pages, which are under writeback, in the order of the file; says of each how it went.
  void (*write_pages)(address_space& mapping, std::span<page_io> pages) = nullptr;
  /// A page is about to be dirtied: room for it on the disk. The folio is locked.
  int (*page_mkwrite)(address_space& mapping, folio* folio) = nullptr;
  /// A page is about to be dirtied: who does so faster than pages are written waits. No folio is locked.
  void (*balance_dirty)(address_space& mapping) = nullptr;
};

/// What is done with the file as a whole, where memory alone is not enough. Natively only. What can fail
/// returns 0 or a negative errno.
struct inode_operations {
  /// The file is to have so many bytes: before it grows, and after it has shrunk. i_rwsem is held for
  /// writing.
  int (*set_size)(inode& inode, u64 bytes) = nullptr;
  /// Bytes [start, end), whole pages of which none is in the cache when it returns last, read as zero.
  /// i_rwsem and invalidate_lock are held for writing.
  int (*punch_hole)(inode& inode, u64 start, u64 end) = nullptr;
  /// Room on the disk for bytes [start, end), whole pages, which are about to be written to memory: so that
  /// writing them back does not fail for want of it. i_rwsem is held for writing.
  int (*reserve)(inode& inode, u64 start, u64 end) = nullptr;
  /// What write_pages() has written stays, whatever happens; `datasync`: as far as it takes to find it again.
  int (*fsync)(inode& inode, bool datasync) = nullptr;
  /// Takes notice of another size that somebody else has given the file. No lock is held.
  int (*revalidate)(inode& inode) = nullptr;
  /// Drops a reference, in place of what iput() does.
  void (*put)(inode& inode) = nullptr;
  /// Frees an inode that nobody knows any more and that has no pages. Null: delete.
  void (*evict)(inode& inode) = nullptr;
};

struct address_space {
  explicit address_space(inode& of) : host(of) {}

  inode& host;
  const address_space_operations* a_ops = nullptr;
  /// The device whose memory it is, mapped as it is: then nothing is ever in i_pages (dax.h). Null: none.
  dev_dax* dax = nullptr;
  /// Stores to shared mappings are noticed, so that the content is written back (mapping_can_writeback).
  bool tracks_dirty = false;
  /// Its content may not change while it is written back: a checksum is made of it.
  shared<bool> stable_writes;
  /// How many pages are read ahead at most, for who goes through the file in order; 0: each by itself.
  unsigned ra_pages = 0;
  page_tree i_pages;
  /// Held for reading by who fills a page, and for writing by who changes what pages are filled with: inside
  /// mmap_lock and vm_lock, outside folio locks.
  rwsem_t invalidate_lock;
  rwsem_t i_mmap_rwsem; ///< guards i_mmap; inside the folio lock, outside page-table locks
  interval_tree i_mmap;
  atomic64_t nrpages;              ///< in i_pages
  shared<u64> swap_readahead_info; ///< what was read ahead of the swap file, and of use (swap_state.cc)
  errseq_t wb_err;                 ///< the last error of writing back, for each opening to be told once
};

struct inode {
  inode() : i_data(*this) {}

  address_space i_data;
  const inode_operations* i_op = nullptr; ///< null: it needs none
  atomic64_t i_size;                      ///< bytes; changes under i_rwsem for writing
  rwsem_t i_rwsem;                        ///< one write() or change of size at a time
  atomic_t i_count{1};
};

enum fmode_t : u32 { FMODE_READ = 1u << 0, FMODE_WRITE = 1u << 1 };
constexpr fmode_t operator|(fmode_t a, fmode_t b) { return fmode_t(u32(a) | u32(b)); }

/// An opening of an inode, of which it holds a reference.
struct file {
  file(inode& i, fmode_t mode) : f_inode(&i), f_mode(mode) {}

  inode* const f_inode;
  const fmode_t f_mode;
  atomic_t f_count{1};
  spinlock_t f_lock;    ///< one at a time is told of an error
  shared<u32> f_wb_err; ///< up to which of its mapping's errors it has been told
  file_ra_state f_ra;

  address_space& mapping() const { return f_inode->i_data; }
  bool writable() const { return (f_mode & FMODE_WRITE) != 0; }
};

inline void get_file(file& f) { atomic_inc(f.f_count); }
/// Drops a reference; the last one takes the file away, and its inode if nobody else has it. No lock of the
/// file is held. On an explored path there is another one.
void fput(file& f);
/// The same for an inode.
void iput(inode& i);
/// Drops the pages of an inode that nobody uses any more, written or not, and frees it. Natively only.
void evict_inode(inode& i);

} // namespace racewalk::inline RACEWALK_BACKEND
