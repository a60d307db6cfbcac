// userfaultfd on files that are made of memory: holes, pages that are not mapped, markers.
#include <cerrno>

#include "mm/filemap.h"
#include "racewalk/file.h"
#include "userfaultfd_world.h"

namespace racewalk::test {
namespace {

/// Mappings of one file, of which some are registered.
class UserfaultfdFileTest : public UserfaultfdWpTest {
 protected:
  vaddr_t map_shared() { return space.mmap(file, 0, BYTES).value(); }
  vaddr_t map_private() { return space.mmap(file, 0, BYTES, Sharing::private_copy).value(); }
  vaddr_t registered_at(vaddr_t at, Mode mode) {
    uffd->register_range(at, BYTES, mode).value();
    return at;
  }
  u64 read(vaddr_t addr) { return cpu->load<u64>(addr).value(); }
  u64 cached() { return static_cast<u64>(atomic_read(file.opening().mapping().nrpages)); }

  File file = File::in_memory(system, BYTES).value();
};

TEST_F(UserfaultfdFileTest, AHoleOfAFileIsFilledForAllWhoMapIt) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::MISSING);
  const vaddr_t other = map_shared();
  touch(other + PAGE_SIZE); // not missing any more
  std::jthread thread = handler();
  EXPECT_EQ(read(at), at);
  EXPECT_EQ(read(other), at);
  EXPECT_EQ(read(at + PAGE_SIZE), other + PAGE_SIZE);
  const auto& events = faults(thread);
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].address, at);
  EXPECT_FALSE(events[0].minor);
  EXPECT_EQ(cached(), 2U);
  EXPECT_EQ(anon_pages(), 0);
}

TEST_F(UserfaultfdFileTest, AHoleThatIsPunchedIsMissingAgain) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::MISSING);
  std::jthread thread = handler();
  EXPECT_EQ(read(at), at);
  file.punch_hole(0, PAGE_SIZE).value();
  EXPECT_EQ(read(at), at);
  EXPECT_EQ(faults(thread).size(), 2U);
}

TEST_F(UserfaultfdFileTest, CopyIntoAPrivateMappingDoesNotAskTheFile) {
  const vaddr_t shared = map_shared();
  const vaddr_t own = registered_at(map_private(), Userfaultfd::MISSING);
  touch(shared);
  EXPECT_EQ(*uffd->copy(own, content(own)), PAGE_SIZE);
  EXPECT_EQ(read(own), own);
  EXPECT_EQ(read(shared), shared);
  touch(own + 8 - 8);
  EXPECT_EQ(read(shared), shared);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(cached(), 1U);
}

TEST_F(UserfaultfdFileTest, AStoreToAHoleOfAPrivateMappingIsReportedToo) {
  const vaddr_t own = registered_at(map_private(), Userfaultfd::MISSING);
  std::jthread thread = handler();
  ASSERT_TRUE(cpu->store<u64>(own + 8, 1).ok());
  EXPECT_EQ(read(own), own);
  EXPECT_EQ(faults(thread).size(), 1U);
  EXPECT_EQ(cached(), 0U);
}

TEST_F(UserfaultfdFileTest, CopyIsRefusedWhereTheFileHasAPageOrEnds) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::MISSING);
  const vaddr_t own = registered_at(map_private(), Userfaultfd::MISSING);
  touch(map_shared());
  EXPECT_EQ(reason(uffd->copy(at, content(at))), errc::file_exists);
  file.resize(PAGE_SIZE).value();
  EXPECT_EQ(reason(uffd->copy(at + PAGE_SIZE, content(at))), errc::bad_address);
  EXPECT_EQ(reason(uffd->copy(own + PAGE_SIZE, content(at))), errc::bad_address);
  EXPECT_EQ(cpu->load<u64>(at + PAGE_SIZE).error(), fault_result::sigbus);
  EXPECT_EQ(cached(), 1U);
}

TEST_F(UserfaultfdFileTest, ACopyThatFailsLeavesNoPageInTheFile) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::MISSING);
  EXPECT_GT(fail_each_allocation([&] {
              const auto done = uffd->copy(at, content(at));
              EXPECT_TRUE(done || (done.error() == errc::not_enough_memory && cached() == 0));
              return !done;
            }),
            0U);
  EXPECT_EQ(read(at), at);
}

