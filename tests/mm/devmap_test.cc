// Memory of devices: entries that take no reference, in the size that the device has, and what keeps a
// device.
#include <atomic>
#include <cerrno>
#include <chrono>
#include <thread>

#include "mm/dax.h"
#include "mm/gup.h"
#include "mm/mempolicy.h"
#include "mm/migrate.h"
#include "mm/task_mmu.h"
#include "mm/userfaultfd.h"
#include "racewalk/device_memory.h"
#include "world.h"

namespace racewalk::test {
namespace {

class Devmap : public World {
 protected:
  static constexpr u64 SIZE = 2 * HUGE;

  void SetUp() override {
    if (!has_devmap()) GTEST_SKIP() << "the architecture has no entries for devices";
    device.emplace(DeviceMemory::add(system, SIZE).value());
    file.emplace(device->open().value());
  }
  vaddr_t map_device(AddressSpace& by) { return by.mmap(*file, 0, SIZE).value(); }
  vaddr_t map_device() { return map_device(space); }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  void write(vaddr_t addr, u64 value) { ASSERT_TRUE(cpu->store<u64>(addr, value).ok()); }
  pmd_t entry(mm_struct& of, vaddr_t at) {
    const pmd_lookup found = find_pmd(of, at);
    return found.found ? pmdp_get(found.pmdp) : pmd_t{};
  }
  pmd_t entry(vaddr_t at) { return entry(mm, at); }
  /// What the device has at an offset.
  u64& at_device(u64 offset) { return *reinterpret_cast<u64*>(device->memory().data() + offset); }
  page* device_page(u64 n) const { return pfn_to_page(opened().pgmap.first + n); }
  dev_dax& opened() const { return *file->opening().mapping().dax; }
  s32 references(u64 n) const { return atomic_read(device_page(n)->_refcount); }
  s64 counted_pages() {
    return get_mm_counter(mm, MM_FILEPAGES) + get_mm_counter(mm, MM_SHMEMPAGES) + anon_pages();
  }

  std::optional<DeviceMemory> device;
  std::optional<File> file;
};

// ---- faults ----------------------------------------------------------------------------------------------

TEST_F(Devmap, AFaultMapsAHugeEntryThatTakesNothing) {
  const u64 frames = used_frames();
  const vaddr_t at = map_device();
  EXPECT_EQ(at % HUGE, 0U);
  const s64 tables_before = tables();
  write(at + 5 * PAGE_SIZE, 7);
  EXPECT_EQ(at_device(5 * PAGE_SIZE), 7U);
  EXPECT_TRUE(pmd_is_devmap(entry(at)) && pmd_dirty(entry(at)) && pmd_write(entry(at)));
  EXPECT_TRUE(pmd_none(entry(at + HUGE)));
  at_device(HUGE) = 9;
  EXPECT_EQ(read(at + HUGE), 9U);
  EXPECT_TRUE(pmd_is_devmap(entry(at + HUGE)));
  EXPECT_EQ(references(5), 1);
  EXPECT_EQ(counted_pages(), 0);
  EXPECT_LE(tables(), tables_before + 2) << "tables above the entries only";
  ASSERT_TRUE(space.munmap(at, SIZE));
  EXPECT_EQ(references(5), 1);
  EXPECT_EQ(used_frames(), frames);
}

TEST_F(Devmap, TheFirstStoreAfterALoadIsRecorded) {
  const vaddr_t at = map_device();
  EXPECT_EQ(read(at), 0U);
  EXPECT_FALSE(pmd_dirty(entry(at)));
  write(at, 1);
  EXPECT_TRUE(pmd_dirty(entry(at)) && pmd_is_devmap(entry(at)));
}

TEST_F(Devmap, ADeviceOfSmallPagesIsMappedByThose) {
  DeviceMemory small = DeviceMemory::add(system, HUGE, DeviceMemory::Align::page).value();
  File opening = small.open().value();
  const vaddr_t at = space.mmap(opening, 3 * PAGE_SIZE, 2 * PAGE_SIZE).value();
  write(at, 7);
  EXPECT_EQ(*reinterpret_cast<u64*>(small.memory().data() + 3 * PAGE_SIZE), 7U);
  const pmd_lookup found = find_pmd(mm, at);
  {
    pte_map_lock table(found.pmdp);
    ASSERT_TRUE(table);
    const pte_t pte = ptep_get(table.at(at));
    EXPECT_TRUE(pte_devmap(pte) && pte_special(pte) && pte_dirty(pte));
    EXPECT_TRUE(pte_none(ptep_get(table.at(at + PAGE_SIZE))));
  }
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read));
  EXPECT_FALSE(can_write(at));
  ASSERT_TRUE(space.mprotect(at, PAGE_SIZE, Access::read_write));
  EXPECT_TRUE(can_write(at));
  ASSERT_TRUE(space.munmap(at, PAGE_SIZE));
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  EXPECT_EQ(counted_pages(), 0);
  ASSERT_TRUE(space.munmap(at + PAGE_SIZE, PAGE_SIZE));
}

