// The kernel's side of every figure: its mmap, its faults, its page pinning, on this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bench/workload.h"

namespace racewalk::bench {

/// What backs a mapping.
enum class backing {
  small_pages,  ///< anonymous, 4 KiB
  huge_pages,   ///< anonymous, 2 MiB (madvise)
  private_file, ///< MAP_PRIVATE of a file of the thread's own
  shared_file,  ///< MAP_SHARED of one
};

/// The name of a file that does not exist yet, for one workload.
std::string temporary_file_name();

/// What both sides do with memory that they have a pointer to.
inline std::uint64_t sum_words(const std::byte* at, std::size_t bytes) {
  const auto* word = reinterpret_cast<const std::uint64_t*>(at);
  std::uint64_t sum = 0;
  for (const auto* end = word + bytes / sizeof *word; word != end; ++word)
    sum += __atomic_load_n(word, __ATOMIC_RELAXED);
  return sum;
}

class kernel_side {
 public:
  kernel_side(unsigned /*threads*/, std::uint64_t /*memory*/) {}

  /// A thread's view. Lives on its thread.
  class cpu {
   public:
    cpu(kernel_side& /*side*/, unsigned /*id*/) {}
    ~cpu();
    cpu(const cpu&) = delete;
    cpu& operator=(const cpu&) = delete;

    static std::uint64_t load(std::uint64_t at) {
      return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_RELAXED);
    }
    static constexpr bool gathers = false; ///< its loads are what there is
    static std::uint64_t sum(std::uint64_t from, std::size_t bytes) {
      return sum_words(reinterpret_cast<const std::byte*>(from), bytes);
    }
    static void store(std::uint64_t at, std::uint64_t value) {
      __atomic_store_n(reinterpret_cast<std::uint64_t*>(at), value, __ATOMIC_RELAXED);
    }
    std::uint64_t map(std::size_t bytes, backing b);
    static void unmap(std::uint64_t at, std::size_t bytes);
    static void dont_need(std::uint64_t at, std::size_t bytes);
    static void protect(std::uint64_t at, std::size_t bytes, bool writable);
    /// Huge pages where they fit from now on; and what is there made one.
    static void want_huge(std::uint64_t at, std::size_t bytes);
    static void collapse(std::uint64_t at, std::size_t bytes);
    /// What was stored to a shared file is on the disk.
    static void sync(std::uint64_t at, std::size_t bytes);
    /// Forgets which pages have been used.
    static void clear_refs();
    /// How long it takes to move so many pages as the range, which is touched, has. The kernel moves pages to
    /// another node or, on a machine that has but one, to make large blocks: it is told to, when there is
    /// memory in pieces, and the time divided by the pages that it moved, its search for them included.
    static nanoseconds move_pages(std::uint64_t at, std::size_t bytes);
    /// Whether it does so here when it is told to.
    static bool can_move_pages();

   private:
    int file(std::size_t bytes);

    int file_ = -1;
  };

  /// Pins pages by lending them to a pipe, unpins them by draining it: the cheapest way to GUP-fast and back
  /// that a program has (registering the same pages with io_uring costs 5 to 40 % more).
  class pinner {
   public:
    explicit pinner(cpu& owner);
    ~pinner();
    pinner(const pinner&) = delete;
    pinner& operator=(const pinner&) = delete;
    void pin_and_unpin(std::uint64_t at, std::size_t pages);

   private:
    int pipe_[2];
    int null_;
  };

  /// A child that has all memory of the process and does nothing.
  class child {
   public:
    explicit child(kernel_side& side);
    ~child();
    child(const child&) = delete;
    child& operator=(const child&) = delete;

   private:
    int pid_;
  };

  /// Missing pages that a handler of the program's own fills.
  class userfaults {
   public:
    userfaults(kernel_side& side, std::uint64_t at, std::size_t bytes);
    ~userfaults();
    userfaults(const userfaults&) = delete;
    userfaults& operator=(const userfaults&) = delete;
    /// Waits for a fault and fills its page.
    void answer(const std::byte* content);
    /// Makes all pages missing again.
    void drop();

   private:
    std::uint64_t at_;
    std::size_t bytes_;
    int fd_;
  };
};

} // namespace racewalk::bench
