#include "mm/readahead.h"

#include <algorithm>
#include <bit>
#include <span>

#include "mm/filemap.h"
#include "mm/page_alloc.h"
#include "mm/vma.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- reading ---------------------------------------------------------------------------------------------

namespace {

/// Whether the caller waits for what is read.
enum class ra_wait : u8 { yes, no };

/// Pages for a file, as many at a time as a transfer takes, in the order of their frames: neighbours in the
/// file are neighbours in memory where that is possible, and the disk has fewer places to write to.
class page_stock {
 public:
  explicit page_stock(u64 wanted) : wanted_(wanted) {}
  ~page_stock() {
    for (page* page : std::span(pages_ + taken_, nr_ - taken_))
      put_page(page);
  }
  page_stock(const page_stock&) = delete;
  page_stock& operator=(const page_stock&) = delete;

  /// Null if memory is short.
  page* take() {
    if (taken_ == nr_) refill();
    return taken_ < nr_ ? pages_[taken_++] : nullptr;
  }

 private:
  static constexpr unsigned MAX_PAGES = 128;

  void refill() {
    taken_ = nr_ = 0;
    for (; nr_ < MAX_PAGES && wanted_ > 0; --wanted_)
      if (page* page = alloc_page(GFP_KERNEL))
        pages_[nr_++] = page;
      else
        wanted_ = 1; // the last
    std::sort(pages_, pages_ + nr_);
  }

  u64 wanted_; ///< and not allocated yet
  unsigned nr_ = 0;
  unsigned taken_ = 0;
  page* pages_[MAX_PAGES];
};

/// New pages of a file, one after the other, in the cache and locked, that nobody has read yet.
class readahead_run {
 public:
  readahead_run(address_space& mapping, ra_wait wait) : mapping_(mapping), wait_(wait) {}
  ~readahead_run() { read(); }
  readahead_run(const readahead_run&) = delete;
  readahead_run& operator=(const readahead_run&) = delete;

  /// Puts a page in at the index, which comes after the last one. False: somebody else has, or it cannot be.
  bool add(page* page, u64 index, bool marked) {
    if (nr_ == MAX_PAGES) read();
    folio* folio = page_folio(page);
    if (filemap_add_folio(mapping_, folio, index) != 0) {
      folio_put(folio);
      return false;
    }
    if (marked) folio_set_readahead(folio);
    if (nr_ == 0) first_ = index;
    pages_[nr_++] = page;
    return true;
  }

  /// Reads what has been added.
  void read() {
    if (nr_ == 0) return;
    if (wait_ == ra_wait::no && mapping_.a_ops->readahead != nullptr)
      mapping_.a_ops->readahead(mapping_, first_, pages_, nr_);
    else
      read_and_wait();
    nr_ = 0;
  }

 private:
  static constexpr unsigned MAX_PAGES = 128;

  void read_and_wait() {
    const int error = mapping_.a_ops->read_pages(mapping_, first_, pages_, nr_);
    for (page* page : std::span(pages_, nr_)) {
      folio_end_read(page_folio(page), error == 0);
      folio_put(page_folio(page));
    }
  }

  address_space& mapping_;
  const ra_wait wait_;
  u64 first_ = 0;
  unsigned nr_ = 0;
  page* pages_[MAX_PAGES];
};

/// Reads those of [index, index + nr) that are part of the file and not in the cache. The mark is on the page
/// that is `lookahead` before the end; 0: there is none. Caller holds the invalidate_lock.
void do_page_cache_ra(address_space& mapping, u64 index, u64 nr, u64 lookahead, ra_wait wait) {
  const u64 marked = lookahead != 0 ? index + nr - lookahead : ~u64{0};
  const u64 size = i_size_pages(mapping.host);
  const u64 end = index < size ? index + std::min(nr, size - index) : index;
  readahead_run run(mapping, wait);
  page_stock stock(end - index);
  for (; index < end; ++index) {
    if (!mapping.i_pages.load(index).none()) {
      run.read();
      continue;
    }
    page* page = stock.take();
    if (page == nullptr || !run.add(page, index, index == marked)) return;
  }
}

} // namespace

// ---- what is worth it ------------------------------------------------------------------------------------