TEST_F(Devmap, TouchingWhatIsBeyondTheEndIsSigbus) {
  const vaddr_t at = space.mmap(*file, HUGE, SIZE).value();
  EXPECT_TRUE(can_write(at));
  const result<u64> beyond = cpu->load<u64>(at + HUGE);
  ASSERT_FALSE(beyond.ok());
  EXPECT_EQ(beyond.error(), fault_result::sigbus);
}

// ---- refusals --------------------------------------------------------------------------------------------

TEST_F(Devmap, MappingsThatCannotBeAreRefused) {
  const auto refused = [](const auto& made, std::errc why) { return !made && made.error() == why; };
  EXPECT_TRUE(refused(space.mmap(*file, 0, SIZE, Sharing::private_copy), std::errc::invalid_argument));
  EXPECT_TRUE(refused(space.mmap(*file, PAGE_SIZE, HUGE), std::errc::invalid_argument));
  EXPECT_TRUE(refused(space.mmap(*file, 0, PAGE_SIZE), std::errc::invalid_argument));
  const vaddr_t hole = map(4 * HUGE);
  EXPECT_TRUE(refused(space.mmap_fixed(hole + PAGE_SIZE, *file, 0, HUGE), std::errc::invalid_argument));
  EXPECT_TRUE(can_write(hole + PAGE_SIZE)) << "what was mapped there is as it was";
}

TEST_F(Devmap, SizesThatCannotBeAreRefused) {
  EXPECT_EQ(DeviceMemory::add(system, 0).error(), std::errc::invalid_argument);
  EXPECT_EQ(DeviceMemory::add(system, HUGE + PAGE_SIZE).error(), std::errc::invalid_argument);
  EXPECT_EQ(DeviceMemory::add(system, u64{1} << 40).error(), std::errc::not_enough_memory);
  std::errc why{};
  std::thread([&] { // this thread is a CPU of another system
    System without(16 * MIB, 1);
    why = DeviceMemory::add(without, HUGE).error();
  })
      .join();
  EXPECT_EQ(why, std::errc::not_enough_memory);
}

TEST_F(Devmap, WhatCutsAHugeEntryIsRefused) {
  const vaddr_t at = map_device();
  write(at, 7);
  EXPECT_EQ(space.munmap(at, PAGE_SIZE).error(), std::errc::invalid_argument);
  EXPECT_EQ(space.mprotect(at + PAGE_SIZE, PAGE_SIZE, Access::read).error(), std::errc::invalid_argument);
  EXPECT_EQ(space.mremap(at, HUGE + PAGE_SIZE, 2 * SIZE).error(), std::errc::invalid_argument);
  EXPECT_EQ(space.madvise(at + PAGE_SIZE, PAGE_SIZE, MADV_RANDOM).error(), std::errc::invalid_argument);
  EXPECT_EQ(areas(at), 1U);
  EXPECT_EQ(read(at), 7U);
  ASSERT_TRUE(space.munmap(at + HUGE, HUGE));
  EXPECT_EQ(read(at), 7U);
}

