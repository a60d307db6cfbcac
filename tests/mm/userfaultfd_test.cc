#include "mm/userfaultfd.h"

#include <poll.h>

#include <cerrno>

#include "mm/migrate.h"
#include "userfaultfd_world.h"

namespace racewalk::test {
namespace {

TEST_F(UserfaultfdTest, AFaultWaitsUntilTheHandlerHasFilledThePage) {
  const vaddr_t at = registered();
  std::jthread thread = handler();
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE + 8), 0U);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
  ASSERT_TRUE(cpu->store<u64>(at + 8, 7).ok());
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(*cpu->load<u64>(at + 8), 7U);
  const auto& events = faults(thread);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].address, at + PAGE_SIZE);
  EXPECT_FALSE(events[0].write);
  EXPECT_FALSE(events[0].write_protected);
  EXPECT_EQ(events[1].address, at);
  EXPECT_TRUE(events[1].write);
}

TEST_F(UserfaultfdTest, WhatIsFilledBeforeItIsTouchedIsNotReported) {
  const vaddr_t at = registered();
  EXPECT_EQ(*uffd->copy(at, content(at, 2)), 2 * PAGE_SIZE);
  EXPECT_EQ(*uffd->zeropage(at + 2 * PAGE_SIZE, 2 * PAGE_SIZE), 2 * PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + 3 * PAGE_SIZE), 0U);
  touch(at + 2 * PAGE_SIZE);
  EXPECT_EQ(reason(uffd->read(Userfaultfd::Wait::no)), errc::resource_unavailable_try_again);
  EXPECT_EQ(anon_pages(), 3); // what was stored to
}

TEST_F(UserfaultfdTest, OnlyRegisteredPagesAreReported) {
  const vaddr_t at = map(BYTES);
  uffd->register_range(at + PAGE_SIZE, PAGE_SIZE, Userfaultfd::MISSING).value();
  EXPECT_EQ(areas(at), 3U);
  touch(at);
  touch(at + 2 * PAGE_SIZE);
  uffd->unregister_range(at, BYTES).value();
  EXPECT_EQ(areas(at), 1U);
  touch(at + PAGE_SIZE);
}

TEST_F(UserfaultfdTest, ManyCpusMayWaitForOnePage) {
  const vaddr_t at = registered();
  std::jthread thread = handler();
  {
    std::vector<std::jthread> others;
    for (unsigned id = 1; id < 3; ++id)
      others.emplace_back([&, id] {
        CpuSession mine(system, id, space);
        for (u64 page = 0; page < PAGES; ++page)
          EXPECT_EQ(*mine->load<u64>(at + page * PAGE_SIZE), at + page * PAGE_SIZE);
      });
    for (u64 page = 0; page < PAGES; ++page)
      EXPECT_EQ(*cpu->load<u64>(at + page * PAGE_SIZE), at + page * PAGE_SIZE);
  }
  EXPECT_GE(faults(thread).size(), PAGES);
  EXPECT_EQ(anon_pages(), s64{PAGES});
}