namespace {

/// How many misses more than hits it takes to give up reading around (Linux's MMAP_LOTSAMISS).
constexpr u32 MMAP_LOTSAMISS = 100;
/// How much is read around a page at most, as nobody knows whether it is of use.
constexpr u64 RA_AROUND = 32;

/// A first window, of someone who wants so much at once.
u64 get_init_ra_size(u64 wanted, u64 max) {
  const u64 size = std::bit_ceil(wanted);
  if (size <= max / 32) return size * 4;
  return size <= max / 4 ? size * 2 : max;
}

u64 get_next_ra_size(u64 size, u64 max) { return std::min(size < max / 16 ? 4 * size : 2 * size, max); }

struct ra_window {
  u64 start;
  u64 size;
  u64 async_size;
};

/// A new window, which is read.
void read_window(file& f, const ra_window& window, ra_wait wait) {
  WRITE_ONCE(f.f_ra.start, window.start);
  WRITE_ONCE(f.f_ra.size, static_cast<u32>(window.size));
  WRITE_ONCE(f.f_ra.async_size, static_cast<u32>(window.async_size));
  do_page_cache_ra(f.mapping(), window.start, window.size, window.async_size, wait);
}

/// For who goes through the file in order, if that is what it looks like.
void ondemand_readahead(file& f, u64 index, u64 wanted, bool sequential) {
  const u64 max = f.mapping().ra_pages;
  wanted = std::min(wanted, max);
  const u64 size = READ_ONCE(f.f_ra.size);
  if (size != 0 && index == READ_ONCE(f.f_ra.start) + size) {
    const u64 next = get_next_ra_size(size, max);
    return read_window(f, {index, next, next}, ra_wait::yes);
  }
  // the next one, or the same again, or from the beginning
  const bool next = index - READ_ONCE(f.f_ra.prev_index) <= 1;
  if (index == 0 || next || sequential) {
    const u64 first = get_init_ra_size(wanted, max);
    return read_window(f, {index, first, first > wanted ? first - wanted : first}, ra_wait::yes);
  }
  // at random: what is asked for, and no guess
  do_page_cache_ra(f.mapping(), index, wanted, 0, ra_wait::yes);
}

/// For a fault: the pages around, while that is of use.
void do_sync_mmap_readahead(file& f, u64 index, vm_flags_t vm_flags) {
  if ((vm_flags & VM_RAND_READ) != 0) return;
  if ((vm_flags & VM_SEQ_READ) != 0) return ondemand_readahead(f, index, 1, true);
  const u32 misses = READ_ONCE(f.f_ra.mmap_miss);
  if (misses < 10 * MMAP_LOTSAMISS) WRITE_ONCE(f.f_ra.mmap_miss, misses + 1);
  if (misses > MMAP_LOTSAMISS) return;
  const u64 around = std::min<u64>(f.mapping().ra_pages, RA_AROUND);
  read_window(f, {index - std::min<u64>(index, around / 2), around, around / 4}, ra_wait::yes);
}

/// The window after the one whose mark is at `index`; none if the pages that follow are there.
ra_window next_window(const file& f, u64 index, u64 wanted) {
  const u64 max = f.mapping().ra_pages;
  const u64 end = READ_ONCE(f.f_ra.start) + READ_ONCE(f.f_ra.size);
  if (index == end - READ_ONCE(f.f_ra.async_size)) {
    const u64 size = get_next_ra_size(READ_ONCE(f.f_ra.size), max);
    return {end, size, size};
  }
  // another reader's mark, or the guess has been lost: from the first page on that is not there
  u64 start = index + 1;
  while (start <= index + max && !f.mapping().i_pages.load(start).none())
    ++start;
  if (start > index + max) return {start, 0, 0};
  const u64 size = get_next_ra_size(start - index + wanted, max);
  return {start, size, size};
}

/// Whether the page at the index has the mark; not any more.
bool take_mark(address_space& mapping, u64 index) {
  const xa_entry entry = mapping.i_pages.load(index);
  if (!entry.is_folio() || !folio_test_readahead(entry.folio())) return false; // a look at whatever it is
  folio* folio = filemap_get_folio(mapping, index);
  if (folio == nullptr) return false;
  const bool marked = folio_test_clear_readahead(folio);
  folio_put(folio);
  return marked;
}

} // namespace

void page_cache_sync_ra(file& f, u64 index, const ra_request& request) {
  if (request.mapped)
    do_sync_mmap_readahead(f, index, request.vm_flags);
  else
    ondemand_readahead(f, index, request.wanted, false);
}

void page_cache_async_ra(file& f, u64 index, const ra_request& request) {
  if ((request.vm_flags & VM_RAND_READ) != 0 || !take_mark(f.mapping(), index)) return;
  const ra_window next = next_window(f, index, std::min<u64>(request.wanted, f.mapping().ra_pages));
  if (next.size == 0) return;
  read_guard invalidate_lock(f.mapping().invalidate_lock);
  read_window(f, next, ra_wait::no);
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
    do_page_cache_ra(mapping, index, n, 0, ra_wait::no);
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
