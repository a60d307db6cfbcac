#include "mm/readahead.h"

#include <algorithm>
#include <bit>

#include "mm/filemap.h"
#include "mm/page_alloc.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- reading ---------------------------------------------------------------------------------------------

namespace {

/// New pages of a file, one after the other, in the cache and locked, that nobody has read yet.
class readahead_run {
 public:
  explicit readahead_run(address_space& mapping) : mapping_(mapping) {}
  ~readahead_run() { read(); }
  readahead_run(const readahead_run&) = delete;
  readahead_run& operator=(const readahead_run&) = delete;

  /// The page at the index, which comes after the last one. False: it cannot be had, or somebody has it.
  bool add(u64 index) {
    if (nr_ == MAX_PAGES) read();
    page* page = alloc_page(GFP_KERNEL);
    if (page == nullptr) return false;
    if (filemap_add_folio(mapping_, page_folio(page), index) != 0) {
      put_page(page);
      return false;
    }
    if (nr_ == 0) first_ = index;
    pages_[nr_++] = page;
    return true;
  }

  /// Reads what has been added.
  void read() {
    if (nr_ == 0) return;
    const int error = mapping_.a_ops->read_pages(mapping_, first_, pages_, nr_);
    for (page* page : std::span(pages_, nr_)) {
      folio* folio = page_folio(page);
      if (error == 0) folio_set_uptodate(folio);
      folio_unlock(folio);
      folio_put(folio);
    }
    nr_ = 0;
  }

 private:
  static constexpr unsigned MAX_PAGES = 64;

  address_space& mapping_;
  u64 first_ = 0;
  unsigned nr_ = 0;
  page* pages_[MAX_PAGES];
};

/// Reads those of [index, index + nr) that are part of the file and not in the cache. Caller holds the
/// invalidate_lock.
void do_page_cache_ra(address_space& mapping, u64 index, u64 nr) {
  const u64 size = i_size_pages(mapping.host);
  const u64 end = index < size ? index + std::min(nr, size - index) : index;
  readahead_run run(mapping);
  for (; index < end; ++index) {
    if (!mapping.i_pages.load(index).none())
      run.read();
    else if (!run.add(index))
      return;
  }
}

} // namespace

// ---- what is worth it ------------------------------------------------------------------------------------

namespace {

/// How many misses more than hits it takes to give up reading around (Linux's MMAP_LOTSAMISS).
constexpr u32 MMAP_LOTSAMISS = 100;

/// A first window, of someone who wants so much at once.
u64 get_init_ra_size(u64 wanted, u64 max) {
  const u64 size = std::bit_ceil(wanted);
  if (size <= max / 32) return size * 4;
  return size <= max / 4 ? size * 2 : max;
}

u64 get_next_ra_size(u64 size, u64 max) { return std::min(size < max / 16 ? 4 * size : 2 * size, max); }

/// A new window, which is read.
void read_window(file& f, u64 start, u64 size) {
  WRITE_ONCE(f.f_ra.start, start);
  WRITE_ONCE(f.f_ra.size, static_cast<u32>(size));
  do_page_cache_ra(f.mapping(), start, size);
}

/// For who goes through the file in order, if that is what it looks like.
void ondemand_readahead(file& f, u64 index, u64 wanted, bool sequential) {
  const u64 max = f.mapping().ra_pages;
  wanted = std::min(wanted, max);
  const u64 size = READ_ONCE(f.f_ra.size);
  if (size != 0 && index == READ_ONCE(f.f_ra.start) + size)
    return read_window(f, index, get_next_ra_size(size, max));
  // the next one, or the same again, or from the beginning
  const bool next = index - READ_ONCE(f.f_ra.prev_index) <= 1;
  if (index == 0 || next || sequential) return read_window(f, index, get_init_ra_size(wanted, max));
  do_page_cache_ra(f.mapping(), index, wanted); // at random: what is asked for, and no guess
}

/// For a fault: the pages around, while that is of use.
void do_sync_mmap_readahead(file& f, u64 index, vm_flags_t vm_flags) {
  if ((vm_flags & VM_RAND_READ) != 0) return;
  if ((vm_flags & VM_SEQ_READ) != 0) return ondemand_readahead(f, index, 1, true);
  const u32 misses = READ_ONCE(f.f_ra.mmap_miss);
  if (misses < 10 * MMAP_LOTSAMISS) WRITE_ONCE(f.f_ra.mmap_miss, misses + 1);
  if (misses > MMAP_LOTSAMISS) return;
  const u64 before = std::min<u64>(index, f.mapping().ra_pages / 2);
  read_window(f, index - before, f.mapping().ra_pages);
}

} // namespace

void page_cache_sync_ra(file& f, u64 index, const ra_request& request) {
  if (request.mapped)
    do_sync_mmap_readahead(f, index, request.vm_flags);
  else
    ondemand_readahead(f, index, request.wanted, false);
}

void filemap_fault_hit(file& f) {
  const u32 misses = READ_ONCE(f.f_ra.mmap_miss);
  if (misses != 0) WRITE_ONCE(f.f_ra.mmap_miss, misses - 1);
}

void force_page_cache_ra(address_space& mapping, u64 index, u64 nr) {
  if (mapping.ra_pages == 0) return;
  for (u64 n; nr != 0; index += n, nr -= n) {
    n = std::min<u64>(nr, mapping.ra_pages); // others get the lock in between
    read_guard invalidate_lock(mapping.invalidate_lock);
    do_page_cache_ra(mapping, index, n);
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