TEST_F(UserfaultfdTest, TheFileDescriptorIsReadableWhileThereAreEvents) {
  const vaddr_t at = registered();
  pollfd events{.fd = uffd->fd().value(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&events, 1, 0), 0);
  std::jthread other([&] {
    CpuSession mine(system, 1, space);
    EXPECT_EQ(*mine->load<u64>(at), at);
  });
  ASSERT_EQ(poll(&events, 1, 60'000), 1);
  EXPECT_EQ(uffd->read(Userfaultfd::Wait::no).value().address, at);
  EXPECT_EQ(poll(&events, 1, 0), 0) << "the event has been read, even if not answered";
  uffd->copy(at, content(at)).value();
  other.join();
  uffd->close();
  EXPECT_EQ(poll(&events, 1, 0), 1) << "closed: a read would not wait";
}

TEST_F(UserfaultfdTest, PollingMayBeginWhenEventsAreThereAlready) {
  const vaddr_t at = registered();
  std::jthread other([&] {
    CpuSession mine(system, 1, space);
    EXPECT_EQ(*mine->load<u64>(at), 0U);
  });
  while (READ_ONCE(mm.existing_region(at)->areas.lookup(at)->vm_userfaultfd_ctx.get()->unread) == 0)
    std::this_thread::yield();
  pollfd events{.fd = uffd->fd().value(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&events, 1, 0), 1);
  uffd->zeropage(at, PAGE_SIZE).value();
  EXPECT_EQ(poll(&events, 1, 0), 0) << "nobody waits any more";
}

TEST_F(UserfaultfdTest, AWokenFaultIsReportedAgainIfNothingCameOfIt) {
  const vaddr_t at = registered();
  std::jthread other([&] {
    CpuSession mine(system, 1, space);
    EXPECT_EQ(*mine->load<u64>(at), at);
  });
  EXPECT_EQ(uffd->read().value().address, at);
  uffd->wake(at, PAGE_SIZE).value();
  EXPECT_EQ(uffd->read().value().address, at);
  uffd->copy(at, content(at), Userfaultfd::Wake::no).value();
  uffd->wake(at, PAGE_SIZE).value();
}

TEST_F(UserfaultfdTest, UnregisteringLetsWhoWaitsGoOn) {
  const vaddr_t at = registered();
  std::jthread other([&] {
    CpuSession mine(system, 1, space);
    EXPECT_EQ(*mine->load<u64>(at), 0U);
  });
  EXPECT_EQ(uffd->read().value().address, at);
  uffd->unregister_range(at, BYTES).value();
}

TEST_F(UserfaultfdTest, ClosingLetsWhoWaitsGoOn) {
  const vaddr_t at = registered();
  std::vector<std::jthread> others;
  for (unsigned id = 1; id < 3; ++id)
    others.emplace_back([&, id] {
      CpuSession mine(system, id, space);
      EXPECT_EQ(*mine->load<u64>(at + id * PAGE_SIZE), 0U);
    });
  EXPECT_TRUE(uffd->read().has_value()) << "one is reported, the other perhaps not yet";
  uffd.reset();
  others.clear();
  EXPECT_EQ(areas(at), 1U);
  touch(at);
}

TEST_F(UserfaultfdTest, NothingWorksAfterClosing) {
  const vaddr_t at = registered();
  uffd->close();
  EXPECT_EQ(reason(uffd->read()), errc::bad_file_descriptor);
  EXPECT_EQ(reason(uffd->register_range(at, BYTES, Userfaultfd::MISSING)), errc::bad_file_descriptor);
  EXPECT_EQ(reason(uffd->copy(at, content(at))), errc::bad_file_descriptor);
  EXPECT_EQ(reason(uffd->wake(at, BYTES)), errc::bad_file_descriptor);
  uffd->close();
}

TEST_F(UserfaultfdTest, WhoWantsNoWaitingGetsSigbus) {
  uffd.reset();
  uffd.emplace(space, Userfaultfd::Unhandled::sigbus);
  const vaddr_t at = registered();
  EXPECT_EQ(cpu->load<u64>(at).error(), fault_result::sigbus);
  EXPECT_EQ(reason(space.pin(at, 1)), errc::bad_address);
  uffd->copy(at, content(at)).value();
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(UserfaultfdTest, APinWaitsForTheHandlerToo) {
  const vaddr_t at = registered();
  std::jthread thread = handler();
  const auto pinned = space.pin(at, PAGES).value();
  for (u64 page = 0; page < PAGES; ++page) {
    u64 word = 0;
    std::memcpy(&word, pinned[page].data(), sizeof word);
    EXPECT_EQ(word, at + page * PAGE_SIZE);
  }
  EXPECT_EQ(faults(thread).size(), PAGES);
}

TEST_F(UserfaultfdTest, AHandlerThatIsNoCpuAnswersAThreadThatIsNone) {
  const vaddr_t at = registered();
  std::jthread thread = handler();
  std::jthread other([&] { EXPECT_TRUE(space.pin(at, 1).has_value()); });
  other.join();
  EXPECT_EQ(faults(thread).size(), 1U);
}

TEST_F(UserfaultfdTest, AHugePageIsNoAnswerToAMissingOne) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_HUGEPAGE), 0);
  uffd->register_range(at, 2 * MIB, Userfaultfd::MISSING).value();
  std::jthread thread = handler();
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(anon_pages(), 1);
  EXPECT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), -EINVAL) << "it would fill the other pages";
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
  EXPECT_EQ(faults(thread).size(), 2U);
}

// ---- write protection ------------------------------------------------------------------------------------

TEST_F(UserfaultfdWpTest, StoresToProtectedPagesAreReported) {
  const vaddr_t at = protected_pages();
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_TRUE(store_is_reported(at));
  EXPECT_FALSE(store_is_reported(at)) << "it has been resolved";
  EXPECT_TRUE(store_is_reported(at + PAGE_SIZE));
}

TEST_F(UserfaultfdWpTest, MissingPagesAreNotReportedUnlessAsked) {
  const vaddr_t at = registered(Userfaultfd::WRITE_PROTECT);
  uffd->write_protect(at, BYTES).value();
  touch(at);
}

