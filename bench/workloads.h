// The figures' source, written once for both sides.
//
// Side: kernel_side or racewalk_side. Side::cpu is a thread's view of the address space that all threads of
// the workload share; a Pinner pins and unpins pages of it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "bench/crew.h"
#include "bench/kernel_side.h"
#include "bench/workload.h"

namespace racewalk::bench {

constexpr std::size_t KiB = 1024;
constexpr std::size_t MiB = 1024 * KiB;
constexpr std::size_t GiB = 1024 * MiB;
constexpr std::size_t page_bytes = 4 * KiB;
constexpr std::size_t huge_page_bytes = 2 * MiB;
constexpr unsigned max_threads = 16;

constexpr std::size_t step_of(backing b) { return b == backing::huge_pages ? huge_page_bytes : page_bytes; }

/// Keeps the compiler from dropping what was computed.
inline void keep(std::uint64_t value) { asm volatile("" : : "r"(value)); }

/// Threads that share an address space.
template <class Side> class shared_space : public workload {
 protected:
  using side_cpu = typename Side::cpu;

  shared_space(unsigned threads, std::uint64_t memory)
      : side_(threads, memory), crew_(threads, [this](unsigned i) {
          auto own = std::make_unique<side_cpu>(side_, i);
          cpus_[i] = own.get();
          return own;
        }) {}

  Side& side() { return side_; }
  side_cpu& on(unsigned i) { return *cpus_[i]; }
  nanoseconds together(const std::function<void(unsigned)>& job) { return crew_.run(job); }

  /// Maps, and touches every page.
  std::uint64_t map_touched(unsigned i, std::size_t bytes, backing b) {
    const std::uint64_t at = on(i).map(bytes, b);
    for (std::size_t offset = 0; offset < bytes; offset += step_of(b))
      on(i).store(at + offset, offset);
    return at;
  }

 private:
  Side side_;
  std::array<side_cpu*, max_threads> cpus_{};
  crew crew_;
};

/// How long the work takes.
template <class Work> nanoseconds time_of(Work work) {
  const auto from = bench_clock::now();
  work();
  return bench_clock::now() - from;
}

/// What one CPU does again and again, of which a part counts.
template <class Side> class one_cpu : public shared_space<Side> {
 public:
  nanoseconds run(std::uint64_t iterations) final {
    nanoseconds counted{0};
    this->together([&](unsigned) {
      for (std::uint64_t n = 0; n < iterations; n++)
        counted += once(this->on(0), n);
    });
    return counted;
  }

 protected:
  using typename shared_space<Side>::side_cpu;
  explicit one_cpu(std::uint64_t memory) : shared_space<Side>(1, memory) {}
  /// Returns the time that counts.
  virtual nanoseconds once(side_cpu& cpu, std::uint64_t n) = 0;

  std::uint64_t map_touched(std::size_t bytes, backing b) {
    return shared_space<Side>::map_touched(0, bytes, b);
  }
  /// Stores to every page, or huge page, of the range.
  static void touch(side_cpu& cpu, std::uint64_t at, std::size_t bytes, std::size_t step,
                    std::uint64_t value) {
    for (std::size_t offset = 0; offset < bytes; offset += step)
      cpu.store(at + offset, value);
  }
};

/// Numbers that depend on nothing but each other, and on the seed.
class xorshift {
 public:
  explicit xorshift(std::uint64_t seed) : state_(88172645463325252 * (seed + 1)) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  std::uint64_t state_;
};

enum class pattern {
  sequential, ///< a load at a time
  spans,      ///< in order, as much at a time as the interface gives
  random,
  gathered, ///< at random, as many at a time as the interface takes
};

/// The sum of `count` 8-byte loads, each from where next() says, as many at a time as `cpu` takes, up to
/// `at_once`.
template <class Cpu, class Next>
std::uint64_t sum_gathered(Cpu& cpu, std::uint64_t count, std::size_t at_once, Next next) {
  std::uint64_t sum = 0;
  if constexpr (Cpu::gathers) {
    std::array<std::uint64_t, 64> at;
    for (std::uint64_t n; count > 0; count -= n) {
      n = std::min<std::uint64_t>(count, at_once);
      std::generate_n(at.begin(), n, next);
      sum += cpu.sum_of(std::span(at).first(n));
    }
  } else {
    for (; count > 0; count--)
      sum += cpu.load(next());
  }
  return sum;
}

/// 8-byte loads that hit.
template <class Side> class loads : public shared_space<Side> {
 public:
  static constexpr std::size_t per_iteration = 4096;

  loads(std::size_t bytes, backing b, pattern p)
      : shared_space<Side>(1, 2 * bytes), bytes_(bytes), pattern_(p) {
    this->together([this, b](unsigned i) { at_ = this->map_touched(i, bytes_, b); });
  }
  nanoseconds run(std::uint64_t iterations) override {
    return this->together([this, iterations](unsigned i) {
      auto& cpu = this->on(i);
      switch (pattern_) {
      case pattern::sequential:
        return sequential(cpu, iterations);
      case pattern::spans:
        return spans(cpu, iterations);
      case pattern::random:
        return random(cpu, iterations);
      case pattern::gathered:
        return gathered(cpu, iterations);
      }
    });
  }

 private:
  // What does not change stays in locals: the loads might, for all a compiler knows, change members.
  template <class Cpu> void sequential(Cpu& cpu, std::uint64_t iterations) {
    const std::uint64_t at = at_;
    const std::uint64_t bytes = bytes_;
    std::uint64_t sum = 0;
    for (std::uint64_t n = 0; n < iterations; n++) {
      const std::uint64_t from = at + n * per_iteration * 8 % bytes;
      for (std::uint64_t va = from; va < from + per_iteration * 8; va += 8)
        sum += cpu.load(va);
    }
    keep(sum);
  }
  template <class Cpu> void spans(Cpu& cpu, std::uint64_t iterations) {
    std::uint64_t sum = 0;
    for (std::uint64_t n = 0; n < iterations; n++)
      sum += cpu.sum(at_ + n * per_iteration * 8 % bytes_, per_iteration * 8);
    keep(sum);
  }
  /// Addresses do not depend on what was loaded: as many loads are in flight as the machine can hold.
  template <class Cpu> void random(Cpu& cpu, std::uint64_t iterations) {
    const std::uint64_t at = at_;
    const std::uint64_t mask = (bytes_ - 1) & ~std::uint64_t{7};
    std::uint64_t sum = 0;
    xorshift numbers(0);
    for (std::uint64_t n = iterations * per_iteration; n > 0; n--)
      sum += cpu.load(at + (numbers.next() & mask));
    keep(sum);
  }
  template <class Cpu> void gathered(Cpu& cpu, std::uint64_t iterations) {
    xorshift numbers(0);
    keep(sum_gathered(cpu, iterations * per_iteration, 64,
                      [&numbers, at = at_, mask = (bytes_ - 1) & ~std::uint64_t{7}] {
                        return at + (numbers.next() & mask);
                      }));
  }

  std::size_t bytes_;
  pattern pattern_;
  std::uint64_t at_ = 0;
};

/// The first store to each page of a fresh mapping; mapping and unmapping are not counted.
template <class Side> class first_touch : public one_cpu<Side> {
 public:
  first_touch(std::size_t bytes, backing b) : one_cpu<Side>(4 * bytes), bytes_(bytes), backing_(b) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t /*n*/) override {
    const std::uint64_t at = cpu.map(bytes_, backing_);
    const nanoseconds stores = time_of([&] { this->touch(cpu, at, bytes_, step_of(backing_), 1); });
    cpu.unmap(at, bytes_);
    return stores;
  }

