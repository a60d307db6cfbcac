// The page cache and mappings of files that are made of memory.
#include <cerrno>

#include "mm/filemap.h"
#include "mm/gup.h"
#include "mm/migrate.h"
#include "mm/rmap.h"
#include "mm/shmem.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Filemap : public World {
 protected:
  static constexpr u64 PAGES = 64;

  vaddr_t map_shared(u64 pages = PAGES, u64 from = 0) {
    return space.mmap(file, from * PAGE_SIZE, pages * PAGE_SIZE).value();
  }
  vaddr_t map_private(u64 pages = PAGES, u64 from = 0) {
    return space.mmap(file, from * PAGE_SIZE, pages * PAGE_SIZE, Sharing::private_copy).value();
  }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  void write(vaddr_t addr, u64 value) { ASSERT_TRUE(cpu->store<u64>(addr, value).ok()); }
  fault_result fault_of(vaddr_t addr) { return cpu->load<u64>(addr).error(); }
  s64 shmem_pages(const mm_struct& of) { return get_mm_counter(of, MM_SHMEMPAGES); }
  u64 cached() { return static_cast<u64>(atomic_read(file.opening().mapping().nrpages)); }

  File file = File::in_memory(system, PAGES* PAGE_SIZE).value();
};

TEST_F(Filemap, all_who_map_a_file_see_one_memory) {
  AddressSpace other(system);
  const vaddr_t here = map_shared();
  const vaddr_t there = other.mmap(file, PAGE_SIZE, PAGE_SIZE).value();
  write(here + PAGE_SIZE + 8, 42);
  cpu.switch_to(other);
  EXPECT_EQ(read(there + 8), 42U);
  write(there + 16, 43);
  cpu.switch_to(space);
  EXPECT_EQ(read(here + PAGE_SIZE + 16), 43U);
  EXPECT_EQ(cached(), 1U);
  EXPECT_EQ(shmem_pages(mm), 1);
  EXPECT_EQ(shmem_pages(other.mm()), 1);
  EXPECT_EQ(anon_pages(), 0);
}

TEST_F(Filemap, a_private_mapping_sees_the_file_until_it_stores) {
  const vaddr_t shared = map_shared();
  const vaddr_t own = map_private();
  write(shared, 1);
  EXPECT_EQ(read(own), 1U);
  write(shared, 2);
  EXPECT_EQ(read(own), 2U);
  write(own + 8, 3); // read-only entry: the page is copied
  write(shared, 4);
  EXPECT_EQ(read(own), 2U);
  EXPECT_EQ(read(own + 8), 3U);
  EXPECT_EQ(read(shared + 8), 0U);
  EXPECT_EQ(anon_pages(), 1);
  write(own + PAGE_SIZE, 5); // no entry yet: copied at once
  EXPECT_EQ(read(shared + PAGE_SIZE), 0U);
  EXPECT_EQ(anon_pages(), 2);
}

TEST_F(Filemap, reading_maps_what_is_cached_around) {
  const vaddr_t one = map_shared(16);
  for (u64 i = 0; i < 16; ++i)
    write(one + i * PAGE_SIZE, i);
  const s64 before = shmem_pages(mm);
  const vaddr_t another = map_shared(16);
  EXPECT_EQ(read(another + 3 * PAGE_SIZE), 3U);
  EXPECT_EQ(shmem_pages(mm) - before, 16);
}

TEST_F(Filemap, pages_come_and_go_with_the_file_alone) {
  const u64 before = used_frames();
  {
    File temporary = File::in_memory(system, 8 * PAGE_SIZE).value();
    const vaddr_t at = space.mmap(temporary, 0, 8 * PAGE_SIZE).value();
    write(at, 1);
    ASSERT_TRUE(space.munmap(at, 8 * PAGE_SIZE).has_value());
    EXPECT_EQ(shmem_pages(mm), 0);
    const vaddr_t again = space.mmap(temporary, 0, PAGE_SIZE).value();
    EXPECT_EQ(read(again), 1U);
    temporary = File::in_memory(system, 0).value(); // closed; still mapped
    EXPECT_EQ(read(again), 1U);
    ASSERT_TRUE(space.munmap(again, PAGE_SIZE).has_value());
  }
  EXPECT_EQ(used_frames(), before);
}

