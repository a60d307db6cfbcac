// Collapse of files that are made of memory, and the tables that it takes away.
#include <atomic>
#include <cerrno>
#include <thread>

#include "mm/collapse_file.h"
#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/pgalloc.h"
#include "racewalk/file.h"
#include "world.h"

namespace racewalk::test {
namespace {

class CollapseFile : public World {
 protected:
  vaddr_t map_file(AddressSpace& by, Sharing sharing = Sharing::shared) {
    return by.mmap(file, 0, HUGE, sharing).value();
  }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  void write(vaddr_t addr, u64 value) { ASSERT_TRUE(cpu->store<u64>(addr, value).ok()); }
  /// Every page but each `skip`th holds its offset plus 1.
  void fill(vaddr_t at, u64 skip = 0) {
    for (u64 i = 0; i < HUGE; i += PAGE_SIZE)
      if (skip == 0 || i / PAGE_SIZE % skip != 0) write(at + i, i + 1);
  }
  void expect_filled(vaddr_t at, u64 skip = 0) {
    for (u64 i = 0; i < HUGE; i += PAGE_SIZE)
      ASSERT_EQ(read(at + i), skip == 0 || i / PAGE_SIZE % skip != 0 ? i + 1 : 0U);
  }
  pmd_t pmd_of(const mm_struct& of, vaddr_t at) { return pmdp_get(find_pmd(of, at).pmdp); }
  scan_result collapse(unsigned max_none = 511) {
    return collapse_file(mapping(), 0, {.max_ptes_none = max_none, .wanted_only = false});
  }
  address_space& mapping() { return file.opening().mapping(); }
  s64 shmem_pages(const mm_struct& of) { return get_mm_counter(of, MM_SHMEMPAGES); }

  File file = File::in_memory(system, HUGE).value();
};

TEST_F(CollapseFile, keeps_the_content_and_takes_the_tables_of_all_who_map_it) {
  AddressSpace other(system);
  const vaddr_t here = map_file(space);
  const vaddr_t there = map_file(other);
  fill(here);
  cpu.switch_to(other);
  expect_filled(there);
  cpu.switch_to(space);
  const s64 tables_here = tables();
  const s64 tables_there = get_mm_counter(other.mm(), MM_PGTABLES);
  ASSERT_EQ(collapse(), scan_result::succeed);
  EXPECT_TRUE(pmd_none(pmd_of(mm, here)));
  EXPECT_TRUE(pmd_none(pmd_of(other.mm(), there)));
  EXPECT_EQ(tables(), tables_here - 1);
  EXPECT_EQ(get_mm_counter(other.mm(), MM_PGTABLES), tables_there - 1);
  EXPECT_EQ(shmem_pages(mm), 0);
  expect_filled(here);
  EXPECT_TRUE(pmd_trans_huge(pmd_of(mm, here)));
  EXPECT_EQ(shmem_pages(mm), hpage_pmd_nr());
  write(here + 8, 7);
  cpu.switch_to(other);
  EXPECT_EQ(read(there + 8), 7U);
  cpu.switch_to(space);
  EXPECT_EQ(collapse(), scan_result::pte_mapped_hugepage);
}

TEST_F(CollapseFile, what_moves_takes_no_table_of_its_neighbours) {
  const vaddr_t from = map(3 * HUGE);
  const vaddr_t neighbour = (from + HUGE - 1) & pmd_mask();
  const vaddr_t here = neighbour + HUGE;
  const vaddr_t there = here + pud_size(); // behind another PMD table
  ASSERT_EQ(vm_madvise(mm, neighbour, HUGE, MADV_HUGEPAGE), 0);
  touch_all(neighbour);
  ASSERT_TRUE(space.mmap_fixed(here, file, 0, HUGE));
  fill(here);
  ASSERT_EQ(vm_madvise(mm, here, HUGE, MADV_COLLAPSE), 0);
  expect_filled(here);
  ASSERT_TRUE(is_huge(here));
  ASSERT_TRUE(space.mremap_fixed(here, HUGE, HUGE, there));
  EXPECT_TRUE(is_huge(there));
  expect_filled(there);
  ASSERT_EQ(vm_madvise(mm, neighbour, PAGE_SIZE, MADV_DONTNEED),
            0); // needs the table that was deposited for it
  EXPECT_EQ(read(neighbour + PAGE_SIZE), neighbour + PAGE_SIZE);
  ASSERT_TRUE(space.munmap(from, 3 * HUGE));
  ASSERT_TRUE(space.munmap(there, HUGE));
}

TEST_F(CollapseFile, gives_everything_back) {
  const u64 before = used_frames();
  {
    File temporary = File::in_memory(system, HUGE).value();
    const vaddr_t at = space.mmap(temporary, 0, HUGE).value();
    for (u64 i = 0; i < HUGE; i += PAGE_SIZE)
      write(at + i, i);
    EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), 0);
    EXPECT_TRUE(pmd_trans_huge(pmd_of(mm, at)));
    EXPECT_EQ(read(at + 5 * PAGE_SIZE), 5 * PAGE_SIZE);
    ASSERT_TRUE(space.munmap(at, HUGE).has_value());
    EXPECT_EQ(shmem_pages(mm), 0);
  }
  EXPECT_EQ(used_frames(), before);
}

