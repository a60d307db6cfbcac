// What happens when an invalidation falls in the middle of an access. The data's memory is made inaccessible,
// so the access stops exactly between its look at the entry and the data; the handler of that fault is the
// other CPU.
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>
#include <memory>

#include <sys/mman.h>

#include "sync/sync.h"

namespace racewalk {
namespace {

constexpr vaddr_t A = 0x123456789000;
constexpr u64 PAGE = 4096;
constexpr tlb_range THE_PAGE{1, A, A + PAGE, 1};
constexpr tlb_range EVERYTHING{1, 0, ~vaddr_t{0}, 0xf};

class interrupted_access : public testing::Test {
 protected:
  interrupted_access() {
    self = this;
    frames_ = static_cast<std::byte*>(
        mmap(nullptr, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    tables_ = std::make_unique<u64[]>(tlb_t::TABLE_BYTES / sizeof(u64));
    tlb_ = std::make_unique<tlb_t>(frames_, reinterpret_cast<std::byte*>(tables_.get()));
    struct sigaction action {};
    action.sa_handler = [](int) {
      mprotect(self->frames_, 2 * PAGE, PROT_READ | PROT_WRITE);
      self->tlb_->invalidate_remote(*self->range_);
    };
    sigaction(SIGSEGV, &action, &old_action_);
  }
  ~interrupted_access() override {
    sigaction(SIGSEGV, &old_action_, nullptr);
    munmap(frames_, 2 * PAGE);
  }

  void fill(bool writable) {
    const auto token = tlb_->walk_begin();
    tlb_->complete<u64>(token, A, {.pfn = 1, .huge = false, .writable = writable}, [](ref<u64>) {});
    tlb_->walk_end();
  }
  /// The next access to the page is interrupted by this invalidation.
  void interrupt_with(const tlb_range& range) {
    range_ = &range;
    mprotect(frames_ + PAGE, PAGE, PROT_NONE);
  }

  static interrupted_access* self;
  std::byte* frames_;
  std::unique_ptr<tlb_t> tlb_;
  const tlb_range* range_ = nullptr;

 private:
  std::unique_ptr<u64[]> tables_;
  struct sigaction old_action_ {};
};

interrupted_access* interrupted_access::self = nullptr;

TEST_F(interrupted_access, a_load_whose_entry_was_removed_meanwhile_is_discarded) {
  if (tsan_build) GTEST_SKIP() << "loads announce themselves there";
  u64 value = 0;
  fill(false);
  EXPECT_TRUE(tlb_->load(A, value));
  interrupt_with(THE_PAGE);
  EXPECT_FALSE(tlb_->load(A, value));
}

TEST_F(interrupted_access, a_load_during_a_full_flush_is_discarded) {
  if (tsan_build) GTEST_SKIP() << "loads announce themselves there";
  u64 value = 0;
  fill(false);
  interrupt_with(EVERYTHING);
  EXPECT_FALSE(tlb_->load(A, value));
}

TEST_F(interrupted_access, a_load_is_kept_if_something_else_was_removed) {
  static constexpr tlb_range OTHER{1, A + PAGE, A + 2 * PAGE, 1};
  u64 value = 0;
  fill(false);
  interrupt_with(OTHER);
  EXPECT_TRUE(tlb_->load(A, value));
}

TEST_F(interrupted_access, a_fill_during_an_invalidation_is_dropped) {
  u64 value = 0;
  const auto token = tlb_->walk_begin();
  tlb_->invalidate_remote(THE_PAGE); // of nothing: the walk is not waited for, but what it read may be old
  tlb_->complete<u64>(token, A, {.pfn = 1, .huge = false, .writable = true}, [](ref<u64>) {});
  tlb_->walk_end();
  EXPECT_FALSE(tlb_->load(A, value));
}

} // namespace
} // namespace racewalk
