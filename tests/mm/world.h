// What the tests of the manager stand on: a machine, an address space, and this thread as CPU 0 in it.
#pragma once

#include <gtest/gtest.h>

#include "mm/mmap.h"
#include "mm/pgalloc.h"
#include "racewalk/address_space.h"

namespace racewalk::test {

class World : public ::testing::Test {
 protected:
  static constexpr u64 MIB = u64{1} << 20;
  static constexpr u64 HUGE = 2 * MIB;

  /// Somewhere, `bytes` of readable and writable memory.
  vaddr_t map(u64 bytes) { return space.mmap(bytes).value(); }
  void touch(vaddr_t addr) { ASSERT_TRUE(cpu->store<u64>(addr, addr).ok()); }
  void touch_all(vaddr_t from, u64 bytes = HUGE) {
    for (vaddr_t a = from; a < from + bytes; a += PAGE_SIZE)
      touch(a);
  }
  /// One with every page touched.
  vaddr_t huge_page() {
    const vaddr_t at = map(HUGE);
    EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_HUGEPAGE), 0);
    touch_all(at);
    EXPECT_TRUE(is_huge(at));
    return at;
  }
  static bool is_huge(mm_struct& in, vaddr_t at) {
    const pmd_lookup found = find_pmd(in, at);
    return found.found && pmd_trans_huge(pmdp_get(found.pmdp));
  }
  bool is_huge(vaddr_t at) { return is_huge(mm, at); }
  bool can_read(vaddr_t addr) { return cpu->load<u64>(addr).ok(); }
  bool can_write(vaddr_t addr) { return cpu->fetch_add<u64>(addr, 0).ok(); }

  s64 anon_pages() { return get_mm_counter(mm, MM_ANONPAGES); }
  s64 tables() { return get_mm_counter(mm, MM_PGTABLES); }
  std::size_t areas(vaddr_t addr) { return mm.existing_region(addr)->areas.size(); }

  /// Frames in use, with nothing left in flight.
  u64 used_frames() {
    system.settle();
    return system.total_frames() - system.free_frames();
  }

  /// Runs `operation` with its first allocation failing, then its second ... until none is left to fail. It
  /// returns whether it failed.
  template <class F> unsigned fail_each_allocation(F&& operation) {
    return fail_each_allocation(system.fail_page_alloc(), operation);
  }
  template <class F> static unsigned fail_each_allocation(fault_attr& allocations, F&& operation) {
    unsigned failures = 0;
    for (u64 nth = 1;; ++nth) {
      allocations.fail_nth(nth);
      const bool failed = operation();
      const bool injected = !allocations.pending();
      allocations.fail_nth(0);
      failures += failed;
      if (!injected) return failures;
    }
  }

  System system{64 * MIB, 3, PageTableCheck::on, 16 * MIB, PinCheck::on};
  AddressSpace space{system};
  mm_struct& mm{space.mm()};
  CpuSession cpu{system, 0, space};
};

} // namespace racewalk::test
