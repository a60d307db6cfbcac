// Anonymous memory in the swap file: it comes back as it was, to whom it belongs, whatever was done to its
// mapping meanwhile; slots are given back; what cannot be written or read is told, and nothing else is lost.
#include "swapped.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "mm/madvise.h"
#include "mm/migrate.h"
#include "racewalk/userfaultfd.h"

namespace racewalk::test {
namespace {

class Swap : public Swapped {
 protected:
  bool is_swapped(vaddr_t at) { return space.pagemap(at, 1).value()[0].swapped(); }
};

TEST_F(Swap, what_goes_comes_back) {
  swapon();
  const vaddr_t at = map(8 * PAGE_SIZE);
  fill(at, 8);
  const u64 used = used_frames();
  pageout(at, 8);
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(swapped(), 8);
  EXPECT_EQ(slots_used(), 8U);
  EXPECT_EQ(used_frames(), used - 8);
  expect_content(at, 8);
  EXPECT_EQ(anon_pages(), 8);
  EXPECT_EQ(swapped(), 0);
  EXPECT_EQ(slots_needed(), 0U);
  EXPECT_TRUE(can_write(at));
}

TEST_F(Swap, without_a_swap_file_it_stays) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  pageout(at, 1);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(system.reclaim().shrink(1), 0U);
}

TEST_F(Swap, what_the_file_has_no_room_for_stays) {
  swapon(8);
  const vaddr_t at = map(16 * PAGE_SIZE);
  fill(at, 16);
  pageout(at, 16);
  EXPECT_EQ(swapped(), 8);
  EXPECT_EQ(anon_pages(), 8);
  expect_content(at, 16);
}

TEST_F(Swap, a_page_that_cannot_be_written_stays) {
  swapon();
  const vaddr_t at = map(4 * PAGE_SIZE);
  fill(at, 4);
  system.reclaim().fail_swap_write().fail_every(1);
  pageout(at, 4);
  const u64 used = used_frames();
  expect_content(at, 4);
  EXPECT_EQ(used_frames(), used);
  system.reclaim().fail_swap_write().fail_every(0);
  pageout(at, 4);
  EXPECT_EQ(used_frames(), used - 4);
  expect_content(at, 4);
}

TEST_F(Swap, beside_a_page_that_cannot_be_written_the_others_go) {
  swapon();
  const vaddr_t at = map(8 * PAGE_SIZE);
  fill(at, 8);
  const u64 used = used_frames();
  system.reclaim().fail_swap_write().fail_nth(4);
  pageout(at, 8);
  EXPECT_EQ(system.reclaim().statistics().swapped_out, 7U);
  EXPECT_EQ(used_frames(), used - 7);
  expect_content(at, 8);
}

TEST_F(Swap, a_page_that_cannot_be_read_is_a_bus_error) {
  swapon();
  const vaddr_t at = swapped_pages(2);
  system.reclaim().fail_swap_read().fail_nth(1);
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::sigbus);
  EXPECT_EQ(swapped(), 2);
  expect_content(at, 2);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_F(Swap, no_frame_for_it_is_out_of_memory) {
  swapon();
  const vaddr_t at = swapped_pages(1);
  system.fail_page_alloc().fail_every(1);
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::oom);
  system.fail_page_alloc().fail_every(0);
  expect_content(at, 1);
}

