#include "mm/hostfs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "mm/filemap.h"
#include "mm/page_pin.h"
#include "mm/page_writeback.h"
#include "mm/slab.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

hostfs_inode& HOSTFS_I(inode& i) { return static_cast<hostfs_inode&>(i); }

/// A host call again as long as a signal interrupts it. What it returns, or a negative errno.
template <class Call> long restarted(Call call) {
  for (;;) {
    const long r = call();
    if (r >= 0) return r;
    if (errno != EINTR) return -errno;
  }
}

// ---- pages -----------------------------------------------------------------------------------------------

/// How many bytes of page `index` the file has.
u64 bytes_of_page(const inode& i, u64 index) {
  const u64 size = i_size_read(i);
  const u64 pos = index << PAGE_SHIFT;
  return size <= pos ? 0 : std::min<u64>(PAGE_SIZE, size - pos);
}

/// Pages that one transfer takes.
constexpr unsigned MAX_VECTORS = 128;

/// Whether these pages are whole.
bool whole_pages(const inode& i, u64 index, u64 nr) { return i_size_read(i) >> PAGE_SHIFT >= index + nr; }

int fd_for(const hostfs_inode& i, io_dir dir, bool whole) {
  return whole ? i.openings.fd_for_pages(dir) : i.openings.fd(dir);
}

/// Adds bytes to a transfer whose vectors have room for one more: to the last of them, if the bytes follow in
/// memory, too. The host looks up a large piece at once.
void add_bytes(host_io& io, void* at, u64 bytes) {
  iovec* vectors = io.vectors.data();
  std::size_t nr = io.vectors.size();
  if (nr != 0 && static_cast<std::byte*>(vectors[nr - 1].iov_base) + vectors[nr - 1].iov_len == at)
    vectors[nr - 1].iov_len += bytes;
  else
    vectors[nr++] = {at, bytes};
  io.vectors = std::span(vectors, nr);
  io.bytes += bytes;
}

/// A run of pages on its way in; it is not moved.
class read_run : public async_io {
 public:
  read_run(hostfs_inode& i, u64 index, std::span<page* const> pages)
      : async_io{.dir = io_dir::read,
                 .io = {fd_for(i, io_dir::read, whole_pages(i, index, pages.size())), index << PAGE_SHIFT,
                        std::span(vectors_, 0), 0},
                 .done = end_readahead},
        inode_(i), nr_(static_cast<unsigned>(pages.size())) {
    for (u64 n = 0; n < pages.size(); ++n) {
      pages_[n] = pages[n];
      add_bytes(io, page_address(pages[n]), PAGE_SIZE);
      wanted_ += bytes_of_page(i, index + n);
    }
  }
  read_run(const read_run&) = delete;
  read_run& operator=(const read_run&) = delete;

  /// The transfer has ended. What the host's file does not have is zero; if it has nothing of a page where
  /// ours has something, somebody has cut it: -EIO, which is a bus error to who touches it.
  int finish() {
    inode_.openings.finish(io_dir::read, io);
    if (io.error != 0) return io.error;
    for (u64 n = 0; n < nr_; ++n) {
      const u64 got = std::min(io.done - std::min(io.done, n * PAGE_SIZE), PAGE_SIZE);
      if (got == 0 && n * PAGE_SIZE < wanted_) return -EIO;
      std::memset(static_cast<std::byte*>(page_address(pages_[n])) + got, 0, PAGE_SIZE - got);
    }
    return 0;
  }

 private:
  /// Nobody waits for it, but perhaps for its pages. Who has waited for the last one may free the inode.
  static void end_readahead(async_io& a) {
    const std::unique_ptr<read_run> run(static_cast<read_run*>(&a));
    const bool success = run->finish() == 0;
    for (page* page : std::span(run->pages_, run->nr_)) {
      folio_end_read(page_folio(page), success);
      folio_put(page_folio(page));
    }
  }

  hostfs_inode& inode_;
  const unsigned nr_;
  u64 wanted_ = 0; ///< bytes that the file has of them
  page* pages_[MAX_VECTORS];
  iovec vectors_[MAX_VECTORS];
};

