#include "mm/vfs.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "mm/filemap.h"
#include "mm/page_writeback.h"
#include "mm/rmap.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

std::byte* file_bytes(folio* folio, u64 pos) {
  return static_cast<std::byte*>(page_address(folio_file_page(folio, pos >> PAGE_SHIFT))) + pos % PAGE_SIZE;
}

void unlock_and_put(folio* folio) {
  folio_unlock(folio);
  folio_put(folio);
}

} // namespace

// ---- read ------------------------------------------------------------------------------------------------

namespace {

/// The first of `bytes`, those of one page, up to the end of the file. How many they are, or a negative
/// errno.
long read_page(file& f, std::byte* to, u64 bytes, u64 pos) {
  const u64 index = pos >> PAGE_SHIFT;
  const u64 wanted = ((pos % PAGE_SIZE) + bytes + PAGE_SIZE - 1) >> PAGE_SHIFT;
  const auto [folio, error] = filemap_get_page(f, index, {.wanted = wanted});
  if (folio == nullptr) return error;
  // many reads of one page are one use of it
  if (pos % PAGE_SIZE == 0 || READ_ONCE(f.f_ra.prev_index) != index) folio_mark_accessed(folio);
  WRITE_ONCE(f.f_ra.prev_index, index);
  const u64 size = i_size_read(f.mapping().host); // under the folio lock, as truncation has it
  const u64 n = size <= pos ? 0 : std::min({bytes, PAGE_SIZE - pos % PAGE_SIZE, size - pos});
  copy_relaxed(to, file_bytes(folio, pos), n);
  unlock_and_put(folio);
  return static_cast<long>(n);
}

} // namespace

long vfs_read(file& f, std::byte* to, u64 bytes, u64 pos) {
  if ((f.f_mode & FMODE_READ) == 0) return -EBADF;
  if (f.mapping().dax != nullptr || !valid_file_range(pos, bytes)) return -EINVAL;
  u64 done = 0;
  while (done < bytes) {
    const long n = read_page(f, to + done, bytes - done, pos + done);
    if (n < 0 && done == 0) return n;
    if (n <= 0) break;
    done += static_cast<u64>(n);
  }
  return static_cast<long>(done);
}

// ---- write -----------------------------------------------------------------------------------------------

namespace {

int set_size(inode& i, u64 bytes) {
  return i.i_op == nullptr || i.i_op->set_size == nullptr ? 0 : i.i_op->set_size(i, bytes);
}

/// Room on the disk for what a write() has still to write: found at once, when the first page is met that has
/// none. If there is not enough for all of it, each page sees for itself.
class write_room {
 public:
  write_room(inode& i, u64 end) : inode_(i), end_((end + PAGE_SIZE - 1) & PAGE_MASK) {}
  void find(folio* folio, u64 pos) {
    if (folio_test_mappedtodisk(folio)) return;
    if (!std::exchange(asked_, true))
      found_ = inode_.i_op != nullptr && inode_.i_op->reserve != nullptr &&
               inode_.i_op->reserve(inode_, pos & PAGE_MASK, end_) == 0;
    if (found_) folio_set_mappedtodisk(folio);
  }

 private:
  inode& inode_;
  const u64 end_;
  bool asked_ = false;
  bool found_ = false;
};

/// The part of one page. 0 or a negative errno.
int write_page(address_space& mapping, const std::byte* from, u64 bytes, u64 pos, write_room& room) {
  balance_dirty_pages(mapping);
  const u64 offset = pos % PAGE_SIZE;
  const auto [folio, error] = filemap_write_begin(mapping, pos >> PAGE_SHIFT, offset, offset + bytes);
  if (error != 0) return error;
  if (!mapping.tracks_dirty) {
    folio_mark_dirty(folio);
  } else {
    room.find(folio, pos);
    if (const int refused = folio_mkwrite(folio)) {
      unlock_and_put(folio);
      return refused;
    }
  }
  copy_relaxed(file_bytes(folio, pos), from, bytes);
  folio_set_uptodate(folio);
  if (offset == 0) folio_mark_accessed(folio); // who appends to a page uses it once
  if (pos + bytes > i_size_read(mapping.host)) atomic_set(mapping.host.i_size, static_cast<s64>(pos + bytes));
  unlock_and_put(folio);
  return 0;
}

} // namespace

