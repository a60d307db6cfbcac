// What is larger than memory, mapped: ours, the kernel's under the same limit, and what direct I/O does with
// a file of the same size.
//
// Side: of a file, limited_racewalk or limited_kernel; of anonymous memory with a swap file,
// swapping_racewalk or swapping_kernel. The kernel's is run by limited_process.h. Each round begins with
// nothing of the file in any cache, or with anonymous memory that has been stored to from its beginning to
// its end. A round of random accesses then fills memory with the first part, which does not count; one that
// stores to a file counts until everything is on the disk. On both sides the mapping is said to be used at
// random (MADV_RANDOM), or nothing is said.
#pragma once

#include "bench/racewalk_side.h"
#include "bench/workloads.h"
#include "racewalk/writeback.h"

namespace racewalk::bench {

constexpr std::size_t core_bytes = 256 * MiB; ///< the memory that there is
constexpr std::size_t file_bytes = 4 * core_bytes;

/// A file of file_bytes that are on the disk, without a name: it goes with this process and its children.
class large_file {
 public:
  large_file();
  ~large_file();
  large_file(const large_file&) = delete;
  large_file& operator=(const large_file&) = delete;

  /// To open it by, here and in a child.
  [[nodiscard]] std::string path() const;
  /// Nothing of it is in the host's page cache, as far as nobody has it mapped.
  void drop_caches() const;

 private:
  int fd_;
};

/// The kernel; the process is limited already.
class limited_kernel : public kernel_side {
 public:
  using kernel_side::kernel_side;

  static std::uint64_t map(cpu& on, const large_file& file);
  static void unmap(cpu& on, std::uint64_t at);
  static void at_random(std::uint64_t at);
};

/// The same with anonymous memory, and a swap file.
class swapping_kernel : public kernel_side {
 public:
  using kernel_side::kernel_side;

  static std::uint64_t map(cpu& on, const large_file& instead_of);
  static void unmap(cpu& on, std::uint64_t at) { limited_kernel::unmap(on, at); }
  static void at_random(std::uint64_t at) { limited_kernel::at_random(at); }
};

constexpr std::size_t swap_bytes = 2 * file_bytes;

/// Stores to each page, in order.
template <class Cpu> std::uint64_t fill(Cpu& cpu, std::uint64_t at) {
  for (std::size_t offset = 0; offset < file_bytes; offset += page_bytes)
    cpu.store(at + offset, at + offset);
  return at;
}

/// A machine of exactly the memory that it is given, with kswapd and the flusher at work as they are in the
/// kernel.
class limited_racewalk : public racewalk_side {
 public:
  limited_racewalk(unsigned threads, std::uint64_t memory) : racewalk_side(threads, memory - slack) {
    system_.reclaim().start_kswapd();
    flusher_.start();
  }

  std::uint64_t map(cpu& /*on*/, const large_file& file) {
    file_.emplace(File::open(system_, file.path(), O_RDWR | O_DIRECT).value());
    return space_->mmap(*file_, 0, file_bytes).value();
  }
  /// With the mapping and the opening the file's pages go.
  void unmap(cpu& /*on*/, std::uint64_t at) {
    space_->munmap(at, file_bytes).value();
    file_.reset();
  }
  void at_random(std::uint64_t at) { space_->madvise(at, file_bytes, MADV_RANDOM).value(); }

 private:
  Writeback flusher_{system_};
  std::optional<File> file_;
};

/// The same with anonymous memory, and a swap file that takes no memory of the host.
class swapping_racewalk : public limited_racewalk {
 public:
  swapping_racewalk(unsigned threads, std::uint64_t memory) : limited_racewalk(threads, memory) {
    const std::string name = temporary_file_name();
    system_.reclaim().swapon(name, swap_bytes).value();
    std::filesystem::remove(name);
  }

  static std::uint64_t map(cpu& on, const large_file& /*instead_of*/) {
    return fill(on, on.map(file_bytes, backing::small_pages));
  }
  static void unmap(cpu& on, std::uint64_t at) { on.unmap(at, file_bytes); }
};

constexpr unsigned gathered_at_once = 16;

enum class disk_access {
  scan,       ///< an 8-byte load from each page, one after the other
  load,       ///< 8-byte loads at random
  gather,     ///< the same, 16 at a time
  load_store, ///< half of them stores
};

/// Where a thread goes next: a page, and which kind of access it is.
class random_walk : public xorshift {
 public:
  using xorshift::xorshift;
  static std::size_t offset(std::uint64_t random) { return random % file_bytes & ~std::uint64_t{7}; }
  static bool stores(std::uint64_t random) { return (random >> 62 & 1) != 0; }
};

template <class Side> class out_of_core : public shared_space<Side> {
 public:
  out_of_core(unsigned threads, disk_access a, std::shared_ptr<const large_file> file)
      : shared_space<Side>(threads, core_bytes), access_(a), file_(std::move(file)) {
    for (unsigned i = 0; i < threads; i++)
      walks_.emplace_back(i);
  }
  nanoseconds run(std::uint64_t iterations) override {
    alone([this](auto& cpu) { this->begin(cpu); });
    nanoseconds counted = this->together([this, iterations](unsigned i) {
      access_ == disk_access::scan ? scan(this->on(i), iterations) : walk(this->on(i), walks_[i], iterations);
    });
    if (access_ == disk_access::load_store)
      counted += alone([this](auto& cpu) { cpu.sync(at_, file_bytes); });
    alone([this](auto& cpu) { this->side().unmap(cpu, at_); });
    return counted;
  }

 private:
  template <class Job> nanoseconds alone(Job job) {
    return this->together([this, job](unsigned i) {
      if (i == 0) job(this->on(0));
    });
  }
  template <class Cpu> void begin(Cpu& cpu) {
    file_->drop_caches();
    at_ = this->side().map(cpu, *file_);
    if (access_ == disk_access::scan) return;
    scan(cpu, core_bytes / page_bytes);
    this->side().at_random(at_);
  }
  template <class Cpu> void scan(Cpu& cpu, std::uint64_t pages) {
    const std::uint64_t at = at_;
    std::uint64_t sum = 0;
    for (std::uint64_t n = 0; n < pages; n++)
      sum += cpu.load(at + n * page_bytes % file_bytes);
    keep(sum);
  }
  template <class Cpu> void walk(Cpu& cpu, random_walk& walk, std::uint64_t accesses) {
    const std::uint64_t at = at_;
    if (access_ == disk_access::gather)
      return keep(sum_gathered(cpu, accesses, gathered_at_once,
                               [&walk, at] { return at + random_walk::offset(walk.next()); }));
    const bool may_store = access_ == disk_access::load_store;
    std::uint64_t sum = 0;
    for (; accesses > 0; accesses--) {
      const std::uint64_t random = walk.next();
      if (may_store && random_walk::stores(random))
        cpu.store(at + random_walk::offset(random), random);
      else
        sum += cpu.load(at + random_walk::offset(random));
    }
    keep(sum);
  }

  disk_access access_;
  std::shared_ptr<const large_file> file_;
  std::vector<random_walk> walks_;
  std::uint64_t at_ = 0;
};

/// The same accesses to the file without any cache: O_DIRECT by io_uring, as many at a time as there are
/// threads, or as these gather. At random a page each; a scan in blocks of 128 KiB, four at a time.
std::unique_ptr<workload> make_direct_io(unsigned threads, disk_access a,
                                         std::shared_ptr<const large_file> file);

} // namespace racewalk::bench
