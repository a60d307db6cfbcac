// Cpu::gather(): loads from many places at once are what single loads are.
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <thread>
#include <vector>

#include "host_file.h"
#include "mm/host_io_queue.h"

namespace racewalk::test {
namespace {

class GatherLoads : public HostFile {
 protected:
  /// Loads a word from each.
  fault_result gather(const std::vector<vaddr_t>& from) {
    values.assign(from.size(), ~u64{0});
    return cpu->gather<u64>(from, values).error();
  }

  std::vector<u64> values;
};

TEST_F(GatherLoads, each_address_gives_its_word) {
  const vaddr_t at = map(300 * PAGE_SIZE);
  std::vector<vaddr_t> from;
  for (u64 n = 0; n < 300; n += 2) // every second page, the last first; more than go through the TLB at once
    from.insert(from.begin(), at + n * PAGE_SIZE + 8 * (n % 512));
  for (const vaddr_t a : from)
    touch(a);
  for (const char* cached : {"missed", "hit"}) {
    EXPECT_EQ(gather(from), fault_result::handled);
    EXPECT_EQ(values, from) << cached;
    cpu->flush_local({mm.context.ctx_id, at, at + 300 * PAGE_SIZE, 0xf});
  }
  EXPECT_EQ(gather({}), fault_result::handled);
}

TEST_F(GatherLoads, small_and_huge_pages_and_memory_never_touched) {
  const vaddr_t small = map(PAGE_SIZE);
  const vaddr_t untouched = map(PAGE_SIZE);
  const vaddr_t huge = huge_page();
  touch(small);
  const std::vector<vaddr_t> from{huge + 5 * PAGE_SIZE, small, untouched, huge, small};
  EXPECT_EQ(gather(from), fault_result::handled);
  EXPECT_EQ(values, (std::vector<u64>{from[0], small, 0, huge, small}));
}

TEST_F(GatherLoads, a_word_may_lie_across_two_pages) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  ASSERT_TRUE(cpu->store<u64>(at + PAGE_SIZE - 4, 0x1122334455667788).ok());
  EXPECT_EQ(gather({at + PAGE_SIZE - 4, at}), fault_result::handled);
  EXPECT_EQ(values[0], 0x1122334455667788U);
}

TEST_F(GatherLoads, what_comes_before_the_error_has_been_loaded) {
  const vaddr_t at = map(2 * PAGE_SIZE);
  touch(at);
  touch(at + PAGE_SIZE);
  space.munmap(at + PAGE_SIZE, PAGE_SIZE).value();
  EXPECT_EQ(gather({at, at + PAGE_SIZE, at}), fault_result::sigsegv);
  EXPECT_EQ(values[0], at);
  EXPECT_EQ(gather({geometry().address_limit(), at}), fault_result::sigsegv);

  put(PAGE_SIZE, std::byte{1});
  File f = open();
  const vaddr_t mapped = map_file(f, 2);
  EXPECT_EQ(gather({mapped, mapped + PAGE_SIZE}), fault_result::sigbus) << "beyond the end of the file";
  EXPECT_EQ(values[0], 0x0101010101010101U);
}

TEST_F(GatherLoads, what_is_on_the_disk_is_asked_for_before_it_is_waited_for) {
  constexpr u64 PAGES = 256;
  std::vector<std::byte> content(PAGES * PAGE_SIZE);
  for (u64 n = 0; n < PAGES; ++n)
    content[n * PAGE_SIZE] = static_cast<std::byte>(n);
  put(content);
  File f = open();
  const vaddr_t at = map_file(f, PAGES);
  space.madvise(at, PAGES * PAGE_SIZE, MADV_RANDOM).value();
  std::vector<vaddr_t> from;
  for (u64 n = 0; n < 32; ++n)
    from.push_back(at + (n * 7 + 3) * PAGE_SIZE);
  EXPECT_EQ(gather(from), fault_result::handled);
  for (u64 n = 0; n < 32; ++n)
    EXPECT_EQ(values[n], n * 7 + 3);
  EXPECT_EQ(cached(f), 32U) << "these, and no others";
}

TEST_F(GatherLoads, what_cannot_be_read_is_the_error_of_its_load) {
  put(8 * PAGE_SIZE, std::byte{7});
  File f = open();
  const vaddr_t at = map_file(f, 8);
  space.madvise(at, 8 * PAGE_SIZE, MADV_RANDOM).value();
  system.fail_io().fail_with_probability(1'000'000);
  EXPECT_EQ(gather({at, at + PAGE_SIZE}), fault_result::sigbus);
  system.fail_io().fail_with_probability(0);
  EXPECT_EQ(gather({at, at + PAGE_SIZE}), fault_result::handled);
  EXPECT_EQ(values[1], 0x0707070707070707U);
}

/// A page that cannot be stored to until somebody has taken his time.
struct slow_page {
  slow_page() {
    at = ::mmap(nullptr, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    the_one = this;
    struct sigaction to {};
    to.sa_handler = stored_to;
    ::sigaction(SIGSEGV, &to, &before);
  }
  ~slow_page() {
    ::sigaction(SIGSEGV, &before, nullptr);
    ::munmap(at, PAGE_SIZE);
  }
  slow_page(const slow_page&) = delete;
  slow_page& operator=(const slow_page&) = delete;

  static void stored_to(int /*signal*/) {
    the_one->reached = true;
    const timespec ms{0, 1'000'000};
    for (int n = 0; n < 50; ++n) {
      ::nanosleep(&ms, nullptr);
      if (the_one->unmapped) the_one->too_early = true;
    }
    ::mprotect(the_one->at, PAGE_SIZE, PROT_READ | PROT_WRITE);
  }

  static inline slow_page* the_one;
  void* at;
  struct sigaction before {};
  std::atomic<bool> reached{false};
  std::atomic<bool> unmapped{false};
  std::atomic<bool> too_early{false};
};

TEST_F(GatherLoads, munmap_waits_for_one_that_is_under_way) {
  const vaddr_t at = map(4 * PAGE_SIZE);
  std::vector<vaddr_t> from;
  for (u64 n = 0; n < 4; ++n) {
    from.push_back(at + n * PAGE_SIZE);
    touch(from.back());
  }
  ASSERT_EQ(gather(from), fault_result::handled);
  slow_page to;
  std::thread peer([&] {
    CpuSession other(system, 1, space);
    while (!to.reached)
      std::this_thread::yield();
    space.munmap(at, 4 * PAGE_SIZE).value();
    to.unmapped = true;
  });
  const std::span<u64> words(static_cast<u64*>(to.at), 4);
  EXPECT_TRUE(cpu->gather<u64>(from, words).ok());
  peer.join();
  EXPECT_FALSE(to.too_early) << "the pages were somebody else's by then";
  EXPECT_TRUE(std::equal(words.begin(), words.end(), from.begin()));
}

} // namespace
} // namespace racewalk::test
