// Files that can be mapped into address spaces.
//
//   racewalk::File file = racewalk::File::in_memory(system, 1 << 20).value();
//   auto at = space.mmap(file, 0, 1 << 20).value();   // and in any number of other spaces
//   file.resize(4096);                                 // what is mapped beyond is a fault from now on
//
// A File is an opening; it and its mappings keep the file. It must not outlive its System.
#pragma once

#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

class File {
 public:
  /// A file of `bytes` zeros that is made of the machine's memory, as memfd_create() makes one.
  static expected<File> in_memory(System& system, std::uint64_t bytes);

  File(File&& other) noexcept : system_(other.system_), file_(std::exchange(other.file_, nullptr)) {}
  File& operator=(File&& other) noexcept {
    std::swap(system_, other.system_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~File();

  [[nodiscard]] std::uint64_t size() const;
  /// ftruncate(). What is cut off is gone from all mappings, private copies included.
  expected<void> resize(std::uint64_t bytes);
  /// fallocate(FALLOC_FL_PUNCH_HOLE): [offset, offset + bytes) reads as zero from now on, and its whole pages
  /// are given back. Private copies stay.
  expected<void> punch_hole(std::uint64_t offset, std::uint64_t bytes);

  /// The manager's own view.
  [[nodiscard]] file& opening() const { return *file_; }

 private:
  File(System& system, file& opening) : system_(&system), file_(&opening) {}

  System* system_;
  file* file_;
};

} // namespace racewalk::inline RACEWALK_BACKEND
