// A program's accesses: what they read and write, when they fault, and what the TLB keeps.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "test_mm.h"

namespace racewalk {
namespace {

constexpr vaddr_t A = 0x7f0000000000;
constexpr u64 HUGE_SIZE = u64{1} << 21;

class cpu : public testing::Test {
 protected:
  cpu() { cpu_.switch_mm(&mm_.context); }
  ~cpu() override { cpu_.switch_mm(nullptr); }

  Machine machine_{u64{64} << 20, 2};
  cpu_binding binding_{machine_, 0};
  test_mm mm_{machine_};
  Cpu& cpu_ = machine_.cpu(0);
};

TEST_F(cpu, loads_what_was_stored_in_every_size) {
  mm_.map(A, 100, PAGE_SHARED);
  EXPECT_TRUE(cpu_.store<u64>(A + 8, 0x1122334455667788));
  EXPECT_EQ(cpu_.load<u64>(A + 8).value(), 0x1122334455667788);
  EXPECT_EQ(cpu_.load<u32>(A + 12).value(), 0x11223344U);
  EXPECT_EQ(cpu_.load<u16>(A + 8).value(), 0x7788U);
  EXPECT_EQ(cpu_.load<u8>(A + 15).value(), 0x11U);
  EXPECT_EQ(READ_ONCE(mm_.words(100)[1]), 0x1122334455667788);
}

TEST_F(cpu, unaligned_accesses_may_cross_pages) {
  mm_.map(A, 100, PAGE_SHARED);
  mm_.map(A + PAGE_SIZE, 200, PAGE_SHARED);
  EXPECT_TRUE(cpu_.store<u64>(A + PAGE_SIZE - 3, 0x1122334455667788));
  EXPECT_EQ(cpu_.load<u64>(A + PAGE_SIZE - 3).value(), 0x1122334455667788);
  EXPECT_EQ(cpu_.load<u8>(A + PAGE_SIZE).value(), 0x55U);
  EXPECT_EQ(cpu_.fetch_add<u64>(A + 1, 1).error(), fault_result::sigbus);
}

TEST_F(cpu, read_modify_writes) {
  mm_.map(A, 100, PAGE_SHARED);
  EXPECT_EQ(cpu_.fetch_add<u32>(A, 5).value(), 0U);
  EXPECT_EQ(cpu_.exchange<u32>(A, 9).value(), 5U);
  EXPECT_EQ(cpu_.compare_exchange<u32>(A, 1, 2).value(), 9U);
  EXPECT_EQ(cpu_.compare_exchange<u32>(A, 9, 2).value(), 9U);
  EXPECT_EQ(cpu_.load<u32>(A).value(), 2U);
}

TEST_F(cpu, accesses_without_a_right_fault) {
  EXPECT_EQ(cpu_.load<u64>(A).error(), fault_result::sigsegv);
  mm_.map(A, 100, PAGE_READONLY);
  EXPECT_TRUE(cpu_.load<u64>(A));
  EXPECT_EQ(cpu_.store<u64>(A, 1).error(), fault_result::sigsegv);
  mm_.map(A + PAGE_SIZE, 100, PAGE_NONE);
  EXPECT_EQ(cpu_.load<u64>(A + PAGE_SIZE).error(), fault_result::sigsegv);
}

TEST_F(cpu, addresses_outside_the_tree_fault_and_alias_nothing) {
  mm_.map_dirty(A, 100);
  EXPECT_TRUE(cpu_.store<u64>(A, 1));
  for (unsigned bit = 48; bit < 64; ++bit) {
    EXPECT_EQ(cpu_.load<u64>(A | BIT(bit)).error(), fault_result::sigsegv);
    EXPECT_EQ(cpu_.store<u64>(A | BIT(bit), 2).error(), fault_result::sigsegv);
  }
}

TEST_F(cpu, the_fault_handler_is_asked_until_the_access_is_granted) {
  static test_mm* mm = nullptr;
  static int asked = 0;
  mm = &mm_;
  asked = 0;
  mm_.context.fault = [](mm_context&, vaddr_t addr, fault_flags flags) {
    ++asked;
    mm->map(addr & PAGE_MASK, 100, flags & FAULT_FLAG_WRITE ? PAGE_SHARED : PAGE_READONLY);
    return fault_result::handled;
  };
  EXPECT_EQ(cpu_.load<u64>(A).value(), 0U);
  EXPECT_TRUE(cpu_.store<u64>(A, 7)); // the handler has only relaxed the entry: nothing to flush
  EXPECT_EQ(cpu_.load<u64>(A).value(), 7U);
  EXPECT_EQ(asked, 2);
}

TEST_F(cpu, huge_pages_are_reached_through_one_entry) {
  mm_.map(A, 512, PAGE_SHARED, PMD_LEVEL);
  std::vector<u64> pages(512);
  std::iota(pages.begin(), pages.end(), u64{1000});
  for (u64 i = 0; i < 512; ++i)
    EXPECT_TRUE(cpu_.store<u64>(A + i * PAGE_SIZE, pages[i]));
  for (u64 i = 0; i < 512; ++i)
    EXPECT_EQ(READ_ONCE(mm_.words(512 + i)[0]), pages[i]);
  // unhooking it without a flush leaves the translation in force; the flush of any address in it ends that
  mm_.unmap(A, PMD_LEVEL);
  EXPECT_TRUE(cpu_.load<u64>(A + 7 * PAGE_SIZE));
  flush_tlb_mm_range(mm_.context, A, A + HUGE_SIZE, geometry().shift(PMD_LEVEL), false);
  EXPECT_FALSE(cpu_.load<u64>(A + 7 * PAGE_SIZE));
}

TEST_F(cpu, small_and_huge_pages_live_together) {
  mm_.map(A, 512, PAGE_SHARED, PMD_LEVEL);
  mm_.map(A + HUGE_SIZE, 100, PAGE_SHARED);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(cpu_.store<u64>(A + 64, 1));
    EXPECT_TRUE(cpu_.store<u64>(A + HUGE_SIZE + 64, 2));
    EXPECT_EQ(cpu_.load<u64>(A + 64).value(), 1U);
    EXPECT_EQ(cpu_.load<u64>(A + HUGE_SIZE + 64).value(), 2U);
  }
}

TEST_F(cpu, entries_that_share_a_slot_do_not_answer_for_each_other) {
  const u64 apart = u64{1} << (12 + tlb_t::SMALL_BITS);
  mm_.map_dirty(A, 100);
  mm_.map_dirty(A + apart, 101);
  for (u64 i = 0; i < 4; ++i) {
    EXPECT_TRUE(cpu_.store<u64>(A + i % 2 * apart, i));
    EXPECT_EQ(READ_ONCE(mm_.words(100 + i % 2)[0]), i);
  }
}

TEST_F(cpu, any_number_of_full_flushes_forgets_everything) {
  mm_.map_dirty(A, 100);
  for (u64 i = 0; i < 100; ++i) { // more than there are epochs
    mm_.map_dirty(A, 100 + i);
    flush_tlb_mm(mm_.context);
    EXPECT_TRUE(cpu_.store<u64>(A, i));
    EXPECT_EQ(READ_ONCE(mm_.words(100 + i)[0]), i);
  }
}

TEST_F(cpu, ranges_are_copied_across_pages) {
  for (u64 i = 0; i < 4; ++i)
    mm_.map(A + i * PAGE_SIZE, 100 + 3 * i, PAGE_SHARED);
  std::vector<unsigned char> out(3 * PAGE_SIZE);
  std::iota(out.begin(), out.end(), 0);
  EXPECT_TRUE(cpu_.copy_out(A + 100, out.data(), out.size()));
  std::vector<unsigned char> in(out.size());
  EXPECT_TRUE(cpu_.copy_in(in.data(), A + 100, in.size()));
  EXPECT_EQ(in, out);
  std::size_t seen = 0;
  EXPECT_TRUE(cpu_.for_each_span(A + 100, out.size(), [&](const std::byte* at, std::size_t n) {
    EXPECT_EQ(std::memcmp(at, out.data() + seen, n), 0);
    seen += n;
  }));
  EXPECT_EQ(seen, out.size());
  EXPECT_EQ(cpu_.copy_in(in.data(), A + 2 * PAGE_SIZE, in.size()).error(), fault_result::sigsegv);
}

TEST(machine, refuses_what_cannot_be) {
  EXPECT_THROW(Machine(0, 1), std::invalid_argument);
  EXPECT_THROW(Machine(1 << 20, 0), std::invalid_argument);
  EXPECT_THROW(Machine(1 << 20, MAX_CPUS + 1), std::invalid_argument);
}

TEST(machine, several_exist_side_by_side) {
  Machine a(u64{4} << 20, 1);
  Machine b(u64{4} << 20, 1);
  for (Machine* m : {&a, &b}) {
    machine_scope on(*m);
    EXPECT_EQ(page_to_pfn(pfn_to_page(17)), 17U);
    EXPECT_EQ(page_address(pfn_to_page(17)), m->frames() + 17 * PAGE_SIZE);
    EXPECT_EQ(&machine(), m);
  }
  EXPECT_EQ(run_context, nullptr);
}

TEST(page, flags_are_changed_one_at_a_time_and_tails_find_their_head) {
  Machine m(u64{4} << 20, 1);
  machine_scope on(m);
  struct page* page = pfn_to_page(8);
  EXPECT_EQ(atomic_read(page->_mapcount), -1);
  SetPageDirty(page);
  EXPECT_FALSE(TestSetPageLocked(page));
  EXPECT_TRUE(TestSetPageLocked(page));
  EXPECT_TRUE(PageDirty(page));
  ClearPageLocked(page);
  EXPECT_FALSE(folio_test_locked(page_folio(page)));
  WRITE_ONCE(pfn_to_page(11)->compound_head, 8 * 2 + 1);
  EXPECT_EQ(&page_folio(pfn_to_page(11))->page, page);
}

} // namespace
} // namespace racewalk