TEST_F(Filemap, beyond_the_end_is_a_bus_error) {
  ASSERT_TRUE(file.resize(PAGE_SIZE + 1));
  const vaddr_t at = map_shared(4);
  EXPECT_TRUE(can_write(at + PAGE_SIZE));
  EXPECT_EQ(fault_of(at + 2 * PAGE_SIZE), fault_result::sigbus);
  ASSERT_TRUE(file.resize(3 * PAGE_SIZE));
  EXPECT_TRUE(can_write(at + 2 * PAGE_SIZE));
}

TEST_F(Filemap, truncation_takes_pages_from_all_who_map_them) {
  AddressSpace other(system);
  const vaddr_t here = map_shared();
  const vaddr_t own = map_private();
  const vaddr_t there = other.mmap(file, 0, PAGES * PAGE_SIZE).value();
  for (u64 i = 0; i < 8; ++i)
    write(here + i * PAGE_SIZE + 8, i + 1);
  write(own + 5 * PAGE_SIZE, 9);
  cpu.switch_to(other);
  EXPECT_EQ(read(there + 5 * PAGE_SIZE + 8), 6U);
  ASSERT_TRUE(file.resize(4 * PAGE_SIZE + 8));
  EXPECT_EQ(fault_of(there + 5 * PAGE_SIZE), fault_result::sigbus);
  cpu.switch_to(space);
  EXPECT_EQ(fault_of(here + 5 * PAGE_SIZE), fault_result::sigbus);
  EXPECT_EQ(fault_of(own + 5 * PAGE_SIZE), fault_result::sigbus) << "private copies go, too";
  EXPECT_EQ(read(here + 3 * PAGE_SIZE + 8), 4U);
  EXPECT_EQ(read(here + 4 * PAGE_SIZE + 8), 0U) << "the rest of the last page";
  EXPECT_EQ(cached(), 5U);
  ASSERT_TRUE(file.resize(PAGES * PAGE_SIZE));
  EXPECT_EQ(read(here + 5 * PAGE_SIZE + 8), 0U);
}

TEST_F(Filemap, a_hole_is_zero_and_leaves_private_copies) {
  const vaddr_t shared = map_shared();
  const vaddr_t own = map_private();
  for (u64 i = 0; i < 8; ++i)
    for (const u64 at : {u64{0}, PAGE_SIZE / 2})
      write(shared + i * PAGE_SIZE + at, i + 1);
  write(own + 3 * PAGE_SIZE, 9);
  ASSERT_TRUE(file.punch_hole(2 * PAGE_SIZE + PAGE_SIZE / 2, 2 * PAGE_SIZE + 8));
  EXPECT_EQ(read(shared + 2 * PAGE_SIZE), 3U);
  EXPECT_EQ(read(shared + 2 * PAGE_SIZE + PAGE_SIZE / 2), 0U);
  EXPECT_EQ(read(shared + 3 * PAGE_SIZE), 0U);
  EXPECT_EQ(read(shared + 4 * PAGE_SIZE), 0U);
  EXPECT_EQ(read(shared + 4 * PAGE_SIZE + PAGE_SIZE / 2), 0U);
  EXPECT_EQ(read(shared + 5 * PAGE_SIZE), 6U);
  EXPECT_EQ(read(own + 3 * PAGE_SIZE), 9U);
  EXPECT_EQ(file.size(), PAGES * PAGE_SIZE);
  EXPECT_EQ(file.punch_hole(0, 0).error(), std::errc::invalid_argument);
}

TEST_F(Filemap, a_hole_inside_one_page) {
  const vaddr_t at = map_shared();
  for (u64 i = 0; i < 4; ++i)
    write(at + i * 8, ~u64{0});
  ASSERT_TRUE(file.punch_hole(9, 10));
  EXPECT_EQ(read(at), ~u64{0});
  EXPECT_EQ(read(at + 8), 0xffU);
  EXPECT_EQ(read(at + 16), 0xffffffffff000000U);
  EXPECT_EQ(read(at + 24), ~u64{0});
}