/// Calls f(index, pages) for parts of at most MAX_VECTORS pages.
template <class F> void for_each_run(u64 index, page* const* pages, unsigned nr, F&& f) {
  for (unsigned n = 0; n < nr; n += MAX_VECTORS)
    f(index + n, std::span(pages + n, std::min(nr - n, MAX_VECTORS)));
}

int hostfs_read_pages(address_space& mapping, u64 index, page* const* pages, unsigned nr) {
  hostfs_inode& i = HOSTFS_I(mapping.host);
  int error = 0;
  for_each_run(index, pages, nr, [&](u64 first, std::span<page* const> part) {
    if (error != 0) return;
    read_run run(i, first, part);
    i.fs.io.submit_and_wait(io_dir::read, std::span(&run.io, 1));
    error = run.finish();
  });
  return error;
}

void hostfs_readahead(address_space& mapping, u64 index, page* const* pages, unsigned nr) {
  hostfs_inode& i = HOSTFS_I(mapping.host);
  for_each_run(index, pages, nr, [&](u64 first, std::span<page* const> part) {
    if (auto* run = kmalloc_obj<read_run>(i, first, part)) {
      i.fs.io.submit(*run);
      return;
    }
    for (page* page : part) { // without memory they are left to who wants them
      folio_end_read(page_folio(page), false);
      folio_put(page_folio(page));
    }
  });
}

/// Writes at most MAX_VECTORS pages, up to the end of the file: pages that follow each other in one transfer.
void write_runs(hostfs_inode& i, std::span<page_io> pages) {
  iovec vectors[MAX_VECTORS];
  host_io ios[MAX_VECTORS];
  unsigned run_of[MAX_VECTORS]; // which transfer a page is a part of
  u64 end_in_run[MAX_VECTORS];  // how many bytes of that are done when the page is
  unsigned nr = 0;
  for (u64 n = 0; n < pages.size(); ++n) {
    const u64 offset = pages[n].index << PAGE_SHIFT;
    const u64 bytes = bytes_of_page(i, pages[n].index);
    const int fd = fd_for(i, io_dir::write, bytes == PAGE_SIZE);
    if (nr == 0 || ios[nr - 1].offset + ios[nr - 1].bytes != offset || ios[nr - 1].fd != fd)
      ios[nr++] = {fd, offset, std::span(vectors + n, 0), 0};
    add_bytes(ios[nr - 1], page_address(pages[n].content), bytes);
    run_of[n] = nr - 1;
    end_in_run[n] = ios[nr - 1].bytes;
  }
  i.fs.io.submit_and_wait(io_dir::write, std::span(ios, nr));
  for (host_io& io : std::span(ios, nr))
    i.openings.finish(io_dir::write, io);
  for (u64 n = 0; n < pages.size(); ++n) {
    const host_io& io = ios[run_of[n]];
    pages[n].error = io.done >= end_in_run[n] ? 0 : io.error;
    if (pages[n].error == 0) i.fs.wb.written();
  }
}

void hostfs_write_pages(address_space& mapping, std::span<page_io> pages) {
  for (u64 n = 0; n < pages.size(); n += MAX_VECTORS)
    write_runs(HOSTFS_I(mapping.host), pages.subspan(n, std::min<u64>(pages.size() - n, MAX_VECTORS)));
}

/// Room on the host's disk for bytes [start, end), unless the whole file has. Where the host cannot say,
/// writing them will.
int hostfs_reserve(inode& of, u64 start, u64 end) {
  hostfs_inode& i = HOSTFS_I(of);
  if (!i.i_sparse) return 0;
  if (i.fs.fail_reserve.should_fail()) return -i.fs.fail_reserve.error;
  const int fd = i.openings.fd(io_dir::write);
  const long r = restarted([&] {
    return ::fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start), static_cast<off_t>(end - start));
  });
  return r == -EOPNOTSUPP ? 0 : static_cast<int>(r);
}

/// The most pages for which room is found at once.
constexpr u64 MAX_ROOM = 256;

