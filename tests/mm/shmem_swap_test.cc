// Files made of memory in the swap file: their pages go and come back for all who use the file, however they
// come to it; what is cut off gives its slots back; a page is never both in the file and in a slot.
#include <array>
#include <bit>
#include <cerrno>
#include <thread>

#include "mm/filemap.h"
#include "racewalk/userfaultfd.h"
#include "swapped.h"

namespace racewalk::test {
namespace {

class ShmemSwap : public Swapped {
 protected:
  static constexpr u64 PAGES = 8;

  u64 in_memory() { return cached(file); }
  s64 shmem_pages() { return get_mm_counter(mm, MM_SHMEMPAGES); }
  vaddr_t map_shared(u64 pages = PAGES) { return map_file(file, pages); }
  /// The file, filled and mapped, and all of it in the swap file.
  vaddr_t swapped_file() {
    swapon();
    const vaddr_t at = map_shared();
    fill(at, PAGES);
    pageout(at, PAGES);
    EXPECT_EQ(in_memory(), 0U);
    EXPECT_EQ(slots_used(), PAGES);
    return at;
  }
  /// As large as a huge page, mapped where one can be, and filled with small ones.
  vaddr_t file_of_huge_size() {
    file = File::in_memory(system, HUGE).value();
    const vaddr_t at = space.mmap_fixed(vaddr_t{1} << 30, file, 0, HUGE).value();
    touch_all(at);
    return at;
  }
  /// The same with a huge page.
  vaddr_t huge_file() {
    const vaddr_t at = file_of_huge_size();
    EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
    EXPECT_TRUE(is_huge(at));
    return at;
  }
  u64 word_of_file(u64 page) {
    std::array<std::byte, sizeof(u64)> bytes{};
    EXPECT_EQ(*file.read(page * PAGE_SIZE, bytes), sizeof(u64));
    return std::bit_cast<u64>(bytes);
  }

  File file = File::in_memory(system, PAGES* PAGE_SIZE).value();
};

TEST_F(ShmemSwap, what_goes_comes_back) {
  swapon();
  const vaddr_t at = map_shared();
  fill(at, PAGES);
  const u64 used = used_frames();
  pageout(at, PAGES);
  EXPECT_EQ(shmem_pages(), 0);
  EXPECT_EQ(swapped(), 0) << "the file has the slots, not the mm";
  EXPECT_EQ(in_memory(), 0U);
  EXPECT_EQ(slots_used(), PAGES);
  EXPECT_EQ(used_frames(), used - PAGES);
  expect_content(at, PAGES);
  EXPECT_EQ(shmem_pages(), PAGES);
  EXPECT_EQ(in_memory(), PAGES);
  EXPECT_EQ(slots_used(), 0U);
}

TEST_F(ShmemSwap, the_hand_takes_it_when_memory_is_short) {
  swapon();
  const vaddr_t at = map_shared();
  fill(at, PAGES);
  EXPECT_GE(system.reclaim().shrink(PAGES), PAGES);
  EXPECT_EQ(in_memory(), 0U);
  expect_content(at, PAGES);
}

TEST_F(ShmemSwap, all_who_map_it_lose_it_and_get_one_page) {
  const vaddr_t at = swapped_file();
  AddressSpace other(system);
  const vaddr_t there = other.mmap(file, 0, PAGES * PAGE_SIZE).value();
  in(other, [&] {
    expect_content(there, PAGES, at);
    ASSERT_TRUE(cpu->store<u64>(there + 8, 42).ok());
  });
  EXPECT_EQ(*cpu->load<u64>(at + 8), 42U);
  EXPECT_GE(system.reclaim().shrink(PAGES), PAGES);
  EXPECT_EQ(get_mm_counter(other.mm(), MM_SHMEMPAGES), 0);
  EXPECT_EQ(*cpu->load<u64>(at + 8), 42U);
  in(other, [&] { EXPECT_EQ(*cpu->load<u64>(there + 8), 42U); });
}

TEST_F(ShmemSwap, read_and_write_bring_it_back) {
  const vaddr_t at = swapped_file();
  EXPECT_EQ(word_of_file(2), at + 2 * PAGE_SIZE);
  const std::array<std::byte, 8> bytes{std::byte{7}};
  ASSERT_TRUE(file.write(3 * PAGE_SIZE + 8, bytes)); // a part: the rest is as it was
  EXPECT_EQ(in_memory(), 2U);
  EXPECT_EQ(*cpu->load<u8>(at + 3 * PAGE_SIZE + 8), 7);
  expect_content(at, PAGES);
}

TEST_F(ShmemSwap, a_private_mapping_copies_what_comes_back) {
  const vaddr_t at = swapped_file();
  const vaddr_t own = map_file(file, PAGES, Sharing::private_copy);
  ASSERT_TRUE(cpu->store<u64>(own + 8, 1).ok());
  expect_content(own, PAGES, at);
  EXPECT_EQ(*cpu->load<u64>(at + 8), 0U);
  pageout(own, 1);
  EXPECT_EQ(swapped(), 1) << "the copy is anonymous memory";
  EXPECT_EQ(*cpu->load<u64>(own + 8), 1U);
}

TEST_F(ShmemSwap, a_pin_brings_it_back_and_keeps_it) {
  const vaddr_t at = swapped_file();
  {
    const PinnedPages pin = space.pin(at, 2).value();
    EXPECT_EQ(*reinterpret_cast<const u64*>(pin[1].data()), at + PAGE_SIZE);
    pageout(at, 2);
    (void)system.reclaim().shrink(2);
    EXPECT_EQ(in_memory(), 2U);
    pin[0][8] = std::byte{7};
  }
  pageout(at, 2);
  EXPECT_EQ(in_memory(), 0U);
  EXPECT_EQ(*cpu->load<u8>(at + 8), 7);
}

TEST_F(ShmemSwap, what_is_cut_off_gives_its_slots_back) {
  const vaddr_t at = swapped_file();
  ASSERT_TRUE(file.punch_hole(PAGE_SIZE, 2 * PAGE_SIZE));
  EXPECT_EQ(slots_used(), PAGES - 2);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), 0U);
  ASSERT_TRUE(file.resize(5 * PAGE_SIZE));
  EXPECT_EQ(slots_used(), PAGES - 5);
  EXPECT_EQ(cpu->load<u64>(at + 5 * PAGE_SIZE).error(), fault_result::sigbus);
  ASSERT_TRUE(file.resize(PAGES * PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at + 5 * PAGE_SIZE), 0U);
  expect_content(at + 3 * PAGE_SIZE, 2);
  ASSERT_TRUE(space.munmap(at, PAGES * PAGE_SIZE));
  file = File::in_memory(system, 0).value(); // nobody has the old one any more
  system.settle();                           // waits for what is on its way
  EXPECT_EQ(slots_used(), 0U);
}

