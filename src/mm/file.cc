// The public face of files (racewalk/file.h).
#include "racewalk/file.h"

#include "mm/filemap.h"
#include "mm/hostfs.h"
#include "mm/house_cpu.h"
#include "mm/shmem.h"
#include "mm/vfs.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

expected<void> outcome(int error) {
  if (error == 0) return {};
  return static_cast<std::errc>(-error);
}

expected<std::size_t> transferred(long n) {
  if (n < 0) return static_cast<std::errc>(-n);
  return static_cast<std::size_t>(n);
}

/// Its size is what the disk says.
int revalidate(inode& i) {
  return i.i_op == nullptr || i.i_op->revalidate == nullptr ? 0 : i.i_op->revalidate(i);
}

} // namespace

expected<File> File::in_memory(System& system, std::uint64_t bytes) {
  file* memory = shmem_file_setup(bytes);
  if (memory == nullptr) return std::errc::not_enough_memory;
  return File(system, *memory);
}

expected<File> File::open(System& system, const std::string& path, int flags, mode_t mode) {
  const bool truncates = (flags & O_TRUNC) != 0;
  if (truncates && (flags & O_ACCMODE) != O_RDWR) return std::errc::invalid_argument;
  HouseCpu cpu(system);
  file* opened = nullptr;
  if (const int error = system.hostfs_->open(path.c_str(), flags & ~O_TRUNC, mode, &opened))
    return static_cast<std::errc>(-error);
  File f(system, *opened);
  if (truncates)
    if (const int error = vfs_truncate(*opened, 0)) return static_cast<std::errc>(-error);
  return f;
}

File::~File() {
  if (file_ == nullptr) return;
  HouseCpu cpu(*system_);
  fput(*file_);
}

std::uint64_t File::size() const {
  HouseCpu cpu(*system_);
  (void)revalidate(*file_->f_inode); // else it is what it was
  return i_size_read(*file_->f_inode);
}

expected<std::size_t> File::read(std::uint64_t offset, std::span<std::byte> to) {
  HouseCpu cpu(*system_);
  if (const int error = revalidate(*file_->f_inode)) return static_cast<std::errc>(-error);
  return transferred(vfs_read(*file_, to.data(), to.size(), offset));
}

expected<std::size_t> File::write(std::uint64_t offset, std::span<const std::byte> from) {
  HouseCpu cpu(*system_);
  if (const int error = revalidate(*file_->f_inode)) return static_cast<std::errc>(-error);
  return transferred(vfs_write(*file_, from.data(), from.size(), offset));
}

expected<void> File::sync() {
  HouseCpu cpu(*system_);
  return outcome(vfs_fsync_range(*file_, 0, ~u64{0}, false));
}

expected<void> File::datasync() {
  HouseCpu cpu(*system_);
  return outcome(vfs_fsync_range(*file_, 0, ~u64{0}, true));
}

expected<void> File::resize(std::uint64_t bytes) {
  HouseCpu cpu(*system_);
  if (const int error = revalidate(*file_->f_inode)) return outcome(error);
  return outcome(vfs_truncate(*file_, bytes));
}

expected<void> File::punch_hole(std::uint64_t offset, std::uint64_t bytes) {
  HouseCpu cpu(*system_);
  if (const int error = revalidate(*file_->f_inode)) return outcome(error);
  return outcome(vfs_punch_hole(*file_, offset, bytes));
}

void File::set_stable_writes(bool stable) { WRITE_ONCE(file_->mapping().stable_writes, stable); }

} // namespace racewalk::inline RACEWALK_BACKEND