/// Room for a page that is about to be stored to: for more of the file behind it, if the pages before it have
/// been.
int find_room(hostfs_inode& i, u64 index) {
  std::lock_guard guard(i.room_lock);
  if (index >= i.room_start && index < i.room_end) return 0;
  const auto reserve = [&](u64 end) { return hostfs_reserve(i, index << PAGE_SHIFT, end << PAGE_SHIFT); };
  const u64 run = index == i.room_end ? std::min(2 * (i.room_end - i.room_start), MAX_ROOM) : 0;
  u64 end = std::max(index + 1, std::min(index + run, i_size_pages(i)));
  int error = reserve(end);
  if (error != 0 && end != index + 1) error = reserve(end = index + 1);
  if (error != 0) return error;
  i.room_start = index;
  i.room_end = end;
  return 0;
}

/// Counts it, and finds room for it.
int hostfs_page_mkwrite(address_space& mapping, folio* folio) {
  if (!folio_test_mappedtodisk(folio)) {
    if (const int error = find_room(HOSTFS_I(mapping.host), folio_index(folio))) return error;
    folio_set_mappedtodisk(folio);
  }
  if (!folio_test_dirty(folio)) HOSTFS_I(mapping.host).fs.wb.dirtied();
  return 0;
}

void hostfs_balance_dirty(address_space& mapping) { HOSTFS_I(mapping.host).fs.wb.balance_dirty_pages(); }

// ---- the file as a whole ---------------------------------------------------------------------------------

/// Gives room on the disk back, by a system call, of which the result is returned.
template <class Call> int give_room_back(hostfs_inode& i, Call call) {
  std::lock_guard guard(i.room_lock);
  i.room_start = i.room_end = 0;
  return static_cast<int>(restarted(call));
}

int hostfs_set_size(inode& of, u64 bytes) {
  hostfs_inode& i = HOSTFS_I(of);
  if (bytes > i_size_read(i)) i.i_sparse = true;
  return give_room_back(i,
                        [&] { return ::ftruncate(i.openings.fd(io_dir::write), static_cast<off_t>(bytes)); });
}

/// The same by writing zeros, up to the end of the file.
int write_zeros(int fd, u64 start, u64 end) {
  static constexpr std::byte ZEROS[PAGE_SIZE]{};
  while (start < end) {
    const u64 bytes = std::min<u64>(end - start, sizeof ZEROS);
    const long n = restarted([&] { return ::pwrite(fd, ZEROS, bytes, static_cast<off_t>(start)); });
    if (n <= 0) return n < 0 ? static_cast<int>(n) : -EIO;
    start += static_cast<u64>(n);
  }
  return 0;
}

int hostfs_punch_hole(inode& of, u64 start, u64 end) {
  hostfs_inode& i = HOSTFS_I(of);
  const int fd = i.openings.fd(io_dir::write);
  i.i_sparse = true;
  const int r = give_room_back(i, [&] {
    return ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(start),
                       static_cast<off_t>(end - start));
  });
  // what is in memory of it is gone already, so that it must be zero even if there can be no hole
  return r == -EOPNOTSUPP ? write_zeros(fd, start, std::min(end, i_size_read(i))) : r;
}

int hostfs_fsync(inode& i, bool datasync) {
  const int fd =
      HOSTFS_I(i).openings.fd(io_dir::read); // whichever opening: it is the file that is synchronized
  return static_cast<int>(restarted([&] { return datasync ? ::fdatasync(fd) : ::fsync(fd); }));
}

long host_size(hostfs_inode& i) {
  struct stat st;
  const long r = restarted([&] { return ::fstat(i.openings.fd(io_dir::read), &st); });
  return r < 0 ? r : st.st_size;
}

/// Drops the page in which the file ended: the host has more of it than was read.
void forget_last_page(address_space& mapping, u64 size) {
  const u64 index = size >> PAGE_SHIFT;
  if (size % PAGE_SIZE == 0) return;
  (void)write_cache_pages(mapping, index, index);
  truncate_inode_pages_range(mapping, index, index);
}

int hostfs_revalidate(inode& of) {
  hostfs_inode& i = HOSTFS_I(of);
  long now = host_size(i);
  if (now < 0) return static_cast<int>(now);
  if (static_cast<u64>(now) == i_size_read(i)) return 0;
  // or somebody here is changing it
  write_guard i_rwsem(i.i_rwsem);
  write_guard invalidate_lock(i.i_data.invalidate_lock);
  now = host_size(i);
  const u64 was = i_size_read(i);
  if (now < 0 || static_cast<u64>(now) == was) return static_cast<int>(std::min(now, 0L));
  i.i_sparse = true; // for all that is known
  if (static_cast<u64>(now) > was) forget_last_page(i.i_data, was);
  (void)truncate_setsize(i, static_cast<u64>(now)); // it is on a disk
  return 0;
}