TEST_F(UserfaultfdWpTest, MprotectDoesNotEndIt) {
  const vaddr_t at = protected_pages();
  ASSERT_EQ(vm_mprotect(mm, at, BYTES, PROT_READ), 0);
  ASSERT_EQ(vm_mprotect(mm, at, BYTES, PROT_READ | PROT_WRITE), 0);
  EXPECT_TRUE(store_is_reported(at));
}

TEST_F(UserfaultfdWpTest, MovingThePageDoesNotEndIt) {
  const vaddr_t at = protected_pages();
  ASSERT_EQ(migrate_page_at(mm, at), 0);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_TRUE(store_is_reported(at));
}

TEST_F(UserfaultfdWpTest, CollapsingPassesByProtectedPages) {
  const vaddr_t at = map(2 * MIB);
  uffd->register_range(at, 2 * MIB, Userfaultfd::WRITE_PROTECT).value();
  for (u64 page = 0; page < 512; ++page)
    touch(at + page * PAGE_SIZE);
  uffd->write_protect(at + 5 * PAGE_SIZE, PAGE_SIZE).value();
  EXPECT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), -EINVAL);
  uffd->write_unprotect(at + 5 * PAGE_SIZE, PAGE_SIZE).value();
  EXPECT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_COLLAPSE), 0);
}

TEST_F(UserfaultfdWpTest, APageOfAHugePageIsProtectedByItself) {
  const vaddr_t at = map(2 * MIB);
  ASSERT_EQ(vm_madvise(mm, at, 2 * MIB, MADV_HUGEPAGE), 0);
  touch(at);
  ASSERT_EQ(anon_pages(), 512);
  uffd->register_range(at, 2 * MIB, Userfaultfd::WRITE_PROTECT).value();
  uffd->write_protect(at + PAGE_SIZE, PAGE_SIZE).value();
  touch(at + 2 * PAGE_SIZE);
  EXPECT_TRUE(store_is_reported(at + PAGE_SIZE));
  EXPECT_EQ(*cpu->load<u64>(at), at);
}

TEST_F(UserfaultfdWpTest, AWritingPinIsReported) {
  const vaddr_t at = protected_pages();
  EXPECT_TRUE(space.pin(at, 1, Access::read).has_value());
  std::jthread thread = handler();
  EXPECT_TRUE(space.pin(at, 1).has_value());
  EXPECT_EQ(faults(thread).size(), 1U);
}

TEST_F(UserfaultfdWpTest, ACopyThatAPinForReadingMakesStaysProtected) {
  const vaddr_t at = protected_pages();
  const auto child = space.fork().value(); // from now on the pages are both's
  page* pinned = nullptr;
  ASSERT_EQ(pin_user_pages(mm, at, 1, FOLL_NONE, &pinned), 1);
  unpin_user_page(pinned);
  EXPECT_TRUE(store_is_reported(at));
}

TEST_F(UserfaultfdWpTest, UnregisteringGivesTheRightBack) {
  const vaddr_t at = protected_pages();
  uffd->unregister_range(at, BYTES).value();
  touch(at);
  EXPECT_EQ(areas(at), 1U);
}