TEST_F(Devmap, AsAFileItIsOnlyMapped) {
  std::byte bytes[8]{};
  EXPECT_EQ(file->read(0, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(file->write(0, bytes).error(), std::errc::invalid_argument);
  EXPECT_EQ(file->resize(HUGE).error(), std::errc::invalid_argument);
  EXPECT_EQ(file->punch_hole(0, HUGE).error(), std::errc::no_such_device);
  EXPECT_EQ(file->sync().error(), std::errc::invalid_argument);
  EXPECT_EQ(file->size(), SIZE);
  const vaddr_t at = map_device();
  EXPECT_EQ(space.msync(at, SIZE).error(), std::errc::invalid_argument);
}

TEST_F(Devmap, NobodyMovesCollapsesOrTakesItBack) {
  const vaddr_t at = map_device();
  write(at, 7);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_COLLAPSE), -EINVAL);
  EXPECT_EQ(vm_madvise(mm, at, HUGE, MADV_FREE), -EINVAL);
  for (const int advice : {MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_MERGEABLE})
    EXPECT_EQ(vm_madvise(mm, at, HUGE, advice), 0) << advice;
  EXPECT_EQ(space.move_pages(std::array{at})[0], std::errc::no_such_file_or_directory);
  EXPECT_EQ(change_prot_numa(mm, at, at + SIZE), 0);
  EXPECT_TRUE(pmd_is_devmap(entry(at)) && !pmd_protnone(entry(at)));
  EXPECT_EQ(read(at), 7U);
  EXPECT_EQ(references(0), 1);
}

// ---- what happens to the entry ---------------------------------------------------------------------------

TEST_F(Devmap, ASplitEntryIsGoneAndComesBack) {
  const vaddr_t at = map_device();
  write(at, 7);
  ASSERT_EQ(vm_madvise(mm, at + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED), 0);
  EXPECT_TRUE(pmd_none(entry(at)));
  EXPECT_EQ(read(at), 7U);
  EXPECT_TRUE(pmd_is_devmap(entry(at)));
  ASSERT_EQ(vm_madvise(mm, at, SIZE, MADV_DONTNEED), 0);
  EXPECT_TRUE(pmd_none(entry(at)));
  EXPECT_EQ(read(at), 7U);
}

TEST_F(Devmap, AForkSharesIt) {
  const vaddr_t at = map_device();
  write(at, 7);
  const auto child = space.fork().value();
  EXPECT_TRUE(pmd_none(entry(child->mm(), at)));
  EXPECT_TRUE(pmd_write(entry(at)));
  cpu.switch_to(*child);
  EXPECT_EQ(read(at), 7U);
  write(at, 8);
  EXPECT_TRUE(pmd_is_devmap(entry(child->mm(), at)));
  cpu.switch_to(space);
  EXPECT_EQ(read(at), 8U);
}

TEST_F(Devmap, RightsChangeInPlace) {
  const vaddr_t at = map_device();
  write(at, 7);
  ASSERT_TRUE(space.mprotect(at, HUGE, Access::read));
  EXPECT_TRUE(pmd_is_devmap(entry(at)) && !pmd_write(entry(at)) && pmd_dirty(entry(at)));
  EXPECT_FALSE(can_write(at));
  ASSERT_TRUE(space.mprotect(at, HUGE, Access::none));
  EXPECT_TRUE(pmd_is_devmap(entry(at)));
  EXPECT_FALSE(can_read(at));
  ASSERT_TRUE(space.mprotect(at, HUGE, Access::read_write));
  EXPECT_EQ(read(at), 7U);
  EXPECT_TRUE(can_write(at));
}

TEST_F(Devmap, MremapMovesTheEntry) {
  const vaddr_t at = map_device();
  write(at + HUGE, 7);
  const vaddr_t to = map(SIZE);
  ASSERT_TRUE(space.mremap_fixed(at, SIZE, SIZE, to));
  EXPECT_TRUE(pmd_none(entry(at + HUGE)));
  EXPECT_TRUE(pmd_is_devmap(entry(to + HUGE)));
  EXPECT_EQ(read(to + HUGE), 7U);
  EXPECT_FALSE(can_read(at + HUGE));
}

TEST_F(Devmap, WhereMremapHasPutItAskewItCannotBeTouched) {
  const vaddr_t at = map_device();
  write(at, 7);
  const vaddr_t to = map(SIZE + HUGE) + PAGE_SIZE;
  ASSERT_TRUE(space.mremap_fixed(at, SIZE, SIZE, to));
  EXPECT_FALSE(can_read(to));
  ASSERT_TRUE(space.mremap_fixed(to, SIZE, SIZE, at));
  EXPECT_EQ(read(at), 7U);
}

