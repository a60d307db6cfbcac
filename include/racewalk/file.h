// Files that can be mapped into address spaces.
//
//   racewalk::File file = racewalk::File::in_memory(system, 1 << 20).value();
//   auto at = space.mmap(file, 0, 1 << 20).value();   // and in any number of other spaces
//   file.resize(4096);                                 // what is mapped beyond is a fault from now on
//
//   racewalk::File disk = racewalk::File::open(system, "data", O_RDWR).value();
//   space.msync(at, 1 << 20).value();                  // where it is mapped; or disk.sync()
//
// A File is an opening; it and its mappings keep the file. It must not outlive its System. What goes wrong is
// the error of the system call that the function is named after.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <string>

#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

class File {
 public:
  /// A file of `bytes` zeros that is made of the machine's memory, as memfd_create() makes one.
  static expected<File> in_memory(System& system, std::uint64_t bytes);

  /// A file of the host's. `flags`: O_RDONLY or O_RDWR, and O_CREAT, O_EXCL, O_TRUNC, O_NOFOLLOW, O_DIRECT;
  /// `mode`: the rights of a file that is made. What is no regular file is refused (is_a_directory,
  /// no_such_device), and so is O_WRONLY (permission_denied).
  ///
  /// O_DIRECT: from now on the file's pages, for whomever, go past the host's page cache, where its file
  /// system can do that; where not, it changes nothing. So a file that is larger than the System's memory
  /// takes no more of the host's than that. Without it, a page that comes back may be in the host's memory
  /// still.
  ///
  /// All openings of a file in one System share its pages. Pages are read when they are first touched. What
  /// is stored is written by sync(), msync(), writeback in the background, and when the last File and mapping
  /// has gone. Another program sees it then; a size that this System changes it sees at once. What another
  /// program writes is seen where no page was in memory before; a size that it changes is noticed by the next
  /// call here, or by a touch of a page that is not in memory, which is fault_result::sigbus if the host's
  /// file ends before. A page that cannot be read is fault_result::sigbus, too.
  static expected<File> open(System& system, const std::string& path, int flags, mode_t mode = 0666);

  File(File&& other) noexcept : system_(other.system_), file_(std::exchange(other.file_, nullptr)) {}
  File& operator=(File&& other) noexcept {
    std::swap(system_, other.system_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~File();

  [[nodiscard]] std::uint64_t size() const;

  /// pread(): bytes from `offset` on, as mappings have them; fewer at the end of the file. How many.
  expected<std::size_t> read(std::uint64_t offset, std::span<std::byte> to);
  /// pwrite(): the file grows if it must. How many bytes have been written: fewer if an error ended it.
  expected<std::size_t> write(std::uint64_t offset, std::span<const std::byte> from);

  /// fsync(): everything that was stored before, by mappings and write(), and whose pins are gone, stays
  /// whatever happens. An error of writing since the last call is told once to each File; pages that could
  /// not be written are kept, and the next call tries again.
  expected<void> sync();
  /// fdatasync().
  expected<void> datasync();

  /// ftruncate(). What is cut off is gone from all mappings, private copies included.
  expected<void> resize(std::uint64_t bytes);
  /// fallocate(FALLOC_FL_PUNCH_HOLE): [offset, offset + bytes) reads as zero from now on, and its whole pages
  /// are given back. Private copies stay.
  expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes);

  /// Whether a page's content stays as it is while it is on its way to the disk, for whomever has the file
  /// open: a store waits then. For what makes checksums of what is written, below the file. At first it need
  /// not. What is on its way already may still change.
  void set_stable_writes(bool stable);

  /// The manager's own view.
  [[nodiscard]] file& opening() const { return *file_; }

 private:
  friend class DeviceMemory;
  File(System& system, file& opening) : system_(&system), file_(&opening) {}

  System* system_;
  file* file_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