void hostfs_put(inode& i) { HOSTFS_I(i).fs.put(HOSTFS_I(i)); }
void hostfs_evict(inode& i) { delete &HOSTFS_I(i); }

constexpr address_space_operations HOSTFS_AOPS{.read_pages = hostfs_read_pages,
                                               .readahead = hostfs_readahead,
                                               .write_pages = hostfs_write_pages,
                                               .page_mkwrite = hostfs_page_mkwrite,
                                               .balance_dirty = hostfs_balance_dirty};
constexpr inode_operations HOSTFS_IOPS{.set_size = hostfs_set_size,
                                       .punch_hole = hostfs_punch_hole,
                                       .reserve = hostfs_reserve,
                                       .fsync = hostfs_fsync,
                                       .revalidate = hostfs_revalidate,
                                       .put = hostfs_put,
                                       .evict = hostfs_evict};

} // namespace

// ---- opening ---------------------------------------------------------------------------------------------

namespace {

/// Whether the flags are those of an opening that can be mapped. 0 or a negative errno.
int check_flags(int flags) {
  if ((flags & ~(O_ACCMODE | O_CREAT | O_EXCL | O_NOFOLLOW | O_DIRECT | O_CLOEXEC)) != 0) return -EINVAL;
  if ((flags & O_ACCMODE) == O_WRONLY) return -EACCES;
  return (flags & O_ACCMODE) == O_ACCMODE ? -EINVAL : 0;
}

int check_type(const struct stat& st) {
  if (S_ISDIR(st.st_mode)) return -EISDIR;
  return S_ISREG(st.st_mode) ? 0 : -ENODEV;
}

/// For who goes through a file in order.
unsigned read_ahead_pages() {
  return static_cast<unsigned>(std::clamp<u64>(machine().nr_pages() / hostfs::RA_PART_OF_MEMORY,
                                               hostfs::RA_PAGES, hostfs::RA_PAGES_IN_ORDER));
}

/// A descriptor that is closed, unless somebody takes it over.
class descriptor {
 public:
  explicit descriptor(int fd) : fd_(fd) {}
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

} // namespace

int hostfs::open(const char* path, int flags, mode_t mode, file** opened) {
  if (const int error = check_flags(flags)) return error;
  // O_NONBLOCK: a pipe that nobody writes to is refused, not waited for
  const int host_flags = (flags & ~O_DIRECT) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const long fd = restarted([&] { return ::open(path, host_flags, mode); });
  if (fd < 0) return static_cast<int>(fd);
  const bool writable = (flags & O_ACCMODE) == O_RDWR;
  hostfs_inode* i = nullptr;
  if (const int error = iget(static_cast<int>(fd), flags, &i)) return error;
  *opened = kmalloc_obj<file>(*i, writable ? FMODE_READ | FMODE_WRITE : FMODE_READ);
  if (*opened == nullptr) {
    put(*i);
    return -ENOMEM;
  }
  WRITE_ONCE((*opened)->f_wb_err, errseq::sample(i->i_data.wb_err));
  return 0;
}

/// The inode of a file that has just been opened, with a reference; takes the descriptor.
int hostfs::iget(int fd, int flags, hostfs_inode** got) {
  descriptor opening(fd);
  std::unique_lock guard(lock_);
  for (;;) {
    struct stat st;
    if (::fstat(fd, &st) != 0) return -errno;
    if (const int error = check_type(st)) return error;
    hostfs_inode*& known = inodes_[{st.st_dev, st.st_ino}];
    if (known != nullptr && known->i_freeing) {
      changed_.wait(guard);
      continue;
    }
    if (known == nullptr) {
      known = kmalloc_obj<hostfs_inode>(*this, hostfs_inode::number{st.st_dev, st.st_ino});
      if (known == nullptr) {
        inodes_.erase({st.st_dev, st.st_ino});
        return -ENOMEM;
      }
      known->i_data.a_ops = &HOSTFS_AOPS;
      known->i_data.tracks_dirty = true;
      known->i_data.ra_pages = read_ahead_pages();
      known->i_op = &HOSTFS_IOPS;
      known->i_sparse = ::lseek(opening.get(), 0, SEEK_HOLE) < st.st_size;
      atomic_set(known->i_size, static_cast<s64>(st.st_size));
    } else {
      atomic_inc(known->i_count); // perhaps from 0, if it has stayed
    }
    known->openings.adopt(opening.release(), (flags & O_ACCMODE) == O_RDWR);
    if ((flags & O_DIRECT) != 0) known->openings.bypass_page_cache();
    *got = known;
    return 0;
  }
}

// ---- closing ---------------------------------------------------------------------------------------------

namespace {

bool anything_pinned(address_space& mapping) {
  for (u64 index = 0;; ++index) {
    folio* folio = filemap_get_next_folio(mapping, &index, ~u64{0});
    if (folio == nullptr) return false;
    const bool pinned = folio_maybe_dma_pinned(folio);
    folio_put(folio);
    if (pinned) return true;
  }
}

} // namespace

void hostfs::put(hostfs_inode& i) {
  if (atomic_add_unless(i.i_count, -1, 1)) return;
  {
    std::lock_guard guard(lock_); // nobody finds it between the last reference and i_freeing
    if (!atomic_dec_and_test(i.i_count)) return;
    i.i_freeing = true;
  }
  drop(i);
}

/// Nobody has the inode any more, which is freeing: it is written and goes, or stays. Whether it has gone.
bool hostfs::drop(hostfs_inode& i) {
  (void)write_cache_pages(i.i_data, 0, ~u64{0}); // there is nobody left to be told of an error
  filemap_fdatawait_range(i.i_data, 0, ~u64{0});
  const bool stays = anything_pinned(i.i_data);
  {
    std::lock_guard guard(lock_);
    i.i_freeing = false;
    if (!stays) inodes_.erase(i.i_no);
    changed_.notify_all();
  }
  if (!stays) evict_inode(i);
  return !stays;
}

// ---- the flusher -----------------------------------------------------------------------------------------

/// All inodes, with a reference to each: also those that have stayed, which go with it if they can.
std::vector<hostfs_inode*> hostfs::grab_all() {
  std::vector<hostfs_inode*> all;
  std::lock_guard guard(lock_);
  for (const auto& [number, i] : inodes_) {
    if (i->i_freeing) continue;
    atomic_inc(i->i_count);
    all.push_back(i);
  }
  return all;
}

namespace {

u64 count_dirty(const address_space& mapping) {
  u64 count = 0;
  for (u64 index = 0;; ++index) {
    const xa_entry entry = mapping.i_pages.find(&index, ~u64{0});
    if (entry.none()) return count;
    count += (entry.val & xa_entry::DIRTY) != 0;
  }
}

} // namespace

void hostfs::do_writeback(const std::stop_token& stop) {
  const auto now = std::chrono::steady_clock::now();
  const auto expire = wb.tuning().dirty_expire;
  const std::vector<hostfs_inode*> inodes = grab_all();
  u64 dirty = 0;
  for (hostfs_inode* i : inodes) {
    const u64 of_this = count_dirty(i->i_data);
    dirty += of_this;
    if (of_this == 0)
      i->dirtied_when.reset();
    else if (!i->dirtied_when)
      i->dirtied_when = now;
  }
  wb.found(dirty);
  const bool all = wb.over_background();
  for (hostfs_inode* i : inodes) {
    if (i->dirtied_when && !stop.stop_requested() && (all || now - *i->dirtied_when >= expire)) {
      (void)write_cache_pages(i->i_data, 0, ~u64{0}); // wb_err has it
      i->dirtied_when.reset();
    }
    put(*i);
  }
  wb.pass_done();
}

hostfs::~hostfs() {
  while (!inodes_.empty()) {
    hostfs_inode& i = *inodes_.begin()->second;
    VM_BUG_ON(atomic_read(i.i_count) != 0, "INV-REF", "a system goes while its files are open");
    const bool gone = drop(i);
    VM_BUG_ON(!gone, "INV-REF", "a system goes while a file is pinned");
  }
}

} // namespace racewalk::inline RACEWALK_BACKEND