TEST_F(ShmemSwap, a_page_that_is_cut_in_part_comes_back_first) {
  const vaddr_t at = swapped_file();
  ASSERT_TRUE(cpu->store<u64>(at + 64, 5).ok());
  pageout(at, 1);
  ASSERT_TRUE(file.punch_hole(64, 8));
  EXPECT_EQ(*cpu->load<u64>(at + 64), 0U);
  expect_content(at, 1);
  ASSERT_TRUE(file.resize(3 * PAGE_SIZE + 4)); // of a page in a slot, the beginning stays
  ASSERT_TRUE(file.resize(PAGES * PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at + 3 * PAGE_SIZE), (at + 3 * PAGE_SIZE) & 0xffffffff);
}

TEST_F(ShmemSwap, a_file_keeps_its_size_if_its_last_page_does_not_come_back) {
  const vaddr_t at = swapped_file();
  ASSERT_TRUE(file.resize(PAGE_SIZE + 8));
  expect_content(at, 2);
  pageout(at, 2);
  ASSERT_EQ(in_memory(), 0U);
  system.reclaim().fail_swap_read().fail_every(1);
  EXPECT_EQ(file.resize(4).error(), std::errc::io_error);
  EXPECT_EQ(file.resize(PAGES * PAGE_SIZE).error(), std::errc::io_error);
  const std::array<std::byte, 8> bytes{};
  EXPECT_EQ(file.write(5 * PAGE_SIZE, bytes).error(), std::errc::io_error);
  EXPECT_EQ(file.size(), PAGE_SIZE + 8);
  system.reclaim().fail_swap_read().fail_every(0);
  expect_content(at, 2);
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE + 16, 1).ok()); // beyond the end
  pageout(at, 2);
  ASSERT_TRUE(file.resize(PAGES * PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE + 16), 0U);
}

TEST_F(ShmemSwap, what_the_swap_file_has_no_room_for_stays) {
  swapon(3);
  const vaddr_t at = map_shared();
  fill(at, PAGES);
  pageout(at, PAGES);
  EXPECT_EQ(in_memory(), PAGES - 3);
  expect_content(at, PAGES);
}