TEST_F(Devmap, StoresAreTracked) {
  if (arch().soft_dirty == 0) GTEST_SKIP() << "the architecture has no soft-dirty bit";
  const vaddr_t at = map_device();
  write(at, 7);
  EXPECT_EQ(read(at + HUGE), 0U);
  ASSERT_TRUE(space.clear_refs());
  const auto soft_dirty = [&](vaddr_t addr) { return space.pagemap(addr, 1).value()[0].soft_dirty(); };
  EXPECT_FALSE(soft_dirty(at));
  write(at, 8);
  EXPECT_TRUE(soft_dirty(at));
  EXPECT_FALSE(soft_dirty(at + HUGE));
  const PagemapEntry word = space.pagemap(at + PAGE_SIZE, 1).value()[0];
  EXPECT_TRUE(word.present() && !word.exclusive());
  EXPECT_EQ(word.pfn(), opened().pgmap.first + 1);
  EXPECT_TRUE(pmd_is_devmap(entry(at)));
}

// ---- pins ------------------------------------------------------------------------------------------------

TEST_F(Devmap, PinsAreCountedPageByPage) {
  const vaddr_t at = map_device();
  page* pages[1024];
  EXPECT_EQ(pin_user_pages_fast_only(mm, at, 1, FOLL_WRITE, pages), 0U) << "nothing is mapped yet";
  EXPECT_EQ(pin_user_pages(mm, at, 3, FOLL_WRITE, pages), 3);
  EXPECT_EQ(pages[2], device_page(2));
  EXPECT_EQ(references(2), 1 + GUP_PIN_COUNTING_BIAS);
  unpin_user_pages_dirty_lock(pages, 3);
  EXPECT_EQ(references(2), 1);
  write(at + HUGE, 1);
  EXPECT_EQ(pin_user_pages_fast_only(mm, at + PAGE_SIZE, 1023, FOLL_WRITE, pages), 1023U);
  EXPECT_EQ(references(1), 1 + GUP_PIN_COUNTING_BIAS);
  EXPECT_EQ(references(1023), 1 + GUP_PIN_COUNTING_BIAS);
  EXPECT_EQ(references(0), 1);
  unpin_user_pages(pages, 1023);
  EXPECT_EQ(references(1023), 1);
  EXPECT_EQ(get_user_pages_fast(mm, at, 1, FOLL_NONE, pages), 1);
  EXPECT_EQ(references(0), 2);
  put_page(pages[0]);
}

TEST_F(Devmap, ALongPinIsForTheAreaToDecide) {
  const vaddr_t at = map_device();
  write(at, 7);
  page* got = nullptr;
  EXPECT_EQ(pin_user_pages_fast_only(mm, at, 1, FOLL_WRITE | FOLL_LONGTERM, &got), 0U);
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE | FOLL_LONGTERM, &got), 1);
  unpin_user_page(got);
}

TEST_F(Devmap, PinsRespectRights) {
  const vaddr_t at = space.mmap(*file, 0, SIZE, Sharing::shared, Access::read).value();
  page* got = nullptr;
  EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE, &got), -EFAULT);
  EXPECT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_WRITE | FOLL_FORCE, &got), -EFAULT) << "there is no copy";
  ASSERT_EQ(pin_user_pages_fast(mm, at, 1, FOLL_NONE, &got), 1);
  EXPECT_EQ(got, device_page(0));
  unpin_user_page(got);
}

TEST_F(Devmap, PinsOfSmallPages) {
  DeviceMemory small = DeviceMemory::add(system, HUGE, DeviceMemory::Align::page).value();
  File opening = small.open().value();
  const vaddr_t at = space.mmap(opening, 0, 8 * PAGE_SIZE).value();
  for (u64 i = 0; i < 4; ++i)
    touch(at + i * PAGE_SIZE);
  page* pages[8];
  EXPECT_EQ(pin_user_pages_fast_only(mm, at, 8, FOLL_WRITE, pages), 4U);
  unpin_user_pages(pages, 4);
  EXPECT_EQ(pin_user_pages_fast(mm, at, 8, FOLL_WRITE, pages), 8);
  EXPECT_EQ(page_address(pages[7]), small.memory().data() + 7 * PAGE_SIZE);
  unpin_user_pages(pages, 8);
}

// ---- coming and going ------------------------------------------------------------------------------------

TEST_F(Devmap, ClearRefusesWhileAPageIsPinned) {
  const vaddr_t at = map_device();
  write(at + PAGE_SIZE, 7);
  {
    const PinnedPages pin = space.pin(at + PAGE_SIZE, 1).value();
    EXPECT_EQ(device->clear().error(), std::errc::device_or_resource_busy);
    EXPECT_EQ(read(at + PAGE_SIZE), 7U);
  }
  ASSERT_TRUE(device->clear());
  EXPECT_TRUE(pmd_none(entry(at)));
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
}

