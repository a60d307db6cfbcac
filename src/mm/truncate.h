// Taking pages of a file away from who maps them and out of the cache: truncation, hole punching.
//
// The order that makes it final (M42, INV-TBL): the size, so that no fault puts more in; the entries, as far
// as they are there already; each folio under its lock, with the entries that came meanwhile.
#pragma once

#include "mm/fs.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// Whether private copies of a file's pages go with them.
enum class even_cows : u8 { no, yes };

/// Takes the entries that map pages [first, last] of the file out of all address spaces.
void unmap_mapping_pages(address_space& mapping, u64 first, u64 last, even_cows cows);

/// Takes the pages [first, last] out of the cache, waiting for those that are locked or under writeback.
void truncate_inode_pages_range(address_space& mapping, u64 first, u64 last);
inline void truncate_inode_pages(address_space& mapping, u64 first) {
  truncate_inode_pages_range(mapping, first, ~u64{0});
}

/// The file is about to grow from `from` to `to` bytes: what programs that map its last page have stored
/// there beyond its end was never part of it. 0; -ENOMEM or -EIO if that page is in the swap file and does
/// not come back: the file must not grow. Caller holds i_rwsem for writing. May sleep.
[[nodiscard]] int pagecache_isize_extended(inode& inode, u64 from, u64 to);

/// Gives the file another size. What is cut off reads as zero if it grows again; who maps it gets a fault. 0,
/// or an error as above: then it has the size that it had. Caller holds i_rwsem for writing. May sleep.
[[nodiscard]] int truncate_setsize(inode& inode, u64 bytes);

/// Makes a range of the file zero and gives its whole pages back; its size stays, private copies stay.
/// Caller holds i_rwsem for writing. May sleep. The error of reading a page that is only in part concerned.
[[nodiscard]] int truncate_pagecache_range(inode& inode, u64 start, u64 end);

} // namespace racewalk::inline RACEWALK_BACKEND