TEST_F(ShmemSwap, a_page_that_cannot_be_written_is_not_lost) {
  swapon();
  const vaddr_t at = map_shared();
  fill(at, PAGES);
  system.reclaim().fail_swap_write().fail_every(1);
  pageout(at, PAGES);
  EXPECT_EQ(in_memory(), 0U) << "it waits in the swap cache";
  const u64 used = used_frames();
  expect_content(at, PAGES);
  EXPECT_EQ(used_frames(), used);
  pageout(at, PAGES);
  system.reclaim().fail_swap_write().fail_every(0);
  EXPECT_GE(system.reclaim().shrink(PAGES), PAGES) << "the hand finds it there";
  EXPECT_EQ(used_frames(), used - PAGES);
  expect_content(at, PAGES);
}

TEST_F(ShmemSwap, a_page_that_cannot_be_read_is_an_error_each_time) {
  const vaddr_t at = swapped_file();
  std::array<std::byte, 8> bytes{};
  system.reclaim().fail_swap_read().fail_every(1);
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::sigbus);
  EXPECT_EQ(file.read(0, bytes).error(), std::errc::io_error);
  EXPECT_EQ(slots_used(), PAGES);
  system.reclaim().fail_swap_read().fail_every(0);
  system.fail_page_alloc().fail_every(1);
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::oom);
  EXPECT_EQ(file.read(0, bytes).error(), std::errc::not_enough_memory);
  system.fail_page_alloc().fail_every(0);
  expect_content(at, PAGES);
}

TEST_F(ShmemSwap, it_is_not_missing_but_minor) {
  const vaddr_t at = swapped_file();
  Userfaultfd uffd(space);
  const vaddr_t watched = map_shared();
  ASSERT_TRUE(uffd.register_range(watched, PAGES * PAGE_SIZE, Userfaultfd::MISSING));
  EXPECT_EQ(*cpu->load<u64>(watched), at) << "nobody is asked";
  const std::array<std::byte, PAGE_SIZE> content{};
  EXPECT_EQ(uffd.copy(watched + PAGE_SIZE, content).error(), std::errc::file_exists);
  ASSERT_TRUE(uffd.unregister_range(watched, PAGES * PAGE_SIZE));
  ASSERT_TRUE(uffd.register_range(watched, PAGES * PAGE_SIZE, Userfaultfd::MINOR));
  std::vector<vaddr_t> seen;
  std::thread handler([&] {
    while (const auto fault = uffd.read()) {
      EXPECT_TRUE(fault->minor);
      seen.push_back(fault->address);
      EXPECT_EQ(*uffd.continue_range(fault->address, PAGE_SIZE), PAGE_SIZE);
    }
  });
  EXPECT_EQ(*cpu->load<u64>(watched + 2 * PAGE_SIZE), at + 2 * PAGE_SIZE);
  uffd.close();
  handler.join();
  EXPECT_EQ(seen, std::vector<vaddr_t>{watched + 2 * PAGE_SIZE});
}

TEST_F(ShmemSwap, what_userfaultfd_protects_stays_protected) {
  if (!pte_has_uffd_wp()) GTEST_SKIP() << "the architecture has no bit for it";
  swapon();
  const vaddr_t at = map_shared();
  fill(at, 1);
  Userfaultfd uffd(space);
  ASSERT_TRUE(uffd.register_range(at, PAGE_SIZE, Userfaultfd::WRITE_PROTECT));
  ASSERT_TRUE(uffd.write_protect(at, PAGE_SIZE));
  pageout(at, 1);
  ASSERT_EQ(in_memory(), 0U);
  unsigned heard = 0;
  std::thread handler([&] {
    while (const auto fault = uffd.read()) {
      ++heard;
      uffd.write_unprotect(fault->address, PAGE_SIZE).value();
    }
  });
  expect_content(at, 1);
  EXPECT_TRUE(can_write(at));
  uffd.close();
  handler.join();
  EXPECT_EQ(heard, 1U);
}

TEST_F(ShmemSwap, willneed_reads_it_into_the_swap_cache) {
  const vaddr_t at = swapped_file();
  ASSERT_EQ(vm_madvise(mm, at, PAGES * PAGE_SIZE, MADV_WILLNEED), 0);
  system.settle(); // waits for what is on its way
  const u64 read = system.reclaim().statistics().swapped_in;
  EXPECT_EQ(read, PAGES);
  EXPECT_EQ(in_memory(), 0U);
  expect_content(at, PAGES);
  EXPECT_EQ(system.reclaim().statistics().swapped_in, read);
  EXPECT_EQ(slots_used(), 0U);
}

TEST_F(ShmemSwap, fork_leaves_it_where_it_is) {
  const vaddr_t at = swapped_file();
  const auto child = space.fork().value();
  EXPECT_EQ(slots_used(), PAGES);
  in(*child, [&] {
    expect_content(at, PAGES);
    ASSERT_TRUE(cpu->store<u64>(at, 9).ok());
  });
  EXPECT_EQ(*cpu->load<u64>(at), 9U);
}