TEST_F(Swap, slots_go_with_what_they_were_for) {
  swapon();
  const vaddr_t at = swapped_pages(9);
  ASSERT_TRUE(space.munmap(at, 3 * PAGE_SIZE));
  EXPECT_EQ(slots_used(), 6U);
  ASSERT_EQ(vm_madvise(mm, at + 3 * PAGE_SIZE, 3 * PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_EQ(slots_used(), 3U);
  EXPECT_EQ(*cpu->load<u64>(at + 3 * PAGE_SIZE), 0U);
  ASSERT_EQ(vm_madvise(mm, at + 6 * PAGE_SIZE, PAGE_SIZE, MADV_FREE), 0);
  EXPECT_EQ(slots_used(), 2U);
  ASSERT_TRUE(space.mmap_fixed(at + 7 * PAGE_SIZE, PAGE_SIZE));
  EXPECT_EQ(slots_used(), 1U);
  { const auto child = space.fork().value(); }
  EXPECT_EQ(slots_used(), 1U);
  expect_content(at + 8 * PAGE_SIZE, 1);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_F(Swap, each_side_of_a_fork_has_its_own) {
  swapon();
  const vaddr_t at = swapped_pages(6);
  auto child = space.fork().value();
  EXPECT_EQ(swapped(*child), 6);
  EXPECT_EQ(slots_used(), 6U);
  in(*child, [&] {
    expect_content(at, 3);
    ASSERT_TRUE(cpu->store<u64>(at, 42).ok());                 // read first
    ASSERT_TRUE(cpu->store<u64>(at + 3 * PAGE_SIZE, 43).ok()); // not
  });
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE, 44).ok());
  ASSERT_TRUE(cpu->store<u64>(at + 4 * PAGE_SIZE, 45).ok());
  expect_content(at, 1);
  expect_content(at + 2 * PAGE_SIZE, 2);
  in(*child, [&] {
    EXPECT_EQ(*cpu->load<u64>(at), 42U);
    EXPECT_EQ(*cpu->load<u64>(at + 3 * PAGE_SIZE), 43U);
    expect_content(at + PAGE_SIZE, 2);
    expect_content(at + 4 * PAGE_SIZE, 2);
  });
  child.reset();
  expect_content(at + 5 * PAGE_SIZE, 1);
  EXPECT_EQ(swapped(), 0);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_F(Swap, shared_pages_go_and_come_for_both) {
  swapon();
  const vaddr_t at = map(4 * PAGE_SIZE);
  fill(at, 4);
  auto child = space.fork().value();
  EXPECT_GE(system.reclaim().shrink(4), 4U);
  EXPECT_EQ(swapped() + swapped(*child), 8);
  EXPECT_EQ(slots_used(), 4U);
  expect_content(at, 4);
  const u64 read = system.reclaim().statistics().swapped_in;
  in(*child, [&] { expect_content(at, 4); });
  EXPECT_EQ(system.reclaim().statistics().swapped_in, read) << "they were in the swap cache";
  EXPECT_EQ(slots_needed(), 0U);
  EXPECT_GE(system.reclaim().shrink(4), 4U) << "who looks for its entries finds both";
  EXPECT_EQ(swapped() + swapped(*child), 8);
  ASSERT_TRUE(cpu->store<u64>(at, 1).ok());
  in(*child, [&] { expect_content(at, 4); });
}

TEST_F(Swap, it_moves_with_its_mapping) {
  swapon();
  vaddr_t at = swapped_pages(4);
  const vaddr_t written_at = at;
  at = space.mremap_fixed(at, 4 * PAGE_SIZE, 4 * PAGE_SIZE, vaddr_t{9} << 39).value();
  EXPECT_EQ(swapped(), 4);
  expect_content(at, 2, written_at);
  // what others have too, at another address
  auto child = space.fork().value();
  at = space.mremap_fixed(at, 4 * PAGE_SIZE, 4 * PAGE_SIZE, vaddr_t{10} << 39).value();
  expect_content(at, 4, written_at);
  EXPECT_TRUE(can_write(at + 3 * PAGE_SIZE));
  in(*child, [&] { expect_content(vaddr_t{9} << 39, 4, written_at); });
  child.reset();
  system.settle();
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_F(Swap, rights_are_the_areas) {
  swapon();
  const vaddr_t at = swapped_pages(2);
  ASSERT_TRUE(space.mprotect(at, 2 * PAGE_SIZE, Access::read));
  EXPECT_EQ(cpu->store<u64>(at, 1).error(), fault_result::sigsegv);
  expect_content(at, 2);
  EXPECT_EQ(cpu->store<u64>(at, 1).error(), fault_result::sigsegv);
  ASSERT_TRUE(space.mprotect(at, 2 * PAGE_SIZE, Access::read_write));
  EXPECT_TRUE(can_write(at));
}

TEST_F(Swap, huge_pages_go_as_small_ones) {
  swapon();
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  fill(at, hpage_pmd_nr());
  pageout(at, hpage_pmd_nr());
  EXPECT_EQ(swapped(), hpage_pmd_nr());
  expect_content(at, hpage_pmd_nr());
}

TEST_F(Swap, who_pages_a_part_of_a_huge_page_out_pages_out_that_part) {
  swapon();
  const vaddr_t at = map(2 * MIB);
  ASSERT_TRUE(space.madvise(at, 2 * MIB, AddressSpace::HugePages::yes));
  fill(at, hpage_pmd_nr());
  pageout(at + 100 * PAGE_SIZE, 50);
  EXPECT_EQ(swapped(), 50);
  expect_content(at, hpage_pmd_nr());
}

TEST_F(Swap, what_is_pinned_stays) {
  swapon();
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  {
    const PinnedPages pin = space.pin(at, 1).value();
    pageout(at, 1);
    (void)system.reclaim().shrink(1);
    EXPECT_EQ(anon_pages(), 1);
    EXPECT_EQ(slots_used(), 0U);
    pin[0][8] = std::byte{7};
  }
  pageout(at, 1);
  EXPECT_EQ(swapped(), 1);
  EXPECT_EQ(*cpu->load<u8>(at + 8), 7);
}

TEST_F(Swap, a_pin_brings_it_back) {
  swapon();
  const vaddr_t at = swapped_pages(2);
  const PinnedPages pin = space.pin(at, 2).value();
  EXPECT_EQ(swapped(), 0);
  EXPECT_EQ(*reinterpret_cast<const u64*>(pin[1].data()), at + PAGE_SIZE);
}

TEST_F(Swap, willneed_reads_it_into_the_swap_cache) {
  swapon();
  const vaddr_t at = swapped_pages(4);
  ASSERT_EQ(vm_madvise(mm, at, 4 * PAGE_SIZE, MADV_WILLNEED), 0);
  system.settle(); // waits for what is on its way
  EXPECT_EQ(swapped(), 4);
  EXPECT_EQ(system.reclaim().statistics().swapped_in, 4U);
  expect_content(at, 4);
  EXPECT_EQ(system.reclaim().statistics().swapped_in, 4U);
  EXPECT_EQ(slots_needed(), 0U);
}

TEST_F(Swap, who_gathers_asks_for_all_of_it_first) {
  swapon();
  const vaddr_t at = swapped_pages(40);
  user_addrs_will_need(mm.context, std::array{at + 8, at + 20 * PAGE_SIZE, at + 40 * PAGE_SIZE - 8});
  system.settle();
  EXPECT_EQ(system.reclaim().statistics().swapped_in, 3U);
  EXPECT_EQ(swapped(), 40) << "it is in the swap cache";
  expect_content(at, 40);
}

TEST_F(Swap, soft_dirty_is_remembered) {
  swapon();
  const vaddr_t at = swapped_pages(2);
  EXPECT_TRUE(space.pagemap(at, 1).value()[0].soft_dirty());
  ASSERT_TRUE(space.clear_refs());
  EXPECT_TRUE(is_swapped(at));
  EXPECT_FALSE(space.pagemap(at, 1).value()[0].soft_dirty());
  expect_content(at, 1);
  EXPECT_FALSE(space.pagemap(at, 1).value()[0].soft_dirty());
  touch(at);
  EXPECT_TRUE(space.pagemap(at, 1).value()[0].soft_dirty());
  touch(at + PAGE_SIZE); // the first access is a store
  EXPECT_TRUE(space.pagemap(at + PAGE_SIZE, 1).value()[0].soft_dirty());
}

TEST_F(Swap, what_userfaultfd_protects_stays_protected) {
  if (!pte_has_uffd_wp()) GTEST_SKIP() << "the architecture has no bit for it";
  swapon();
  const vaddr_t at = map(2 * PAGE_SIZE);
  fill(at, 2);
  Userfaultfd uffd(space);
  ASSERT_TRUE(uffd.register_range(at, 2 * PAGE_SIZE, Userfaultfd::WRITE_PROTECT));
  ASSERT_TRUE(uffd.write_protect(at, PAGE_SIZE));
  pageout(at, 2);
  ASSERT_TRUE(uffd.write_protect(at + PAGE_SIZE, PAGE_SIZE)) << "while it is away";
  std::vector<vaddr_t> seen;
  std::thread handler([&] {
    while (const auto fault = uffd.read()) {
      seen.push_back(fault->address);
      uffd.write_unprotect(fault->address, PAGE_SIZE).value();
    }
  });
  expect_content(at, 1); // reads are not heard of
  EXPECT_TRUE(can_write(at));
  EXPECT_TRUE(can_write(at + PAGE_SIZE));
  uffd.close();
  handler.join();
  EXPECT_EQ(seen, (std::vector<vaddr_t>{at, at + PAGE_SIZE}));
}

TEST_F(Swap, a_private_copy_of_a_file_goes_too) {
  swapon();
  put(2 * PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t at = map_file(f, 2, Sharing::private_copy);
  touch(at);
  touch(at + PAGE_SIZE);
  pageout(at, 2);
  EXPECT_EQ(swapped(), 2);
  expect_content(at, 1);
  EXPECT_TRUE(can_write(at));
  ASSERT_TRUE(f.punch_hole(PAGE_SIZE, PAGE_SIZE)); // leaves private copies
  EXPECT_EQ(slots_needed(), 1U);
  ASSERT_TRUE(f.resize(PAGE_SIZE)); // does not
  EXPECT_EQ(slots_needed(), 0U);
  EXPECT_EQ(cpu->load<u64>(at + PAGE_SIZE).error(), fault_result::sigbus);
}

TEST_F(Swap, nobody_moves_or_collapses_it) {
  swapon();
  const vaddr_t at = map(2 * MIB);
  fill(at, hpage_pmd_nr());
  pageout(at, hpage_pmd_nr());
  EXPECT_EQ(migrate_page_at(mm, at), -ENOENT);
  EXPECT_NE(vm_madvise(mm, at & ~(2 * MIB - 1), 2 * MIB, MADV_COLLAPSE), 0);
  expect_content(at, hpage_pmd_nr());
}

// ---- the file --------------------------------------------------------------------------------------------

TEST_F(Swap, what_is_there_is_not_in_the_hosts_memory) {
  constexpr u64 PAGES = 64;
  swapon(PAGES);
  struct statfs of;
  const int direct = ::open(swap_path().c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (direct < 0 || ::fstatfs(direct, &of) != 0 || of.f_type == TMPFS_MAGIC)
    GTEST_SKIP() << "the file system has it in memory";
  (void)swapped_pages(PAGES);
  void* file = ::mmap(nullptr, PAGES * PAGE_SIZE, PROT_READ, MAP_SHARED, direct, PAGE_SIZE);
  ASSERT_NE(file, MAP_FAILED);
  std::array<unsigned char, PAGES> resident{};
  EXPECT_EQ(::mincore(file, PAGES * PAGE_SIZE, resident.data()), 0);
  EXPECT_EQ(std::count_if(resident.begin(), resident.end(), [](unsigned char page) { return page & 1; }), 0);
  ::munmap(file, PAGES * PAGE_SIZE);
  ::close(direct);
}

TEST_F(Swap, the_disk_has_room_for_all_of_it) {
  const int other = ::open((directory + "/other").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const bool can_tell = ::fallocate(other, 0, 0, PAGE_SIZE) == 0;
  ::close(other);
  if (!can_tell) GTEST_SKIP() << "the file system cannot say";
  swapon(64);
  struct stat st;
  ASSERT_EQ(::stat(swap_path().c_str(), &st), 0);
  EXPECT_GE(static_cast<u64>(st.st_blocks) * 512, 65 * PAGE_SIZE);
}

TEST_F(Swap, files_that_cannot_be_are_refused) {
  const auto refused = [&](const std::string& file, u64 bytes) {
    return system.reclaim().swapon(file, bytes).error();
  };
  EXPECT_EQ(refused(directory, MIB), std::errc::is_a_directory);
  EXPECT_EQ(refused(directory + "/not/there", MIB), std::errc::no_such_file_or_directory);
  ASSERT_EQ(::mkfifo((directory + "/fifo").c_str(), 0600), 0);
  EXPECT_EQ(refused(directory + "/fifo", MIB), std::errc::invalid_argument);
  EXPECT_EQ(refused(swap_path(), PAGE_SIZE), std::errc::invalid_argument);
  EXPECT_EQ(refused(swap_path(), 0), std::errc::invalid_argument);
  EXPECT_EQ(refused(swap_path(), ~u64{0}), std::errc::invalid_argument);
  EXPECT_EQ(system.reclaim().swapoff().error(), std::errc::invalid_argument);
  EXPECT_EQ(fail_each_allocation(system.failslab(),
                                 [&] {
                                   const auto done = system.reclaim().swapon(swap_path(), MIB);
                                   EXPECT_TRUE(done || done.error() == std::errc::not_enough_memory);
                                   return !done;
                                 }),
            1U);
  EXPECT_EQ(refused(swap_path(), MIB), std::errc::device_or_resource_busy);
}

TEST_F(Swap, swapoff_brings_everything_back) {
  swapon();
  const vaddr_t at = swapped_pages(5);
  auto child = space.fork().value();
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::none));
  ASSERT_TRUE(system.reclaim().swapoff());
  EXPECT_EQ(swapped() + swapped(*child), 0);
  EXPECT_EQ(system.reclaim().statistics().swap_total, 0U);
  std::filesystem::remove(swap_path());
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read));
  expect_content(at, 5);
  in(*child, [&] { expect_content(at, 5); });
  swapon(); // once more
  pageout(at + PAGE_SIZE, 4);
  expect_content(at, 5);
}

TEST_F(Swap, swapoff_without_memory_changes_nothing) {
  swapon();
  const vaddr_t at = swapped_pages(3);
  system.fail_page_alloc().fail_every(1);
  EXPECT_EQ(system.reclaim().swapoff().error(), std::errc::not_enough_memory);
  system.fail_page_alloc().fail_every(0);
  system.reclaim().fail_swap_read().fail_every(1);
  EXPECT_EQ(system.reclaim().swapoff().error(), std::errc::io_error);
  system.reclaim().fail_swap_read().fail_every(0);
  expect_content(at, 3);
  pageout(at, 3);
  EXPECT_EQ(swapped(), 3) << "it goes on";
}

// ---- many at once ----------------------------------------------------------------------------------------

// Two CPUs count in the same pages while a third swaps them out, forks and unmaps.
TEST_F(Swap, no_store_is_lost) {
  constexpr u64 PAGES = 16;
  swapon();
  const vaddr_t at = map(PAGES * PAGE_SIZE);
  expect_no_store_lost(at, PAGES, 100, [&](u64 n) {
    pageout(at, PAGES);
    (void)system.reclaim().shrink(PAGES);
    if (n % 10 == 0) (void)space.fork();
  });
  system.settle();
  EXPECT_EQ(slots_used(), 0U);
}

} // namespace
} // namespace racewalk::test