TEST_F(Filemap, areas_that_are_cut_and_joined_stay_with_their_file) {
  const vaddr_t at = map_shared();
  const std::size_t before = areas(at);
  write(at + 10 * PAGE_SIZE, 1);
  ASSERT_TRUE(space.mprotect(at + 8 * PAGE_SIZE, 4 * PAGE_SIZE, Access::read));
  EXPECT_EQ(areas(at), before + 2);
  EXPECT_FALSE(can_write(at + 10 * PAGE_SIZE));
  EXPECT_EQ(read(at + 10 * PAGE_SIZE), 1U);
  ASSERT_TRUE(file.resize(9 * PAGE_SIZE));
  EXPECT_EQ(fault_of(at + 10 * PAGE_SIZE), fault_result::sigbus) << "found by the file in its new area";
  ASSERT_TRUE(space.mprotect(at + 8 * PAGE_SIZE, 4 * PAGE_SIZE, Access::read_write));
  EXPECT_EQ(areas(at), before);
  ASSERT_TRUE(file.resize(PAGES * PAGE_SIZE));
  write(at + 20 * PAGE_SIZE, 2);
  ASSERT_TRUE(space.munmap(at, 16 * PAGE_SIZE));
  EXPECT_EQ(read(at + 20 * PAGE_SIZE), 2U);
  ASSERT_TRUE(file.resize(0));
  EXPECT_EQ(fault_of(at + 20 * PAGE_SIZE), fault_result::sigbus);
}

TEST_F(Filemap, a_mapping_can_be_continued_in_place) {
  const vaddr_t at = map_shared(8, 4);
  const std::size_t before = areas(at);
  ASSERT_TRUE(space.munmap(at + 4 * PAGE_SIZE, 4 * PAGE_SIZE));
  ASSERT_TRUE(space.mmap_fixed(at + 4 * PAGE_SIZE, file, 8 * PAGE_SIZE, 4 * PAGE_SIZE));
  EXPECT_EQ(areas(at), before) << "the same pages of the same file";
  ASSERT_TRUE(space.mmap_fixed(at + 4 * PAGE_SIZE, file, 0, 4 * PAGE_SIZE));
  EXPECT_EQ(areas(at), before + 1) << "other pages of it";
  write(at + 4 * PAGE_SIZE, 7);
  const vaddr_t whole = map_shared();
  EXPECT_EQ(read(whole), 7U);
}

TEST_F(Filemap, dirty_entries_leave_the_folio_dirty) {
  const vaddr_t at = map_shared(1);
  write(at, 1);
  folio* folio = filemap_get_folio(file.opening().mapping(), 0);
  ASSERT_NE(folio, nullptr);
  folio_clear_dirty(folio);
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  EXPECT_TRUE(folio_test_dirty(folio)) << "moved from the entry";
  EXPECT_FALSE(folio_mapped(folio));
  folio_put(folio);
}

TEST_F(Filemap, mkclean_finds_every_mapping) {
  AddressSpace other(system);
  const vaddr_t here = map_shared();
  const vaddr_t again = map_shared(4, 2);
  const vaddr_t there = other.mmap(file, 2 * PAGE_SIZE, PAGE_SIZE).value();
  write(here + 3 * PAGE_SIZE, 1);
  write(again + PAGE_SIZE, 2);
  cpu.switch_to(other);
  write(there, 1);
  cpu.switch_to(space);
  folio* folio = filemap_get_folio(file.opening().mapping(), 3);
  folio_lock(folio);
  EXPECT_EQ(folio_mapcount(folio), 2);
  EXPECT_TRUE(folio_mkclean(folio));
  EXPECT_FALSE(folio_mkclean(folio));
  folio_unlock(folio);
  write(here + 3 * PAGE_SIZE, 3); // granted anew
  folio_lock(folio);
  EXPECT_TRUE(folio_mkclean(folio));
  folio_unlock(folio);
  folio_put(folio);
}

TEST_F(Filemap, pins_of_file_pages_outlive_truncation) {
  const vaddr_t at = map_shared();
  write(at, 1);
  PinnedPages pinned = space.pin(at, 2).value();
  ASSERT_TRUE(file.resize(0));
  EXPECT_EQ(fault_of(at), fault_result::sigbus);
  EXPECT_EQ(static_cast<u64>(pinned[0][0]), 1U);
}