TEST_F(CollapseFile, fills_holes_up_to_a_limit) {
  const vaddr_t at = map_file(space);
  fill(at, 2);
  EXPECT_EQ(collapse(255), scan_result::exceed_none_pte);
  expect_filled(at, 2);
  EXPECT_EQ(collapse(256), scan_result::succeed);
  expect_filled(at, 2);
}

TEST_F(CollapseFile, leaves_what_is_pinned_as_it_is) {
  const vaddr_t at = map_file(space);
  fill(at);
  page* pinned = nullptr;
  ASSERT_EQ(pin_user_pages_fast(mm, at + 9 * PAGE_SIZE, 1, FOLL_WRITE, &pinned), 1);
  EXPECT_EQ(collapse(), scan_result::page_count);
  expect_filled(at);
  unpin_user_pages(&pinned, 1);
  EXPECT_EQ(collapse(), scan_result::succeed);
  expect_filled(at);
}

TEST_F(CollapseFile, leaves_the_table_of_an_area_that_has_pages_of_its_own) {
  const vaddr_t shared = map_file(space);
  const vaddr_t own = map_file(space, Sharing::private_copy);
  fill(shared);
  write(own + 3 * PAGE_SIZE, 33);
  ASSERT_EQ(collapse(), scan_result::succeed);
  EXPECT_TRUE(pmd_is_table(pmd_of(mm, own)));
  EXPECT_TRUE(pmd_none(pmd_of(mm, shared)));
  EXPECT_EQ(read(own + 3 * PAGE_SIZE), 33U);
  EXPECT_EQ(read(own + 4 * PAGE_SIZE), 4 * PAGE_SIZE + 1);
  EXPECT_EQ(read(shared + 3 * PAGE_SIZE), 3 * PAGE_SIZE + 1);
}