TEST_F(UserfaultfdWpTest, PagesMayBeFilledProtected) {
  const vaddr_t at = registered(Userfaultfd::MISSING | Userfaultfd::WRITE_PROTECT);
  EXPECT_EQ(*uffd->copy_protected(at, content(at)), PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_TRUE(store_is_reported(at));
}

// ---- what is refused -------------------------------------------------------------------------------------

TEST_F(UserfaultfdTest, RefusesWhatLinuxRefuses) {
  const vaddr_t limit = geometry().address_limit();
  const vaddr_t at = map(BYTES);
  const auto try_register = [&](vaddr_t start, u64 len, Mode mode = Userfaultfd::MISSING) {
    return reason(uffd->register_range(start, len, mode));
  };
  EXPECT_EQ(try_register(at + 1, PAGE_SIZE), errc::invalid_argument);
  EXPECT_EQ(try_register(at, PAGE_SIZE - 1), errc::invalid_argument);
  EXPECT_EQ(try_register(at, 0), errc::invalid_argument);
  EXPECT_EQ(try_register(at, BYTES, Mode{}), errc::invalid_argument);
  EXPECT_EQ(try_register(at, BYTES, Mode{8}), errc::invalid_argument);
  EXPECT_EQ(try_register(limit, PAGE_SIZE), errc::invalid_argument);
  EXPECT_EQ(try_register(at, ~u64{0} & PAGE_MASK), errc::invalid_argument);
  ASSERT_EQ(vm_munmap(mm, at + PAGE_SIZE, PAGE_SIZE), 0);
  EXPECT_EQ(try_register(at + PAGE_SIZE, PAGE_SIZE), errc::invalid_argument) << "nothing is mapped";
  EXPECT_EQ(reason(uffd->unregister_range(at + PAGE_SIZE, PAGE_SIZE)), errc::invalid_argument);
  EXPECT_EQ(try_register(at, BYTES), errc{}) << "a hole is no error";

  const auto page = content(at);
  const std::span<const std::byte> bytes(page);
  EXPECT_EQ(reason(uffd->copy(at + 1, bytes)), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->copy(at, bytes.first(PAGE_SIZE - 1))), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->copy(at, {})), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->copy(limit, bytes)), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->copy(at + PAGE_SIZE, bytes)), errc::no_such_file_or_directory);
  EXPECT_EQ(reason(uffd->copy(at, content(at, 2))), errc::no_such_file_or_directory) << "not one area";
  EXPECT_EQ(reason(uffd->copy_protected(at, bytes)), errc::invalid_argument) << "not registered for it";
  EXPECT_EQ(reason(uffd->write_protect(at, PAGE_SIZE)), errc::no_such_file_or_directory);
  EXPECT_EQ(reason(uffd->wake(at, 1)), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->zeropage(at, ~u64{0} & PAGE_MASK)), errc::invalid_argument);
  EXPECT_EQ(reason(uffd->copy(at, bytes)), errc{});
  EXPECT_EQ(reason(uffd->copy(at, bytes)), errc::file_exists);
}

TEST_F(UserfaultfdTest, AnAreaHasOneUserfaultfd) {
  const vaddr_t at = registered();
  Userfaultfd other(space);
  EXPECT_EQ(reason(other.register_range(at, PAGE_SIZE, Userfaultfd::MISSING)), errc::device_or_resource_busy);
  EXPECT_EQ(reason(other.unregister_range(at, PAGE_SIZE)), errc::invalid_argument);
  EXPECT_EQ(reason(other.copy(at, content(at))), errc::no_such_file_or_directory);
  EXPECT_TRUE(uffd->register_range(at, BYTES, Userfaultfd::MISSING).has_value()) << "its own, again";
}

TEST_F(UserfaultfdTest, CopyStopsAtTheFirstPageThatIsThere) {
  const vaddr_t at = registered();
  uffd->copy(at + 2 * PAGE_SIZE, content(1)).value();
  EXPECT_EQ(*uffd->copy(at, content(at, PAGES)), 2 * PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + PAGE_SIZE), at + PAGE_SIZE);
  EXPECT_EQ(*cpu->load<u64>(at + 2 * PAGE_SIZE), 1U) << "not overwritten";
}

TEST_F(UserfaultfdTest, AreasOfDifferentOnesAreNotJoined) {
  const vaddr_t at = map(BYTES);
  Userfaultfd other(space);
  uffd->register_range(at, 2 * PAGE_SIZE, Userfaultfd::MISSING).value();
  other.register_range(at + 2 * PAGE_SIZE, 2 * PAGE_SIZE, Userfaultfd::MISSING).value();
  EXPECT_EQ(areas(at), 2U);
  other.close();
  EXPECT_EQ(areas(at), 2U);
  touch(at + 2 * PAGE_SIZE);
  uffd->close();
  EXPECT_EQ(areas(at), 1U);
}

TEST_F(UserfaultfdTest, CallsThatFailForWantOfMemoryChangeNothing) {
  const vaddr_t at = registered();
  EXPECT_GT(fail_each_allocation([&] {
              const auto done = uffd->copy(at, content(at));
              EXPECT_TRUE(done || done.error() == errc::not_enough_memory);
              return !done;
            }),
            0U);
  EXPECT_EQ(*cpu->load<u64>(at), at);
  EXPECT_EQ(anon_pages(), 1);
}

TEST_F(UserfaultfdTest, EveryFrameComesBack) {
  const vaddr_t elsewhere = map(PAGE_SIZE);
  touch(elsewhere);
  const u64 before = used_frames();
  for (int round = 0; round < 50; ++round) {
    const vaddr_t at = registered();
    uffd->copy(at, content(at, PAGES)).value();
    EXPECT_EQ(vm_munmap(mm, at, BYTES), 0);
  }
  EXPECT_EQ(used_frames(), before);
}

} // namespace
} // namespace racewalk::test