TEST_F(Filemap, a_write_pin_of_a_private_mapping_is_of_a_copy) {
  const vaddr_t shared = map_shared();
  const vaddr_t own = map_private();
  write(shared, 1);
  EXPECT_EQ(read(own), 1U);
  PinnedPages pinned = space.pin(own, 1).value();
  pinned[0][0] = std::byte{7};
  EXPECT_EQ(read(own), 7U);
  EXPECT_EQ(read(shared), 1U);
}

TEST_F(Filemap, calls_that_cannot_be_are_refused) {
  racewalk::file& f = file.opening();
  EXPECT_EQ(vm_mmap_file(mm, 0, PAGE_SIZE, PROT_READ, MAP_SHARED, f, 1), -EINVAL);
  EXPECT_EQ(vm_mmap_file(mm, 0, 0, PROT_READ, MAP_SHARED, f, 0), -EINVAL);
  EXPECT_EQ(vm_mmap_file(mm, 0, PAGE_SIZE, PROT_READ, 0, f, 0), -EINVAL);
  EXPECT_EQ(vm_mmap_file(mm, 0, 2 * PAGE_SIZE, PROT_READ, MAP_SHARED, f, ~u64{0} & PAGE_MASK), -EOVERFLOW);
  EXPECT_EQ(vm_mmap(mm, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE), -EBADF);
  racewalk::file* readable = shmem_file_setup(PAGE_SIZE, FMODE_READ);
  EXPECT_EQ(vm_mmap_file(mm, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *readable, 0), -EACCES);
  const long at = vm_mmap_file(mm, 0, PAGE_SIZE, PROT_READ, MAP_SHARED, *readable, 0);
  ASSERT_GT(at, 0);
  EXPECT_EQ(vm_mprotect(mm, static_cast<vaddr_t>(at), PAGE_SIZE, PROT_READ | PROT_WRITE), -EACCES);
  const long own = vm_mmap_file(mm, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, *readable, 0);
  ASSERT_GT(own, 0);
  write(static_cast<vaddr_t>(own), 1);
  fput(*readable);
}

TEST_F(Filemap, shared_anonymous_memory_is_a_file_of_its_own) {
  const long at = vm_mmap(mm, 0, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  ASSERT_GT(at, 0);
  write(static_cast<vaddr_t>(at), 1);
  EXPECT_EQ(shmem_pages(mm), 1);
  ASSERT_TRUE(space.munmap(static_cast<vaddr_t>(at), 4 * PAGE_SIZE));
  EXPECT_EQ(shmem_pages(mm), 0);
}

TEST_F(Filemap, dontneed_forgets_the_mapping_not_the_file) {
  const vaddr_t shared = map_shared();
  const vaddr_t own = map_private();
  write(shared, 1);
  write(own, 2);
  ASSERT_EQ(vm_madvise(mm, shared, PAGE_SIZE, MADV_DONTNEED), 0);
  ASSERT_EQ(vm_madvise(mm, own, PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_EQ(read(shared), 1U);
  EXPECT_EQ(read(own), 1U) << "the copy is gone";
}

TEST_F(Filemap, file_pages_are_not_moved) {
  const vaddr_t at = map_shared();
  write(at, 1);
  EXPECT_EQ(migrate_page_at(mm, at), -EOPNOTSUPP);
}

TEST_F(Filemap, sparse_files_take_what_is_touched) {
  const u64 far = u64{1} << 40;
  ASSERT_TRUE(file.resize(far + PAGE_SIZE));
  const vaddr_t at = space.mmap(file, far, PAGE_SIZE).value();
  write(at, 5);
  const vaddr_t low = map_shared(1);
  write(low, 6);
  EXPECT_EQ(cached(), 2U);
  EXPECT_EQ(read(at), 5U);
  ASSERT_TRUE(file.resize(PAGE_SIZE));
  EXPECT_EQ(cached(), 1U);
  EXPECT_EQ(fault_of(at), fault_result::sigbus);
}

TEST_F(Filemap, out_of_memory_changes_nothing) {
  const vaddr_t at = map_shared();
  const vaddr_t own = map_private();
  const auto fails = [&](vaddr_t addr) { return !can_write(addr); };
  EXPECT_GT(fail_each_allocation([&] { return fails(at + PAGE_SIZE); }), 0U);
  EXPECT_GT(fail_each_allocation([&] { return fails(own + PAGE_SIZE); }), 0U);
  write(own + PAGE_SIZE, 1);
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
}

} // namespace
} // namespace racewalk::test
