// A device under shared virtual addressing: it sees what CPUs see, and nothing that they have given away.
#include "mm/iommu_sva.h"

#include <atomic>
#include <cerrno>
#include <thread>

#include "mm/migrate.h"
#include "world.h"

namespace racewalk::test {
namespace {

class IommuSva : public World {
 protected:
  IommuSva() { EXPECT_EQ(iommu_sva_bind_device(sva, mm), 0); }
  ~IommuSva() override {
    if (sva.mm != nullptr) {
      EXPECT_EQ(iommu_sva_unbind_device(sva), 0);
    }
  }

  Device device{system.machine(), system.machine().nr_cpus()};
  iommu_sva sva{device};
};

TEST_F(IommuSva, SharesTheMemoryOfTheCpus) {
  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  EXPECT_EQ(*device.load<u64>(at), at);
  EXPECT_TRUE(device.store<u64>(at + 8, 7).ok());
  EXPECT_EQ(*cpu->load<u64>(at + 8), 7U);
  EXPECT_EQ(device.load<u64>(at + 1).error(), fault_result::sigbus);
}

TEST_F(IommuSva, WhatIsNotThereIsRefusedUntilItIsAskedFor) {
  const vaddr_t at = map(PAGE_SIZE);
  EXPECT_EQ(device.load<u64>(at).error(), fault_result::sigsegv);
  EXPECT_EQ(iommu_sva_handle_iopf(sva, at, true), fault_result::handled);
  EXPECT_TRUE(device.store<u64>(at, 1).ok());
  EXPECT_EQ(iommu_sva_handle_iopf(sva, at + PAGE_SIZE, true), fault_result::sigsegv);
}

TEST_F(IommuSva, ForgetsWhatIsUnmappedProtectedOrMoved) {
  const vaddr_t at = map(2 * MIB);
  for (vaddr_t a = at; a < at + 2 * MIB; a += PAGE_SIZE)
    touch(a);
  EXPECT_TRUE(device.store<u64>(at, 1).ok());
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ), 0);
  EXPECT_FALSE(device.store<u64>(at, 2).ok());
  EXPECT_EQ(*device.load<u64>(at), 1U);
  EXPECT_EQ(vm_mprotect(mm, at, PAGE_SIZE, PROT_READ | PROT_WRITE), 0);

  EXPECT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_TRUE(device.store<u64>(at, 3).ok());
  EXPECT_EQ(*cpu->load<u64>(at), 3U);

  EXPECT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), 0);
  EXPECT_TRUE(device.store<u64>(at, 4).ok());
  EXPECT_EQ(*cpu->load<u64>(at), 4U);
  EXPECT_EQ(vm_madvise(mm, at + PAGE_SIZE, PAGE_SIZE, MADV_DONTNEED), 0); // splits the entry
  EXPECT_EQ(*device.load<u64>(at), 4U);
  EXPECT_FALSE(device.load<u64>(at + PAGE_SIZE).ok());

  EXPECT_EQ(vm_munmap(mm, at, 2 * MIB), 0);
  EXPECT_FALSE(device.load<u64>(at).ok());
}

TEST_F(IommuSva, WorksInOneMmAtATime) {
  AddressSpace other(system);
  EXPECT_EQ(iommu_sva_bind_device(sva, mm), -EBUSY);
  iommu_sva second(device);
  EXPECT_EQ(iommu_sva_bind_device(second, other.mm()), -EBUSY);
  EXPECT_EQ(iommu_sva_unbind_device(second), -EINVAL);

  const vaddr_t at = map(PAGE_SIZE);
  touch(at);
  EXPECT_TRUE(device.load<u64>(at).ok());
  EXPECT_EQ(iommu_sva_unbind_device(sva), 0);
  EXPECT_FALSE(device.load<u64>(at).ok());
  EXPECT_EQ(iommu_sva_unbind_device(sva), -EINVAL);
  EXPECT_EQ(iommu_sva_handle_iopf(sva, at, false), fault_result::sigsegv);
  EXPECT_EQ(iommu_sva_bind_device(second, other.mm()), 0);
  EXPECT_FALSE(device.load<u64>(at).ok()) << "mapped in the first mm only";
  EXPECT_EQ(iommu_sva_unbind_device(second), 0);
}

