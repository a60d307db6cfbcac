// Our side of every figure: the native library, called as a program calls it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/kernel_side.h"
#include "mm/mmap.h"
#include "racewalk/address_space.h"
#include "racewalk/file.h"
#include "racewalk/userfaultfd.h"

namespace racewalk::bench {

class racewalk_side {
 public:
  racewalk_side(unsigned threads, std::uint64_t memory)
      : system_(memory + slack, threads), space_(std::in_place, system_) {}
  /// What RCU still has to free is freed here, not in the next figure's time.
  ~racewalk_side() {
    space_.reset();
    system_.settle();
  }
  racewalk_side(const racewalk_side&) = delete;
  racewalk_side& operator=(const racewalk_side&) = delete;

  /// A thread's view: a CPU that runs in the address space.
  class cpu {
   public:
    cpu(racewalk_side& side, unsigned id) : space_(*side.space_), session_(side.system_, id, space_) {}

    std::uint64_t load(std::uint64_t at) { return session_->load<std::uint64_t>(at).value(); }
    static constexpr bool gathers = true;
    std::uint64_t sum_of(std::span<const std::uint64_t> addresses) {
      std::array<std::uint64_t, 64> values;
      check(session_->gather(addresses, std::span(values).first(addresses.size())).ok());
      return std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(addresses.size()),
                             std::uint64_t{0});
    }
    std::uint64_t sum(std::uint64_t from, std::size_t bytes) {
      std::uint64_t sum = 0;
      check(session_
                ->for_each_span(from, bytes,
                                [&](const std::byte* at, std::size_t n) { sum += sum_words(at, n); })
                .ok());
      return sum;
    }
    void store(std::uint64_t at, std::uint64_t value) {
      check(session_->store<std::uint64_t>(at, value).ok());
    }

    std::uint64_t map(std::size_t bytes, backing b) {
      if (b == backing::private_file)
        return space_.mmap(file(bytes), 0, bytes, Sharing::private_copy).value();
      if (b == backing::shared_file) return space_.mmap(file(bytes), 0, bytes).value();
      const std::uint64_t at = space_.mmap(bytes).value();
      if (b == backing::huge_pages) want_huge(at, bytes);
      return at;
    }
    void unmap(std::uint64_t at, std::size_t bytes) { space_.munmap(at, bytes).value(); }
    void dont_need(std::uint64_t at, std::size_t bytes) { advise(at, bytes, MADV_DONTNEED); }
    void protect(std::uint64_t at, std::size_t bytes, bool writable) {
      check(vm_mprotect(space_.mm(), at, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ) == 0);
    }
    void want_huge(std::uint64_t at, std::size_t bytes) { advise(at, bytes, MADV_HUGEPAGE); }
    void collapse(std::uint64_t at, std::size_t bytes) { advise(at, bytes, MADV_COLLAPSE); }
    void sync(std::uint64_t at, std::size_t bytes) { space_.msync(at, bytes).value(); }
    void clear_refs() { check(racewalk::clear_refs(space_.mm(), clear_refs_t::all) == 0); }
    nanoseconds move_pages(std::uint64_t at, std::size_t bytes) {
      std::vector<vaddr_t> which;
      for (std::size_t offset = 0; offset < bytes; offset += PAGE_SIZE)
        which.push_back(at + offset);
      const auto from = bench_clock::now();
      const std::vector<std::errc> statuses = space_.move_pages(which);
      const nanoseconds taken = bench_clock::now() - from;
      check(std::all_of(statuses.begin(), statuses.end(), [](std::errc e) { return e == std::errc{}; }));
      return taken;
    }

   private:
    friend class racewalk_side;
    static void check(bool ok) {
      if (!ok) throw std::runtime_error("racewalk bench: an access failed");
    }

    void advise(std::uint64_t at, std::size_t bytes, int advice) {
      check(vm_madvise(space_.mm(), at, bytes, advice) == 0);
    }
    /// An unlinked file, as large as the first mapping of it.
    const File& file(std::size_t bytes) {
      if (!file_) {
        const std::string name = temporary_file_name();
        file_.emplace(File::open(space_.system(), name, O_RDWR).value());
        std::filesystem::remove(name);
        file_->resize(bytes).value();
      }
      return *file_;
    }

    AddressSpace& space_;
    std::optional<File> file_;
    CpuSession session_;
  };

  class pinner {
   public:
    explicit pinner(cpu& owner) : mm_(owner.space_.mm()) {}
    void pin_and_unpin(std::uint64_t at, std::size_t pages) {
      const long pinned = pin_user_pages_fast(mm_, at, pages, FOLL_WRITE, pages_.data());
      cpu::check(pinned == static_cast<long>(pages));
      unpin_user_pages(pages_.data(), pages);
    }

   private:
    mm_struct& mm_;
    std::array<page*, 256> pages_;
  };

  class child {
   public:
    explicit child(racewalk_side& side) : space_(side.space_->fork().value()) {}

   private:
    std::unique_ptr<AddressSpace> space_;
  };

  class userfaults {
   public:
    userfaults(racewalk_side& side, std::uint64_t at, std::size_t bytes)
        : mm_(side.space_->mm()), at_(at), bytes_(bytes), uffd_(*side.space_) {
      uffd_.register_range(at, bytes, Userfaultfd::MISSING).value();
    }
    void answer(const std::byte* content) {
      const auto fault = uffd_.read().value();
      static_cast<void>(uffd_.copy(fault.address, {content, PAGE_SIZE}).value());
    }
    void drop() { cpu::check(vm_madvise(mm_, at_, bytes_, MADV_DONTNEED) == 0); }

   private:
    mm_struct& mm_;
    std::uint64_t at_;
    std::size_t bytes_;
    Userfaultfd uffd_;
  };

 protected:
  static constexpr std::uint64_t slack = 64U << 20; // page tables, and frames in the CPUs' lists

  System system_;
  std::optional<AddressSpace> space_;
};

} // namespace racewalk::bench