  std::size_t bytes_;
  backing backing_;
};

/// mmap and munmap of one range again and again, on each thread its own; page by page touched in between or
/// not.
template <class Side> class map_unmap : public shared_space<Side> {
 public:
  map_unmap(unsigned threads, std::size_t bytes, backing b, bool touch)
      : shared_space<Side>(threads, 256 * MiB + std::size_t{2} * threads * bytes), bytes_(bytes), backing_(b),
        touch_(touch) {}
  nanoseconds run(std::uint64_t iterations) override {
    return this->together([this, iterations](unsigned i) {
      auto& cpu = this->on(i);
      for (std::uint64_t n = 0; n < iterations; n++) {
        const std::uint64_t at = cpu.map(bytes_, backing_);
        if (touch_)
          for (std::size_t offset = 0; offset < bytes_; offset += page_bytes)
            cpu.store(at + offset, 1);
        cpu.unmap(at, bytes_);
      }
    });
  }

 private:
  std::size_t bytes_;
  backing backing_;
  bool touch_;
};

enum class peer { asleep, busy };

/// munmap of touched pages while a second thread runs in the address space. Only the munmap is counted.
template <class Side> class unmap_with_peer : public shared_space<Side> {
 public:
  unmap_with_peer(std::size_t pages, peer p)
      : shared_space<Side>(2, 256 * MiB), bytes_(pages * page_bytes), peer_(p) {}
  nanoseconds run(std::uint64_t iterations) override {
    nanoseconds counted{0};
    done_.store(false);
    this->together([&](unsigned i) {
      if (i == 1) return be_peer();
      for (std::uint64_t n = 0; n < iterations; n++)
        counted += map_touch_unmap(this->on(0));
      done_.store(true);
      done_.notify_all();
    });
    return counted;
  }

 private:
  template <class Cpu> nanoseconds map_touch_unmap(Cpu& cpu) {
    const std::uint64_t at = this->map_touched(0, bytes_, backing::small_pages);
    const auto from = bench_clock::now();
    cpu.unmap(at, bytes_);
    return bench_clock::now() - from;
  }
  void be_peer() {
    auto& cpu = this->on(1);
    const std::uint64_t own = this->map_touched(1, page_bytes, backing::small_pages);
    if (peer_ == peer::asleep) done_.wait(false);
    while (!done_.load(std::memory_order_relaxed))
      for (unsigned n = 0; n < 64; n++)
        keep(cpu.load(own));
    cpu.unmap(own, page_bytes);
  }

  std::size_t bytes_;
  peer peer_;
  std::atomic<bool> done_{false};
};