long vfs_write(file& f, const std::byte* from, u64 bytes, u64 pos) {
  if (!f.writable()) return -EBADF;
  if (f.mapping().dax != nullptr || !valid_file_range(pos, bytes)) return -EINVAL;
  if (bytes == 0) return 0;
  inode& i = *f.f_inode;
  write_guard i_rwsem(i.i_rwsem);
  const u64 old_size = i_size_read(i);
  const bool grows = pos + bytes > old_size;
  if (grows) {
    if (const int error = set_size(i, pos + bytes)) return error;
    if (const int error = pagecache_isize_extended(i, old_size, pos)) return error;
  }
  write_room room(i, pos + bytes);
  u64 done = 0;
  int error = 0;
  while (done < bytes && error == 0) {
    const u64 at = pos + done;
    const u64 n = std::min(bytes - done, PAGE_SIZE - at % PAGE_SIZE);
    error = write_page(f.mapping(), from + done, n, at, room);
    if (error == 0) done += n;
  }
  if (grows && done < bytes) (void)set_size(i, i_size_read(i)); // no longer than it has become
  return done != 0 ? static_cast<long>(done) : error;
}

// ---- size and holes --------------------------------------------------------------------------------------

int vfs_truncate(file& f, u64 bytes) {
  if (!f.writable() || bytes > MAX_LFS_FILESIZE || f.mapping().dax != nullptr) return -EINVAL;
  inode& i = *f.f_inode;
  write_guard i_rwsem(i.i_rwsem);
  const u64 old_size = i_size_read(i);
  if (bytes > old_size)
    if (const int error = set_size(i, bytes)) return error;
  write_guard invalidate_lock(i.i_data.invalidate_lock);
  if (const int error = truncate_setsize(i, bytes)) return error;
  if (bytes >= old_size) return 0;
  // Who is still writing the last page may do so in its old length, which makes the disk's file longer again:
  // the size, a barrier in truncate_setsize(), then whether it is under writeback. Pairs with the
  // test-and-set of PG_writeback before write_pages() reads the size.
  if (bytes % PAGE_SIZE != 0) filemap_fdatawait_range(i.i_data, bytes >> PAGE_SHIFT, bytes >> PAGE_SHIFT);
  const int error = set_size(i, bytes);
  if (error != 0) atomic_set(i.i_size, static_cast<s64>(old_size)); // what the disk has still
  return error;
}

int vfs_punch_hole(file& f, u64 offset, u64 bytes) {
  if (offset > MAX_LFS_FILESIZE || bytes == 0 || bytes > MAX_LFS_FILESIZE) return -EINVAL;
  if (!f.writable()) return -EBADF;
  if (f.mapping().dax != nullptr) return -ENODEV;
  if (bytes > MAX_LFS_FILESIZE - offset) return -EFBIG;
  inode& i = *f.f_inode;
  write_guard i_rwsem(i.i_rwsem);
  write_guard invalidate_lock(i.i_data.invalidate_lock);
  const u64 size = i_size_read(i);
  const u64 end = std::min(offset + bytes, size);
  const u64 first = (offset + PAGE_SIZE - 1) & PAGE_MASK;
  const u64 beyond = end == size ? (end + PAGE_SIZE - 1) & PAGE_MASK : end & PAGE_MASK;
  const bool on_disk = i.i_op != nullptr && i.i_op->punch_hole != nullptr && first < beyond;
  if (const int error = truncate_pagecache_range(i, offset, offset + bytes)) return error;
  // once nothing of the range can be written back any more; and nobody reads it until then
  return on_disk ? i.i_op->punch_hole(i, first, beyond) : 0;
}

// ---- fsync -----------------------------------------------------------------------------------------------

namespace {

/// The error that this opening has not been told of.
int file_check_and_advance_wb_err(file& f) {
  spin_guard f_lock(f.f_lock);
  return errseq::check_and_advance(f.mapping().wb_err, f.f_wb_err);
}

} // namespace

int vfs_fsync_range(file& f, u64 first, u64 last, bool datasync) {
  address_space& mapping = f.mapping();
  if (mapping.dax != nullptr) return -EINVAL;
  if (!mapping.tracks_dirty) return 0;
  const u32 before = READ_ONCE(mapping.wb_err);
  const int write_error = write_cache_pages(mapping, first, last);
  filemap_fdatawait_range(mapping, first, last);
  inode& i = *f.f_inode;
  if (write_error == 0 && i.i_op != nullptr && i.i_op->fsync != nullptr)
    if (const int error = i.i_op->fsync(i, datasync)) errseq::set(mapping.wb_err, error);
  int error = file_check_and_advance_wb_err(f);
  // Another call by this opening may have been told of what this one has waited for in vain.
  if (error == 0) error = errseq::check(mapping.wb_err, before);
  return write_error != 0 ? write_error : error;
}

} // namespace racewalk::inline RACEWALK_BACKEND