// ---- huge pages ------------------------------------------------------------------------------------------

TEST_F(ShmemSwap, a_huge_page_goes_as_small_ones) {
  swapon();
  const vaddr_t at = huge_file();
  EXPECT_GE(system.reclaim().shrink(hpage_pmd_nr()), hpage_pmd_nr());
  EXPECT_EQ(in_memory(), 0U);
  EXPECT_EQ(slots_used(), hpage_pmd_nr());
  expect_content(at, hpage_pmd_nr());
}

TEST_F(ShmemSwap, who_pages_a_huge_page_out_pages_out_all_of_it) {
  swapon();
  const vaddr_t at = huge_file();
  {
    const PinnedPages pin = space.pin(at + 7 * PAGE_SIZE, 1).value();
    pageout(at, hpage_pmd_nr());
    EXPECT_TRUE(is_huge(at));
  }
  pageout(at, hpage_pmd_nr());
  EXPECT_EQ(in_memory(), 0U);
  expect_content(at, hpage_pmd_nr());
}

TEST_F(ShmemSwap, who_pages_a_part_of_a_huge_page_out_pages_out_that_part) {
  swapon();
  const vaddr_t at = huge_file();
  pageout(at + 100 * PAGE_SIZE, 50);
  EXPECT_EQ(in_memory(), hpage_pmd_nr() - 50);
  EXPECT_FALSE(is_huge(at));
  expect_content(at, hpage_pmd_nr());
}

TEST_F(ShmemSwap, a_collapse_brings_it_back) {
  swapon();
  const vaddr_t at = file_of_huge_size();
  pageout(at, hpage_pmd_nr());
  ASSERT_EQ(in_memory(), 0U);
  system.reclaim().fail_swap_read().fail_nth(20);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -EAGAIN);
  ASSERT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
  EXPECT_TRUE(is_huge(at));
  EXPECT_EQ(slots_used(), 0U);
  expect_content(at, hpage_pmd_nr());
}

// ---- the file --------------------------------------------------------------------------------------------

TEST_F(ShmemSwap, swapoff_brings_everything_back) {
  const vaddr_t at = swapped_file();
  system.fail_page_alloc().fail_every(1);
  EXPECT_EQ(system.reclaim().swapoff().error(), std::errc::not_enough_memory);
  system.fail_page_alloc().fail_every(0);
  system.reclaim().fail_swap_read().fail_every(1);
  EXPECT_EQ(system.reclaim().swapoff().error(), std::errc::io_error);
  system.reclaim().fail_swap_read().fail_every(0);
  EXPECT_EQ(slots_used(), PAGES);
  ASSERT_TRUE(system.reclaim().swapoff());
  EXPECT_EQ(in_memory(), PAGES);
  expect_content(at, PAGES);
}

// ---- many at once ----------------------------------------------------------------------------------------

// Two CPUs count in the same pages while a third reads the file and swaps them out.
TEST_F(ShmemSwap, no_store_is_lost) {
  swapon();
  const vaddr_t at = map_shared();
  expect_no_store_lost(at, PAGES, 100, [&](u64 n) {
    pageout(at, PAGES);
    (void)system.reclaim().shrink(PAGES);
    (void)word_of_file(n % PAGES);
  });
}

// One CPU fills pages and cuts them off, and never meets what it has cut off, while others read them and swap
// them out.
TEST_F(ShmemSwap, what_is_cut_off_does_not_come_back) {
  swapon();
  const vaddr_t at = map_shared();
  std::atomic<bool> done{false};
  std::thread reader([&] {
    CpuSession session(system, 1, space);
    for (u64 n = 0; !done; ++n)
      (void)session->load<u64>(at + n % PAGES * PAGE_SIZE);
  });
  std::thread reclaimer([&] {
    while (!done)
      (void)system.reclaim().shrink(PAGES);
  });
  for (u64 round = 0; round < 300; ++round) {
    fill(at, PAGES);
    if (round % 2 == 0) {
      ASSERT_TRUE(file.punch_hole(0, PAGES * PAGE_SIZE));
    } else {
      ASSERT_TRUE(file.resize(0));
      ASSERT_TRUE(file.resize(PAGES * PAGE_SIZE));
    }
    for (u64 i = 0; i < PAGES; ++i)
      ASSERT_EQ(*cpu->load<u64>(at + i * PAGE_SIZE), 0U) << "round " << round;
  }
  done = true;
  reader.join();
  reclaimer.join();
  ASSERT_TRUE(file.resize(0));
  system.settle();
  EXPECT_EQ(slots_used(), 0U);
}

} // namespace
} // namespace racewalk::test