/// Pins a run of touched pages and unpins them, on each thread its own pages.
template <class Side, class Pinner = typename Side::pinner> class pin_unpin : public shared_space<Side> {
 public:
  static constexpr std::size_t working_set = 256; // pages a thread walks through

  pin_unpin(unsigned threads, std::size_t pages) : shared_space<Side>(threads, 64 * MiB), pages_(pages) {
    this->together([this](unsigned i) {
      at_[i] = this->map_touched(i, working_set * page_bytes, backing::small_pages);
    });
  }
  nanoseconds run(std::uint64_t iterations) override {
    return this->together([this, iterations](unsigned i) {
      Pinner pinner(this->on(i));
      for (std::uint64_t n = 0; n < iterations; n++)
        pinner.pin_and_unpin(at_[i] + n * pages_ % working_set * page_bytes, pages_);
    });
  }

 private:
  std::size_t pages_;
  std::array<std::uint64_t, max_threads> at_{};
};

/// The first load of each page of a range, which a second thread fills from a userfaultfd.
template <class Side> class userfault_round_trip : public shared_space<Side> {
 public:
  static constexpr std::size_t pages = 1024;

  userfault_round_trip() : shared_space<Side>(2, 64 * MiB) {
    this->together([this](unsigned i) {
      if (i == 0) at_ = this->on(0).map(pages * page_bytes, backing::small_pages);
    });
  }
  nanoseconds run(std::uint64_t iterations) override {
    nanoseconds counted{0};
    this->together([&](unsigned i) {
      if (i == 0) faults_.emplace(this->side(), at_, pages * page_bytes);
    });
    this->together([&](unsigned i) {
      for (std::uint64_t n = 0; n < iterations; n++)
        if (i == 1)
          faults_->answer(content_.data());
        else
          counted += touch(n % pages);
    });
    this->together([&](unsigned i) {
      if (i == 0) faults_.reset();
    });
    return counted;
  }

 private:
  nanoseconds touch(std::size_t page) {
    if (page == 0) faults_->drop();
    const auto from = bench_clock::now();
    keep(this->on(0).load(at_ + page * page_bytes));
    return bench_clock::now() - from;
  }

  std::uint64_t at_ = 0;
  std::optional<typename Side::userfaults> faults_;
  const std::array<std::byte, page_bytes> content_{};
};

/// Store, MADV_DONTNEED and load of every page of a mapping: will-it-scale's tlb_flush.
template <class Side> class touch_and_drop : public shared_space<Side> {
 public:
  touch_and_drop(unsigned threads, std::size_t bytes, backing b)
      : shared_space<Side>(threads, 256 * MiB + std::size_t{2} * threads * bytes), bytes_(bytes),
        backing_(b) {}
  nanoseconds run(std::uint64_t iterations) override {
    return this->together([this, iterations](unsigned i) {
      auto& cpu = this->on(i);
      for (std::uint64_t n = 0; n < iterations; n++) {
        const std::uint64_t at = cpu.map(bytes_, backing_);
        for (std::size_t offset = 0; offset < bytes_; offset += page_bytes) {
          cpu.store(at + offset, 1);
          cpu.dont_need(at + offset, page_bytes);
          keep(cpu.load(at + offset));
        }
        cpu.unmap(at, bytes_);
      }
    });
  }

 private:
  std::size_t bytes_;
  backing backing_;
};

// ---- huge pages ------------------------------------------------------------------------------------------

/// MADV_COLLAPSE of 512 touched pages. Only the call is counted.
template <class Side> class collapse : public one_cpu<Side> {
 public:
  collapse() : one_cpu<Side>(256 * MiB) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t n) override {
    const std::uint64_t raw = cpu.map(2 * huge_page_bytes, backing::small_pages);
    const std::uint64_t at = (raw + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
    this->touch(cpu, at, huge_page_bytes, page_bytes, n);
    cpu.want_huge(at, huge_page_bytes);
    const nanoseconds call = time_of([&] { cpu.collapse(at, huge_page_bytes); });
    cpu.unmap(raw, 2 * huge_page_bytes);
    return call;
  }
};

