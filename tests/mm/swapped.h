// What tests of the swap file stand on.
#pragma once

#include <sys/mman.h>

#include <thread>

#include "host_file.h"
#include "mm/swapfile.h"

namespace racewalk::test {

class Swapped : public HostFile {
 protected:
  std::string swap_path() const { return directory + "/swap"; }
  void swapon(u64 pages = 4096) {
    ASSERT_TRUE(system.reclaim().swapon(swap_path(), (pages + 1) * PAGE_SIZE)); // slot 0 is never used
  }
  u64 slots_used() { return system.reclaim().statistics().swap_used; }
  /// Kept by pages that are in memory.
  u64 slots_cached() { return system.reclaim().statistics().swap_cached; }
  /// Of pages that are nowhere else, or that somebody has not brought back yet.
  u64 slots_needed() {
    const Reclaim::Statistics now = system.reclaim().statistics();
    return now.swap_used - now.swap_cached;
  }
  s64 swapped(const AddressSpace& of) {
    return get_mm_counter(const_cast<AddressSpace&>(of).mm(), MM_SWAPENTS);
  }
  s64 swapped() { return swapped(space); }
  void fill(vaddr_t at, u64 pages) {
    for (u64 i = 0; i < pages; ++i)
      touch(at + i * PAGE_SIZE);
  }
  /// What touch() has left, as seen at another address.
  void expect_content(vaddr_t at, u64 pages, vaddr_t written_at) {
    for (u64 i = 0; i < pages; ++i)
      ASSERT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), written_at + i * PAGE_SIZE) << "page " << i;
  }
  void expect_content(vaddr_t at, u64 pages) { expect_content(at, pages, at); }
  void pageout(vaddr_t at, u64 pages) { ASSERT_EQ(vm_madvise(mm, at, pages * PAGE_SIZE, MADV_PAGEOUT), 0); }
  /// So many pages, filled and swapped out. Nothing else has been swapped yet.
  vaddr_t swapped_pages(u64 pages) {
    const vaddr_t at = map(pages * PAGE_SIZE);
    fill(at, pages);
    pageout(at, pages);
    EXPECT_EQ(swapped(), static_cast<s64>(pages));
    return at;
  }
  /// Two CPUs count in these pages, while this one does to them what disturb(n) does, for n up to `times`; no
  /// count is lost.
  template <class F> void expect_no_store_lost(vaddr_t at, u64 pages, u64 times, F disturb) {
    constexpr u64 ROUNDS = 2000;
    const auto count = [&](unsigned id) {
      CpuSession session(system, id, space);
      for (u64 n = 0; n < ROUNDS; ++n)
        ASSERT_TRUE(session->fetch_add<u64>(at + n % pages * PAGE_SIZE, 1).ok());
    };
    std::thread a(count, 1);
    std::thread b(count, 2);
    for (u64 n = 0; n < times; ++n)
      disturb(n);
    a.join();
    b.join();
    u64 sum = 0;
    for (u64 i = 0; i < pages; ++i)
      sum += *cpu->load<u64>(at + i * PAGE_SIZE);
    EXPECT_EQ(sum, 2 * ROUNDS);
    ASSERT_TRUE(space.munmap(at, pages * PAGE_SIZE));
  }
  /// Runs `check` as a program in `child`.
  template <class F> void in(AddressSpace& child, F check) {
    cpu.switch_to(child);
    check();
    cpu.switch_to(space);
  }
};

} // namespace racewalk::test
