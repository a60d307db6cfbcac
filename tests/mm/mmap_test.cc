#include "mm/mmap.h"

#include <cerrno>

#include "mm/vma.h"
#include "world.h"

namespace racewalk::test {
namespace {

constexpr int ANON = MAP_PRIVATE | MAP_ANONYMOUS;
constexpr int RW = PROT_READ | PROT_WRITE;

class Mmap : public World {
 protected:
  static constexpr vaddr_t AT = u64{1} << 30;
  long map_at(vaddr_t addr, u64 bytes, int prot = RW, int flags = MAP_FIXED) {
    return vm_mmap(mm, addr, bytes, prot, ANON | flags);
  }
};

TEST_F(Mmap, RefusesWhatLinuxRefuses) {
  EXPECT_EQ(vm_mmap(mm, 0, 0, RW, ANON), -EINVAL);
  EXPECT_EQ(vm_mmap(mm, 0, PAGE_SIZE, RW, MAP_ANONYMOUS), -EINVAL) << "neither private nor shared";
  EXPECT_EQ(vm_mmap(mm, 0, PAGE_SIZE, RW, MAP_PRIVATE), -EBADF) << "no file is given";
  EXPECT_EQ(vm_mmap(mm, AT + 1, PAGE_SIZE, RW, ANON | MAP_FIXED), -EINVAL);
  EXPECT_EQ(vm_mmap(mm, 0, ~u64{0}, RW, ANON), -ENOMEM);
  EXPECT_EQ(map_at(geometry().address_limit(), PAGE_SIZE), -ENOMEM);
  EXPECT_EQ(vm_munmap(mm, AT + 1, PAGE_SIZE), -EINVAL);
  EXPECT_EQ(vm_munmap(mm, AT, 0), -EINVAL);
  EXPECT_EQ(vm_munmap(mm, geometry().address_limit(), PAGE_SIZE), -EINVAL);
  EXPECT_EQ(vm_mprotect(mm, AT + 1, PAGE_SIZE, RW), -EINVAL);
  EXPECT_EQ(vm_mprotect(mm, AT, PAGE_SIZE, 0x100), -EINVAL);
  EXPECT_EQ(vm_mprotect(mm, AT, PAGE_SIZE, RW), -ENOMEM) << "nothing is mapped there";
  EXPECT_EQ(vm_madvise(mm, AT, PAGE_SIZE, -1), -EINVAL);
}

TEST_F(Mmap, RoundsLengthsUpToPages) {
  ASSERT_EQ(map_at(AT, 1), static_cast<long>(AT));
  EXPECT_TRUE(can_write(AT + PAGE_SIZE - 8));
  EXPECT_FALSE(can_write(AT + PAGE_SIZE));
}

TEST_F(Mmap, UnmappingNothingSucceeds) { EXPECT_EQ(vm_munmap(mm, AT, 10 * MIB), 0); }

TEST_F(Mmap, TakesTheWishOrAnotherPlace) {
  EXPECT_EQ(map_at(AT, PAGE_SIZE, RW, 0), static_cast<long>(AT));
  const long other = map_at(AT, PAGE_SIZE, RW, 0);
  EXPECT_GT(other, 0);
  EXPECT_NE(other, static_cast<long>(AT));
  EXPECT_EQ(map_at(AT, PAGE_SIZE, RW, MAP_FIXED_NOREPLACE), -EEXIST);
}

TEST_F(Mmap, FixedReplacesWhatWasThere) {
  ASSERT_GT(map_at(AT, 3 * PAGE_SIZE), 0);
  for (int i = 0; i < 3; ++i)
    touch(AT + i * PAGE_SIZE);
  ASSERT_GT(map_at(AT + PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(*cpu->load<u64>(AT), AT);
  EXPECT_EQ(*cpu->load<u64>(AT + PAGE_SIZE), 0u);
  EXPECT_EQ(*cpu->load<u64>(AT + 2 * PAGE_SIZE), AT + 2 * PAGE_SIZE);
}

TEST_F(Mmap, JoinsNeighboursThatAreAlike) {
  ASSERT_GT(map_at(AT, PAGE_SIZE), 0);
  ASSERT_GT(map_at(AT + 2 * PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(areas(AT), 2u);
  ASSERT_GT(map_at(AT + PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(areas(AT), 1u);
  ASSERT_GT(map_at(AT + 3 * PAGE_SIZE, PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(areas(AT), 2u);
}

TEST_F(Mmap, CutsAreasAtTheEndsOfARange) {
  ASSERT_GT(map_at(AT, 5 * PAGE_SIZE), 0);
  ASSERT_EQ(vm_munmap(mm, AT + 2 * PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(areas(AT), 2u);
  EXPECT_TRUE(can_write(AT + PAGE_SIZE));
  EXPECT_FALSE(can_read(AT + 2 * PAGE_SIZE));
  EXPECT_TRUE(can_write(AT + 3 * PAGE_SIZE));
}

TEST_F(Mmap, ProtectsAndJoinsAgain) {
  ASSERT_GT(map_at(AT, 4 * PAGE_SIZE), 0);
  for (int i = 0; i < 4; ++i)
    touch(AT + i * PAGE_SIZE);
  ASSERT_EQ(vm_mprotect(mm, AT + PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ), 0);
  EXPECT_EQ(areas(AT), 3u);
  EXPECT_FALSE(can_write(AT + PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(AT + 2 * PAGE_SIZE), AT + 2 * PAGE_SIZE);
  EXPECT_TRUE(can_write(AT + 3 * PAGE_SIZE));
  ASSERT_EQ(vm_mprotect(mm, AT, 4 * PAGE_SIZE, PROT_NONE), 0);
  EXPECT_EQ(areas(AT), 1u);
  EXPECT_FALSE(can_read(AT));
  ASSERT_EQ(vm_mprotect(mm, AT, 4 * PAGE_SIZE, RW), 0);
  EXPECT_EQ(*cpu->load<u64>(AT), AT) << "what was there survives PROT_NONE";
}

TEST_F(Mmap, ProtectingAcrossAHoleChangesNothing) {
  ASSERT_GT(map_at(AT, PAGE_SIZE), 0);
  ASSERT_GT(map_at(AT + 2 * PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(vm_mprotect(mm, AT, 3 * PAGE_SIZE, PROT_READ), -ENOMEM);
  EXPECT_TRUE(can_write(AT));
}

TEST_F(Mmap, SpansRegions) {
  const vaddr_t border = geometry().size(geometry().root_level());
  ASSERT_GT(map_at(border - 2 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
  for (int i = -2; i < 2; ++i)
    touch(border + static_cast<u64>(i) * PAGE_SIZE);
  ASSERT_EQ(vm_mprotect(mm, border - PAGE_SIZE, 2 * PAGE_SIZE, PROT_READ), 0);
  EXPECT_FALSE(can_write(border - PAGE_SIZE));
  EXPECT_FALSE(can_write(border));
  ASSERT_EQ(vm_munmap(mm, border - 2 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
  EXPECT_FALSE(can_read(border - PAGE_SIZE));
  EXPECT_EQ(anon_pages(), 0);
}

TEST_F(Mmap, MapsMoreThanARegion) {
  const u64 size = geometry().size(geometry().root_level());
  const vaddr_t at = space.mmap(size + PAGE_SIZE).value();
  EXPECT_TRUE(can_write(at));
  EXPECT_TRUE(can_write(at + size));
}

TEST_F(Mmap, FillsHolesAgain) {
  std::vector<vaddr_t> at;
  for (int i = 0; i < 100; ++i)
    at.push_back(map(PAGE_SIZE));
  const vaddr_t end = at.back() + PAGE_SIZE;
  for (int i = 0; i < 100; i += 2)
    ASSERT_EQ(vm_munmap(mm, at[i], PAGE_SIZE), 0);
  for (int i = 0; i < 50; ++i)
    EXPECT_LT(map(PAGE_SIZE), end);
  EXPECT_GE(map(2 * PAGE_SIZE), end);
}

TEST_F(Mmap, AlignsLargeMappingsToHugePages) { EXPECT_EQ(map(4 * MIB) % pmd_size(), 0u); }

TEST_F(Mmap, HasALimitOfAreas) {
  // every second page, so that none can be joined
  vaddr_t addr = AT;
  for (std::size_t i = 0; i < MAX_MAP_COUNT; ++i, addr += 2 * PAGE_SIZE)
    ASSERT_GT(map_at(addr, PAGE_SIZE), 0);
  EXPECT_EQ(map_at(addr, PAGE_SIZE), -ENOMEM);
  EXPECT_TRUE(can_write(AT));
  EXPECT_EQ(vm_munmap(mm, AT, addr - AT), 0);
}

TEST_F(Mmap, AHugePageIsCutWithoutAnAllocation) {
  const vaddr_t at = map(4 * MIB);
  ASSERT_EQ(vm_madvise(mm, at, 4 * MIB, MADV_HUGEPAGE), 0);
  touch(at);
  const s64 tables_before = tables();
  system.fail_page_alloc().fail_nth(1);
  EXPECT_EQ(vm_munmap(mm, at + PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_TRUE(system.fail_page_alloc().pending()) << "a page was asked for";
  system.fail_page_alloc().fail_nth(0);
  EXPECT_EQ(tables(), tables_before) << "the table was there from the beginning";
  EXPECT_FALSE(can_read(at + PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

} // namespace
} // namespace racewalk::test
