// What the tests of userfaultfd stand on: a handler, and whether it hears of a store.
#pragma once

#include <atomic>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "racewalk/userfaultfd.h"
#include "world.h"

namespace racewalk::test {

using Mode = Userfaultfd::Mode;
using errc = std::errc;

class UserfaultfdTest : public World {
 protected:
  static constexpr u64 PAGES = 4;
  static constexpr u64 BYTES = PAGES * PAGE_SIZE;

  /// What a handler fills a page with: its address, as touch() would store it.
  static std::vector<std::byte> content(vaddr_t addr, u64 pages = 1) {
    std::vector<std::byte> bytes(pages * PAGE_SIZE);
    for (u64 i = 0; i < pages; ++i) {
      const u64 word = addr + i * PAGE_SIZE;
      std::memcpy(bytes.data() + i * PAGE_SIZE, &word, sizeof word);
    }
    return bytes;
  }

  vaddr_t registered(Mode mode = Userfaultfd::MISSING) {
    const vaddr_t at = map(BYTES);
    uffd->register_range(at, BYTES, mode).value();
    return at;
  }

  /// A handler that fills what is missing and gives back what is protected, until the userfaultfd is closed.
  std::jthread handler() {
    return std::jthread([this] {
      while (const auto fault = uffd->read()) {
        seen.push_back(*fault);
        if (fault->write_protected)
          uffd->write_unprotect(fault->address, PAGE_SIZE).value();
        else if (const auto done = uffd->copy(fault->address, content(fault->address)); !done)
          uffd->wake(fault->address, PAGE_SIZE).value(); // somebody has filled it meanwhile
      }
    });
  }
  /// Ends the handler and says what it has seen.
  const std::vector<Userfaultfd::Fault>& faults(std::jthread& thread) {
    uffd->close();
    thread.join();
    return seen;
  }

  errc reason(const auto& outcome) { return outcome.has_value() ? errc{} : outcome.error(); }

  std::optional<Userfaultfd> uffd{std::in_place, space};
  std::vector<Userfaultfd::Fault> seen; ///< by the handler
};

/// For tests that write-protect.
class UserfaultfdWpTest : public UserfaultfdTest {
 protected:
  void SetUp() override {
    if (!pte_has_uffd_wp()) GTEST_SKIP() << "the architecture has no bit for it";
  }
  vaddr_t protected_pages() {
    const vaddr_t at = registered(Userfaultfd::WRITE_PROTECT);
    for (u64 page = 0; page < PAGES; ++page)
      touch(at + page * PAGE_SIZE);
    uffd->write_protect(at, BYTES).value();
    return at;
  }
  /// Whether a store to the page is reported, and goes through when the handler allows it.
  bool store_is_reported(vaddr_t addr) {
    std::jthread other([&] {
      CpuSession mine(system, 1, space);
      EXPECT_TRUE(mine->store<u64>(addr + 8, 1).ok());
      stored = true;
    });
    bool reported = false;
    while (!stored && !reported) {
      const auto fault = uffd->read(Userfaultfd::Wait::no);
      reported = fault.has_value() && fault->write_protected && fault->write && fault->address == addr;
    }
    if (reported) {
      EXPECT_FALSE(stored);
      uffd->write_unprotect(addr, PAGE_SIZE).value();
    }
    other.join();
    stored = false;
    return reported;
  }
  std::atomic<bool> stored{false};
};

} // namespace racewalk::test
