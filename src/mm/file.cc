// The public face of files (racewalk/file.h).
#include "racewalk/file.h"

#include "mm/filemap.h"
#include "mm/house_cpu.h"
#include "mm/shmem.h"
#include "mm/truncate.h"

namespace racewalk::inline RACEWALK_BACKEND {

expected<File> File::in_memory(System& system, std::uint64_t bytes) {
  file* memory = shmem_file_setup(bytes);
  if (memory == nullptr) return std::errc::not_enough_memory;
  return File(system, *memory);
}

File::~File() {
  if (file_ == nullptr) return;
  HouseCpu cpu(*system_);
  fput(*file_);
}

std::uint64_t File::size() const { return i_size_read(*file_->f_inode); }

expected<void> File::resize(std::uint64_t bytes) {
  HouseCpu cpu(*system_);
  write_guard i_rwsem(file_->f_inode->i_rwsem);
  truncate_setsize(*file_->f_inode, bytes);
  return {};
}

expected<void> File::punch_hole(std::uint64_t offset, std::uint64_t bytes) {
  if (bytes == 0 || offset + bytes < offset) return std::errc::invalid_argument;
  HouseCpu cpu(*system_);
  write_guard i_rwsem(file_->f_inode->i_rwsem);
  if (const int error = truncate_pagecache_range(*file_->f_inode, offset, offset + bytes))
    return static_cast<std::errc>(-error);
  return {};
}

} // namespace racewalk::inline RACEWALK_BACKEND