TEST_F(UserfaultfdFileTest, APageOfTheFileThatIsNotMappedIsAMinorFault) {
  const vaddr_t other = map_shared();
  touch(other);
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::MINOR);
  std::jthread waiting([&] {
    CpuSession mine(system, 1, space);
    EXPECT_EQ(*mine->load<u64>(at), 42U);
  });
  const auto fault = uffd->read().value();
  EXPECT_TRUE(fault.minor);
  EXPECT_EQ(fault.address, at);
  ASSERT_TRUE(cpu->store<u64>(other, u64{42}).ok()); // the content is put right first
  EXPECT_EQ(*uffd->continue_range(at, PAGE_SIZE), PAGE_SIZE);
  waiting.join();
  EXPECT_EQ(read(at + PAGE_SIZE), 0U) << "a hole is not minor";
  EXPECT_EQ(reason(uffd->continue_range(at, PAGE_SIZE)), errc::file_exists);
  EXPECT_EQ(reason(uffd->continue_range(at + 2 * PAGE_SIZE, PAGE_SIZE)), errc::bad_address);
}

TEST_F(UserfaultfdFileTest, ContinuingAPrivateMappingDoesNotMakeTheFileWritable) {
  const vaddr_t other = map_shared();
  touch(other);
  const vaddr_t own = registered_at(map_private(), Userfaultfd::MINOR);
  EXPECT_EQ(*uffd->continue_range(own, PAGE_SIZE), PAGE_SIZE);
  ASSERT_TRUE(cpu->store<u64>(own, u64{1}).ok());
  EXPECT_EQ(read(other), other);
}

TEST_F(UserfaultfdFileTest, KindsOfMemoryHaveTheirModes) {
  const vaddr_t at = map(BYTES);
  EXPECT_EQ(reason(uffd->register_range(at, BYTES, Userfaultfd::MINOR)), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->continue_range(registered_at(at, Userfaultfd::MISSING), PAGE_SIZE)),
            errc::invalid_argument);
}

// ---- markers ---------------------------------------------------------------------------------------------

TEST_F(UserfaultfdFileTest, PagesThatAreNotThereAreProtectedByMarkers) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::WRITE_PROTECT);
  uffd->write_protect(at, BYTES).value();
  EXPECT_TRUE(store_is_reported(at)) << "never mapped";
  EXPECT_EQ(read(at + PAGE_SIZE), 0U);
  EXPECT_TRUE(store_is_reported(at + PAGE_SIZE)) << "mapped by a load";
  uffd->write_unprotect(at, BYTES).value();
  EXPECT_FALSE(store_is_reported(at + 2 * PAGE_SIZE));
}

TEST_F(UserfaultfdFileTest, ProtectionOutlivesThePage) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::WRITE_PROTECT);
  touch(at);
  touch(at + PAGE_SIZE);
  touch(at + 2 * PAGE_SIZE);
  uffd->write_protect(at, 2 * PAGE_SIZE).value();
  ASSERT_EQ(vm_madvise(mm, at, PAGE_SIZE, MADV_DONTNEED), 0);
  file.punch_hole(PAGE_SIZE, 2 * PAGE_SIZE).value();
  EXPECT_EQ(read(at), at);
  EXPECT_TRUE(store_is_reported(at));
  EXPECT_TRUE(store_is_reported(at + PAGE_SIZE));
  EXPECT_FALSE(store_is_reported(at + 2 * PAGE_SIZE)) << "never protected";
}

TEST_F(UserfaultfdFileTest, APrivateCopyIsProtectedAsItsPageWas) {
  const vaddr_t own = registered_at(map_private(), Userfaultfd::WRITE_PROTECT);
  uffd->write_protect(own, BYTES).value();
  EXPECT_TRUE(store_is_reported(own));
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(UserfaultfdFileTest, UnregisteringRemovesMarkers) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::WRITE_PROTECT);
  uffd->write_protect(at, BYTES).value();
  uffd->unregister_range(at, BYTES).value();
  registered_at(at, Userfaultfd::WRITE_PROTECT);
  EXPECT_FALSE(store_is_reported(at));
}

TEST_F(UserfaultfdFileTest, UnmappingRemovesMarkers) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::WRITE_PROTECT);
  uffd->write_protect(at, BYTES).value();
  ASSERT_EQ(vm_munmap(mm, at, BYTES), 0);
  EXPECT_EQ(tables(), 1) << "the root";
}

TEST_F(UserfaultfdFileTest, ProtectionThatFindsNoTableForItsMarkersFails) {
  const vaddr_t at = registered_at(map_shared(), Userfaultfd::WRITE_PROTECT);
  EXPECT_GT(fail_each_allocation([&] {
              const auto done = uffd->write_protect(at, BYTES);
              EXPECT_TRUE(done || done.error() == errc::not_enough_memory);
              return !done;
            }),
            0U);
  EXPECT_TRUE(store_is_reported(at));
}

} // namespace
} // namespace racewalk::test
