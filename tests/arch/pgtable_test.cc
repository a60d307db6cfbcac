// Slots, natively: each function alone, and those that must not lose what hardware records meanwhile.

#include <atomic>
#include <thread>

#include "slot_checks.h"

namespace racewalk {
namespace {

TEST(Slots, DoWhatTheirNamesSay) { check_slot_functions(); }

TEST(Slots, NativeArchitectureIsOneOfTheList) { EXPECT_EQ(find_arch(arch().name), &arch()); }

/// Another CPU's walker: stores through the entry as long as it may, as fast as it can, and counts stores
/// that found the entry clean.
class Walker {
 public:
  explicit Walker(word_t& word) : word_(word), thread_([this] { run(); }) {}
  ~Walker() { stop(); }
  Walker(const Walker&) = delete;
  Walker& operator=(const Walker&) = delete;

  u64 stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
    return marked_;
  }

 private:
  void run() {
    const level_t PTE = level_of(PTE_LEVEL);
    while (!stopped_) {
      u64 e = READ_ONCE(word_);
      if (!arch().mmu_permits(e, PTE, true) || arch().dirty(e, PTE)) continue;
      if (try_cmpxchg(word_, e, arch().mmu_update(e, PTE, true))) marked_++;
    }
  }

  word_t& word_;
  std::atomic<u64> marked_{0};
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

// Every store that hardware recorded is found by whoever took the entry or its rights away: M13.
TEST(Slots, LoseNoDirtyBitThatHardwareSets) {
  if (!arch().hw_sets_ad()) GTEST_SKIP() << "dirty bits are set by faults here";
  word_t word;
  const ptep_t ptep(word);
  Walker walker(word);
  u64 found = 0;
  const auto harvest = [&](pte_t taken) { found += pte_dirty(taken) ? 1 : 0; };

  for (unsigned i = 0; i < 3000; i++) {
    set_pte(ptep, mk_pte(1, PAGE_SHARED)); // the entry was none: nobody can be marking it
    while (i % 64 == 0 && !pte_dirty(ptep_get(ptep)))
      std::this_thread::yield(); // let it win now and then
    switch (i % 3) {
    case 0:
      ptep_set_wrprotect(0, ptep);
      break;
    case 1:
      ptep_test_and_clear_young(0, ptep);
      break;
    default:
      relax_pte(ptep, pte_mkold(ptep_get(ptep)));
      break;
    }
    harvest(exchange_entry(ptep, 0));
  }
  EXPECT_EQ(walker.stop(), found);
}

} // namespace
} // namespace racewalk
