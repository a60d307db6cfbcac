// What tests of the swap file stand on.
#pragma once

#include <sys/mman.h>

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
  /// Runs `check` as a program in `child`.
  template <class F> void in(AddressSpace& child, F check) {
    cpu.switch_to(child);
    check();
    cpu.switch_to(space);
  }
};

} // namespace racewalk::test