TEST_F(CollapseFile, a_store_to_a_private_mapping_of_a_huge_page_copies_a_small_one) {
  const vaddr_t shared = map_file(space);
  const vaddr_t own = map_file(space, Sharing::private_copy);
  fill(shared);
  ASSERT_EQ(collapse(), scan_result::succeed);
  expect_filled(own);
  EXPECT_TRUE(pmd_trans_huge(pmd_of(mm, own)));
  write(own + PAGE_SIZE, 1234);
  EXPECT_EQ(read(own + PAGE_SIZE), 1234U);
  EXPECT_EQ(read(shared + PAGE_SIZE), PAGE_SIZE + 1);
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(CollapseFile, truncation_and_holes_cut_into_a_huge_page) {
  const vaddr_t at = map_file(space);
  fill(at);
  ASSERT_EQ(collapse(), scan_result::succeed);
  ASSERT_TRUE(file.punch_hole(4 * PAGE_SIZE, 2 * PAGE_SIZE).has_value());
  EXPECT_EQ(read(at + 3 * PAGE_SIZE), 3 * PAGE_SIZE + 1);
  EXPECT_EQ(read(at + 4 * PAGE_SIZE), 0U);
  EXPECT_EQ(read(at + 5 * PAGE_SIZE), 0U);
  EXPECT_EQ(read(at + 6 * PAGE_SIZE), 6 * PAGE_SIZE + 1);
  ASSERT_TRUE(file.resize(8 * PAGE_SIZE).has_value());
  EXPECT_EQ(read(at + 7 * PAGE_SIZE), 7 * PAGE_SIZE + 1);
  EXPECT_FALSE(can_read(at + 8 * PAGE_SIZE));
  ASSERT_TRUE(file.resize(HUGE).has_value());
  EXPECT_EQ(read(at + 8 * PAGE_SIZE), 0U);
}

TEST_F(CollapseFile, a_table_that_maps_the_huge_page_page_by_page_goes) {
  const vaddr_t shared = map_file(space);
  fill(shared);
  ASSERT_EQ(collapse(), scan_result::succeed);
  const vaddr_t own = map_file(space, Sharing::private_copy);
  write(own, 1); // gives the area a table; the copy is taken back
  ASSERT_EQ(vm_madvise(mm, own, PAGE_SIZE, MADV_DONTNEED), 0);
  expect_filled(own);
  ASSERT_TRUE(pmd_is_table(pmd_of(mm, own)));
  EXPECT_EQ(collapse_pte_mapped_thp(mm, own, true), scan_result::succeed);
  EXPECT_TRUE(pmd_trans_huge(pmd_of(mm, own)));
  expect_filled(own);
  EXPECT_EQ(shmem_pages(mm), hpage_pmd_nr());
}

TEST_F(CollapseFile, fails_whole_when_memory_is_short) {
  const vaddr_t at = map_file(space);
  fill(at, 2);
  const u64 before = used_frames();
  EXPECT_GT(fail_each_allocation([&] {
              const scan_result result = collapse();
              if (result == scan_result::alloc_huge_page_fail) {
                EXPECT_EQ(used_frames(), before);
                EXPECT_EQ(read(at + PAGE_SIZE), PAGE_SIZE + 1);
              }
              return result == scan_result::alloc_huge_page_fail;
            }),
            0U);
  expect_filled(at, 2);
}

/// While others read, write and pin, the file is collapsed and cut to pieces again and again.
TEST_F(CollapseFile, goes_on_under_readers_writers_and_pins) {
  const vaddr_t at = map_file(space);
  fill(at);
  std::atomic<bool> done{false};
  std::jthread user([&] {
    CpuSession mine(system, 1, space);
    for (u64 i = 0; !done; ++i) {
      const vaddr_t a = at + i * 7 % 512 * PAGE_SIZE;
      ASSERT_EQ(mine->load<u64>(a).value(), a - at + 1);
      ASSERT_TRUE(mine->store<u64>(a + 8, i).ok());
      ASSERT_EQ(mine->load<u64>(a + 8).value(), i);
      page* p = nullptr;
      if (pin_user_pages_fast(mm, a, 1, FOLL_WRITE, &p) != 1) continue;
      auto& word = *static_cast<u64*>(page_address(p));
      EXPECT_EQ(std::atomic_ref(word).load(std::memory_order_relaxed), a - at + 1);
      unpin_user_pages(&p, 1);
    }
  });
  unsigned collapsed = 0;
  for (unsigned round = 0; round < 200; ++round) {
    if (collapse() == scan_result::succeed) ++collapsed;
    File copy = File::in_memory(system, HUGE).value(); // its folio is given back, so that memory is reused
    const vaddr_t there = space.mmap(copy, 0, HUGE).value();
    ASSERT_TRUE(cpu->store<u64>(there, ~u64{0}).ok());
    ASSERT_TRUE(space.munmap(there, HUGE).has_value());
  }
  done = true;
  user.join();
  EXPECT_LE(collapsed, 1U);
  expect_filled(at);
}

} // namespace
} // namespace racewalk::test