/// MADV_DONTNEED of one small page of a huge one. Only the call is counted.
template <class Side> class split : public one_cpu<Side> {
 public:
  split() : one_cpu<Side>(256 * MiB) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t /*n*/) override {
    const std::uint64_t at = this->map_touched(huge_page_bytes, backing::huge_pages);
    const nanoseconds call = time_of([&] { cpu.dont_need(at + page_bytes, page_bytes); });
    cpu.unmap(at, huge_page_bytes);
    return call;
  }
};

/// Small pages go to other frames.
template <class Side> class move_pages : public one_cpu<Side> {
 public:
  static constexpr std::size_t bytes = 64 * MiB;

  move_pages() : one_cpu<Side>(2 * bytes) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t /*n*/) override {
    const std::uint64_t at = this->map_touched(bytes, backing::small_pages);
    const nanoseconds moves = cpu.move_pages(at, bytes);
    cpu.unmap(at, bytes);
    return moves;
  }
};

// ---- dirty, shared, protected ----------------------------------------------------------------------------

/// The first store to each page of a shared mapping of a file that is in memory and clean.
template <class Side> class shared_write_fault : public one_cpu<Side> {
 public:
  static constexpr std::size_t bytes = 16 * MiB;

  shared_write_fault() : one_cpu<Side>(256 * MiB) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t n) override {
    const std::uint64_t at = this->map_touched(bytes, backing::shared_file);
    cpu.sync(at, bytes);
    const nanoseconds stores = time_of([&] { this->touch(cpu, at, bytes, page_bytes, n); });
    cpu.sync(at, bytes);
    cpu.unmap(at, bytes);
    return stores;
  }
};

enum class of_fork {
  call,  ///< what present pages add to the call
  store, ///< the parent's first store to each of them
};

/// fork of a mapping whose pages are all present. The kernel's process has more than that, so a call without
/// the mapping is taken off: the second one, as the first has more to protect.
template <class Side> class fork_and_store : public one_cpu<Side> {
 public:
  static constexpr std::size_t bytes = 64 * MiB;

  explicit fork_and_store(of_fork what) : one_cpu<Side>(512 * MiB), what_(what) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t n) override {
    nanoseconds without{0};
    if (what_ == of_fork::call) {
      fork_and([] {});
      without = fork_and([] {}).first;
    }
    const std::uint64_t at = this->map_touched(bytes, backing::small_pages);
    const auto [call, stores] = fork_and([&] { this->touch(cpu, at, bytes, page_bytes, n); });
    cpu.unmap(at, bytes);
    return what_ == of_fork::call ? call - without : stores;
  }
  /// How long the call takes, and then the work.
  template <class Work> std::pair<nanoseconds, nanoseconds> fork_and(Work work) {
    const auto from = bench_clock::now();
    const typename Side::child child(this->side());
    const auto forked = bench_clock::now();
    work();
    return {forked - from, bench_clock::now() - forked};
  }

  of_fork what_;
};

/// Forgetting which pages have been used; what present pages add to the call, as above.
template <class Side> class clear_refs : public one_cpu<Side> {
 public:
  static constexpr std::size_t bytes = 64 * MiB;

  clear_refs() : one_cpu<Side>(256 * MiB) {}

 private:
  nanoseconds once(typename one_cpu<Side>::side_cpu& cpu, std::uint64_t /*n*/) override {
    const auto call = [&] { return time_of([&] { cpu.clear_refs(); }); };
    call();
    const nanoseconds without = call();
    const std::uint64_t at = this->map_touched(bytes, backing::small_pages);
    const nanoseconds with = call();
    cpu.unmap(at, bytes);
    return with - without;
  }
};

/// mprotect of one touched page to read-only and back, with a second thread that loads from another.
template <class Side> class protect_with_peer : public shared_space<Side> {
 public:
  protect_with_peer() : shared_space<Side>(2, 256 * MiB) {}
  nanoseconds run(std::uint64_t iterations) override {
    nanoseconds counted{0};
    done_.store(false);
    this->together([&](unsigned i) {
      auto& cpu = this->on(i);
      const std::uint64_t at = this->map_touched(i, page_bytes, backing::small_pages);
      if (i == 1)
        while (!done_.load(std::memory_order_relaxed))
          keep(cpu.load(at));
      for (std::uint64_t n = 0; i == 0 && n < iterations; n++) {
        cpu.store(at, n);
        const auto from = bench_clock::now();
        cpu.protect(at, page_bytes, false);
        cpu.protect(at, page_bytes, true);
        counted += bench_clock::now() - from;
      }
      if (i == 0) done_.store(true);
      cpu.unmap(at, page_bytes);
    });
    return counted;
  }

 private:
  std::atomic<bool> done_{false};
};

} // namespace racewalk::bench