TEST_F(IommuSva, InsideACallbackItStaysBound) {
  struct unbinder : mmu_notifier {
    iommu_sva* sva = nullptr;
    int error = 0;
  };
  const mmu_notifier_ops at_flush{
      .invalidate_range_start = nullptr,
      .invalidate_range_end = nullptr,
      .arch_invalidate_secondary_tlbs =
          [](mmu_notifier& n, vaddr_t, vaddr_t) {
            auto& self = static_cast<unbinder&>(n);
            self.error = iommu_sva_unbind_device(*self.sva);
          },
      .release = nullptr,
      .free_notifier = nullptr,
  };
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  touch(at + PAGE_SIZE);
  unbinder u;
  u.ops = &at_flush;
  u.sva = &sva;
  ASSERT_EQ(mmu_notifier_register(u, mm), 0);
  EXPECT_EQ(vm_munmap(mm, at, PAGE_SIZE), 0);
  EXPECT_EQ(u.error, -EDEADLK);
  EXPECT_EQ(*device.load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
  EXPECT_EQ(mmu_notifier_unregister(u), 0);
}

TEST_F(IommuSva, IsLetGoWhenTheMmGoes) {
  ASSERT_EQ(iommu_sva_unbind_device(sva), 0);
  vaddr_t at = 0;
  {
    AddressSpace brief(system);
    at = brief.mmap(PAGE_SIZE).value();
    ASSERT_EQ(iommu_sva_bind_device(sva, brief.mm()), 0);
    EXPECT_EQ(iommu_sva_handle_iopf(sva, at, true), fault_result::handled);
    EXPECT_TRUE(device.store<u64>(at, 1).ok());
  }
  EXPECT_FALSE(device.attached());
  EXPECT_FALSE(device.load<u64>(at).ok());
}

/// The device writes as fast as it can to where a CPU maps and unmaps: what it writes never shows up in
/// memory that is somebody else's by then.
TEST_F(IommuSva, NeverWritesToMemoryThatIsGone) {
  constexpr u64 PAGES = 8;
  const vaddr_t ours = map(PAGES * PAGE_SIZE);
  const vaddr_t theirs = map(PAGES * PAGE_SIZE);
  std::atomic<u64> written{0};
  const std::jthread worker([&](const std::stop_token& over) {
    const machine_scope here(system.machine());
    for (u64 n = 0; !over.stop_requested(); ++n)
      written += device.store<u64>(theirs + n % PAGES * PAGE_SIZE, ~u64{0}).ok();
  });
  for (int round = 0; round < 300 || written == 0; ++round) {
    ASSERT_TRUE(space.mmap_fixed(theirs, PAGES * PAGE_SIZE).has_value());
    for (u64 i = 0; i < PAGES; ++i)
      ASSERT_EQ(iommu_sva_handle_iopf(sva, theirs + i * PAGE_SIZE, true), fault_result::handled);
    if (round % 2 == 0) std::this_thread::yield();
    ASSERT_EQ(vm_munmap(mm, theirs, PAGES * PAGE_SIZE), 0);
    for (u64 i = 0; i < PAGES; ++i) // the frames that were just freed
      touch(ours + i * PAGE_SIZE);
    for (u64 i = 0; i < PAGES; ++i)
      ASSERT_EQ(*cpu->load<u64>(ours + i * PAGE_SIZE), ours + i * PAGE_SIZE);
    ASSERT_EQ(vm_madvise(mm, ours, PAGES * PAGE_SIZE, MADV_DONTNEED), 0);
  }
}

} // namespace
} // namespace racewalk::test
