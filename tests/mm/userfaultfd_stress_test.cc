// userfaultfd with everything else going on at the same addresses: pages are given back, moved, collapsed,
// split and protected while threads touch them.
#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "mm/migrate.h"
#include "racewalk/userfaultfd.h"
#include "world.h"

namespace racewalk::test {
namespace {

using random_engine = std::mt19937_64;

class UserfaultfdStress : public World {
 protected:
  static constexpr u64 PAGES = 1024; ///< two huge pages
  static constexpr u64 BYTES = PAGES * PAGE_SIZE;
  static constexpr int ROUNDS = 1500;

  static u64 below(random_engine& random, u64 n) {
    return std::uniform_int_distribution<u64>(0, n - 1)(random);
  }
  vaddr_t any_page(random_engine& random) const { return at + below(random, PAGES) * PAGE_SIZE; }
  vaddr_t any_huge_page(random_engine& random) const { return at + below(random, 2) * 2 * MIB; }

  /// Word 0 of each page is its address: a page of zeros can only have come from somebody who must not fill
  /// it.
  void handle() {
    random_engine random{1};
    std::vector<std::byte> page(PAGE_SIZE);
    while (const auto fault = uffd.read()) {
      if (fault->write_protected) {
        std::lock_guard still(frozen_lock);
        if (fault->address != frozen) (void)uffd.write_unprotect(fault->address, PAGE_SIZE);
        continue; // freeze() answers the others
      }
      std::memcpy(page.data(), &fault->address, sizeof fault->address);
      const auto done = below(random, 2) == 0 && pte_has_uffd_wp() ? uffd.copy_protected(fault->address, page)
                                                                   : uffd.copy(fault->address, page);
      if (!done) (void)uffd.wake(fault->address, PAGE_SIZE);
    }
  }

  void check(vaddr_t page) {
    const result<u64> word = this_cpu().load<u64>(page);
    if (!word || *word != page) ++wrong;
  }

  /// What a program does.
  void use(unsigned id) {
    CpuSession mine(system, id, space);
    random_engine random{id};
    for (int n = 0; n < ROUNDS; ++n) {
      const vaddr_t page = any_page(random);
      switch (below(random, 4)) {
      case 0:
        if (!mine->store<u64>(page + 8, random())) ++wrong;
        break;
      case 1:
        if (const auto pinned = space.pin(page, 1); !pinned) ++wrong;
        break;
      default:
        check(page);
      }
    }
  }

  /// What goes on meanwhile.
  void disturb(random_engine& random, bool give_back) {
    const vaddr_t page = any_page(random);
    const u64 bytes = std::min(at + BYTES - page, (1 + below(random, 8)) * PAGE_SIZE);
    switch (below(random, give_back ? 6 : 5)) {
    case 0:
      (void)migrate_page_at(mm, page);
      break;
    case 1:
      (void)vm_madvise(mm, any_huge_page(random), 2 * MIB, MADV_COLLAPSE);
      break;
    case 2:
      if (pte_has_uffd_wp()) uffd.write_protect(page, bytes).value();
      break;
    case 3:
      if (pte_has_uffd_wp()) uffd.write_unprotect(page, bytes).value();
      break;
    case 4:
      (void)split_page_at(mm, page);
      break;
    case 5:
      EXPECT_EQ(vm_madvise(mm, page, bytes, MADV_DONTNEED), 0);
      break;
    }
  }

  /// A page that is write-protected does not change before the handler says so.
  void freeze(vaddr_t page) {
    {
      std::lock_guard now(frozen_lock);
      frozen = page;
    }
    check(page); // what is not there cannot be protected
    uffd.write_protect(page, PAGE_SIZE).value();
    const u64 before = cpu->load<u64>(page + 8).value();
    for (int n = 0; n < 20; ++n)
      std::this_thread::yield();
    EXPECT_EQ(cpu->load<u64>(page + 8).value(), before) << "a store got through";
    std::lock_guard again(frozen_lock);
    frozen = 0;
    uffd.write_unprotect(page, PAGE_SIZE).value();
  }

  /// Users on CPUs 1 and 2 while `meanwhile` runs here.
  template <class F> void run(F meanwhile) {
    std::jthread handler([this] { handle(); });
    {
      std::atomic<int> users{2};
      std::vector<std::jthread> threads;
      for (unsigned id = 1; id < 3; ++id)
        threads.emplace_back([this, id, &users] {
          use(id);
          --users;
        });
      random_engine random{3};
      while (users > 0)
        meanwhile(random);
    }
    uffd.close();
  }

  const vaddr_t at = map(BYTES); // of this size: it begins with a huge page
  Userfaultfd uffd{space};
  std::atomic<u64> wrong{0};
  std::mutex frozen_lock;
  vaddr_t frozen = 0; ///< the page whose stores wait longer; under frozen_lock
};

TEST_F(UserfaultfdStress, NobodyButTheHandlerFillsPages) {
  const auto mode =
      pte_has_uffd_wp() ? Userfaultfd::MISSING | Userfaultfd::WRITE_PROTECT : Userfaultfd::MISSING;
  uffd.register_range(at, BYTES, mode).value();
  run([&](random_engine& random) { disturb(random, true); });
  EXPECT_EQ(wrong, 0U);
  space.munmap(at, BYTES).value();
  EXPECT_EQ(anon_pages(), 0);
  EXPECT_EQ(used_frames(), 1U) << "the root table";
}

TEST_F(UserfaultfdStress, ProtectedPagesDoNotChange) {
  if (!pte_has_uffd_wp()) GTEST_SKIP() << "the architecture has no bit for it";
  uffd.register_range(at, BYTES, Userfaultfd::MISSING | Userfaultfd::WRITE_PROTECT).value();
  run([&](random_engine& random) {
    disturb(random, false);
    freeze(any_page(random));
  });
  EXPECT_EQ(wrong, 0U);
}

} // namespace
} // namespace racewalk::test