TEST_F(Devmap, OnceItIsGoneItsMappingsAreSigbus) {
  const vaddr_t at = map_device();
  write(at, 7);
  device.reset();
  EXPECT_TRUE(pmd_none(entry(at)));
  const result<u64> gone = cpu->load<u64>(at);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error(), fault_result::sigbus);
  EXPECT_EQ(space.pin(at, 1).error(), std::errc::bad_address);
  EXPECT_EQ(space.mmap(*file, 0, SIZE).error(), std::errc::no_such_device_or_address);
  ASSERT_TRUE(space.munmap(at, SIZE));
}

TEST_F(Devmap, ItsRoomIsUsedAgain) {
  std::optional<DeviceMemory> others[3];
  for (auto& other : others)
    other.emplace(DeviceMemory::add(system, SIZE).value());
  EXPECT_EQ(DeviceMemory::add(system, HUGE).error(), std::errc::not_enough_memory);
  const pfn_t first = opened().pgmap.first;
  at_device(0) = 7;
  device.reset();
  others[1].reset();
  EXPECT_EQ(DeviceMemory::add(system, 2 * SIZE).error(), std::errc::not_enough_memory) << "not in one piece";
  device.emplace(DeviceMemory::add(system, SIZE).value());
  file.emplace(device->open().value());
  EXPECT_EQ(opened().pgmap.first, first);
  EXPECT_EQ(at_device(0), 0U);
}

TEST_F(Devmap, ItStaysUntilTheLastPinIsGone) {
  const vaddr_t at = map_device();
  std::optional<PinnedPages> pin = space.pin(at, 2).value();
  std::atomic<bool> gone = false;
  std::thread removal([&] {
    device.reset();
    gone = true;
  });
  while (space.pin(at, 1))
    std::this_thread::yield(); // until its entries are gone
  EXPECT_EQ(space.pin(at, 1).error(), std::errc::bad_address) << "no new ones";
  EXPECT_FALSE(space.mmap(*file, 0, SIZE));
  std::memset((*pin)[1].data(), 7, PAGE_SIZE);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(gone);
  EXPECT_EQ((*pin)[1][5], std::byte{7});
  pin.reset();
  removal.join();
  EXPECT_TRUE(gone);
}

TEST_F(Devmap, ItGoesUnderPinsThatComeAndGo) {
  for (int round = 0; round < 20; ++round) {
    const vaddr_t at = map_device();
    std::thread removal([&] { device.reset(); });
    u64 pins = 0;
    page* got[4];
    long pinned;
    for (; (pinned = pin_user_pages_fast(mm, at, 4, FOLL_WRITE, got)) == 4; ++pins) {
      static_cast<u64*>(page_address(got[3]))[pins % 512] = pins;
      unpin_user_pages(got, 4);
    }
    if (pinned > 0) unpin_user_pages(got, static_cast<u64>(pinned)); // it went between two of them
    removal.join();
    ASSERT_TRUE(space.munmap(at, SIZE));
    device.emplace(DeviceMemory::add(system, SIZE).value());
    file.emplace(device->open().value());
    EXPECT_EQ(at_device(3 * PAGE_SIZE), 0U);
  }
}

TEST_F(Devmap, AllocationsThatFail) {
  const u64 frames = used_frames();
  const unsigned failed = fail_each_allocation([&] {
    const expected<vaddr_t> at = space.mmap(*file, 0, SIZE);
    if (!at) return true;
    const result<u64> touched = cpu->load<u64>(*at);
    EXPECT_TRUE(touched.ok() || touched.error() == fault_result::oom);
    EXPECT_TRUE(space.munmap(*at, SIZE));
    return !touched.ok();
  });
  EXPECT_GE(failed, 1U);
  const unsigned refused = fail_each_allocation(system.failslab(), [&] {
    expected<DeviceMemory> other = DeviceMemory::add(system, HUGE);
    if (!other) return other.error() == std::errc::not_enough_memory;
    const expected<File> opening = other->open();
    return !opening && opening.error() == std::errc::not_enough_memory;
  });
  EXPECT_EQ(refused, 2U);
  EXPECT_EQ(used_frames(), frames);
}

} // namespace
} // namespace racewalk::test
