// Shootdown: after a flush has returned, no CPU reads or writes through what it covered. And the mask, the
// generations and the lazy mode that decide whom a flush reaches.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "test_mm.h"

namespace racewalk {
namespace {

constexpr vaddr_t A = 0x100000000000;

class shootdown : public testing::Test {
 protected:
  Machine machine_{u64{64} << 20, 4};
  test_mm mm_{machine_};
};

/// Which frames and at which level; `clean`: translations that let loads through and no stores.
struct move {
  unsigned level;
  bool clean;
};

/// One CPU moves a page between two frames; after each flush the frame that was left must be quiet: it is
/// marked, and neither may a reader meet the mark nor a writer change it.
class moving_page : public shootdown, public testing::WithParamInterface<move> {
 protected:
  static constexpr pfn_t FRAME[2] = {512, 1024};
  static constexpr u64 QUIET = 0xdeaddeaddeaddead;

  void map(pfn_t pfn) {
    if (GetParam().clean)
      mm_.map(A, pfn, PAGE_READONLY, GetParam().level);
    else
      mm_.map_dirty(A, pfn, GetParam().level);
  }

  void move_while(const auto& access) {
    const unsigned level = GetParam().level;
    std::atomic<bool> stop{false};
    std::atomic<unsigned> ready{0};
    map(FRAME[0]);
    std::vector<std::thread> others;
    for (unsigned id = 1; id < 3; ++id)
      others.emplace_back([&, id] {
        cpu_binding here(machine_, id);
        Cpu& cpu = machine_.cpu(id);
        cpu.switch_mm(&mm_.context);
        ready++;
        while (!stop)
          access(cpu, id);
        cpu.switch_mm(nullptr);
      });
    {
      cpu_binding here(machine_, 0);
      while (ready != 2)
        std::this_thread::yield();
      for (unsigned round = 0; round < 1500; ++round) {
        const pfn_t from = FRAME[round % 2];
        const pfn_t to = FRAME[(round + 1) % 2];
        word_t* old_words = mm_.words(from);
        for (u64 i = 0; i < 4; ++i)
          WRITE_ONCE(mm_.words(to)[i], i);
        smp_wmb(); // the content before the entry that shows it
        map(to);
        flush_tlb_mm_range(mm_.context, A, A + geometry().size(level), geometry().shift(level),
                           round % 8 == 0);
        for (u64 i = 0; i < 4; ++i)
          WRITE_ONCE(old_words[i], QUIET);
        for (int i = 0; i < 50; ++i)
          cpu_relax();
        for (u64 i = 0; i < 4; ++i)
          EXPECT_EQ(READ_ONCE(old_words[i]), QUIET);
      }
    }
    stop = true;
    for (auto& t : others)
      t.join();
  }
};

TEST_P(moving_page, no_load_reads_the_frame_that_was_left) {
  move_while([](Cpu& cpu, unsigned id) { EXPECT_NE(cpu.load<u64>(A + 8 * id).value(), QUIET); });
}

TEST_P(moving_page, no_store_reaches_the_frame_that_was_left) {
  if (GetParam().clean) return;
  move_while([](Cpu& cpu, unsigned id) { EXPECT_TRUE(cpu.store<u64>(A + 8 * id, id)); });
}

TEST_P(moving_page, no_read_modify_write_reaches_the_frame_that_was_left) {
  if (GetParam().clean) return;
  move_while([](Cpu& cpu, unsigned id) { EXPECT_LT(cpu.fetch_add<u64>(A + 8 * id, 1).value(), QUIET); });
}

TEST_P(moving_page, no_copy_reads_the_frame_that_was_left) {
  move_while([](Cpu& cpu, unsigned) {
    u64 words[4];
    EXPECT_TRUE(cpu.copy_in(words, A, sizeof words));
    for (u64 w : words)
      EXPECT_NE(w, QUIET);
  });
}

INSTANTIATE_TEST_SUITE_P(levels, moving_page,
                         testing::Values(move{PTE_LEVEL, false}, move{PTE_LEVEL, true},
                                         move{PMD_LEVEL, false}, move{PMD_LEVEL, true}),
                         [](const auto& param) {
                           return std::string(param.param.level == PTE_LEVEL ? "small" : "huge") +
                                  (param.param.clean ? "_clean" : "_dirty");
                         });

// The two CPUs flush each other's translations while both store: nobody may wait for ever.
TEST_F(shootdown, cpus_that_flush_each_other_make_progress) {
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 4; ++id)
    mm_.map_dirty(A + id * PAGE_SIZE, 600 + id);
  for (unsigned id = 0; id < 4; ++id)
    threads.emplace_back([&, id] {
      cpu_binding here(machine_, id);
      Cpu& cpu = machine_.cpu(id);
      cpu.switch_mm(&mm_.context);
      for (u64 i = 0; i < 2000; ++i) {
        EXPECT_TRUE(cpu.store<u64>(A + i % 4 * PAGE_SIZE + 8 * id, i));
        if (i % 16 == id)
          flush_tlb_mm(mm_.context);
        else
          flush_tlb_page(mm_.context, A + i % 4 * PAGE_SIZE);
      }
      cpu.switch_mm(nullptr);
    });
  for (auto& t : threads)
    t.join();
}

TEST_F(shootdown, the_mask_holds_the_cpus_that_have_the_mm_loaded) {
  cpu_binding here(machine_, 1);
  Cpu& cpu = machine_.cpu(1);
  EXPECT_EQ(READ_ONCE(mm_.context.cpumask), 0U);
  cpu.switch_mm(&mm_.context);
  EXPECT_EQ(READ_ONCE(mm_.context.cpumask), BIT(1));
  EXPECT_EQ(cpu.current_mm(), &mm_.context);
  cpu.switch_mm(nullptr);
  if (arch().mm_cpumask == cpumask_rule_t::clear_on_switch) {
    EXPECT_EQ(READ_ONCE(mm_.context.cpumask), 0U);
  }
}

TEST_F(shootdown, another_mm_does_not_see_this_ones_translations) {
  test_mm other(machine_, 4096);
  cpu_binding here(machine_, 0);
  Cpu& cpu = machine_.cpu(0);
  mm_.map_dirty(A, 600);
  cpu.switch_mm(&mm_.context);
  EXPECT_TRUE(cpu.store<u64>(A, 1));
  cpu.switch_mm(&other.context);
  EXPECT_FALSE(cpu.load<u64>(A));
  cpu.switch_mm(nullptr);
  EXPECT_FALSE(cpu.load<u64>(A));
}

TEST_F(shootdown, a_change_made_while_switched_away_is_seen_on_return) {
  cpu_binding here(machine_, 0);
  Cpu& cpu = machine_.cpu(0);
  mm_.map_dirty(A, 600);
  cpu.switch_mm(&mm_.context);
  EXPECT_TRUE(cpu.store<u64>(A, 1));
  cpu.switch_mm(nullptr);
  mm_.map_dirty(A, 601);
  flush_tlb_page(mm_.context, A);
  cpu.switch_mm(&mm_.context);
  EXPECT_EQ(cpu.load<u64>(A).value(), 0U);
  cpu.switch_mm(nullptr);
}

TEST_F(shootdown, a_lazy_cpu_is_passed_by_and_catches_up) {
  cpu_binding here(machine_, 0);
  Cpu& cpu = machine_.cpu(0);
  mm_.map_dirty(A, 600);
  cpu.switch_mm(&mm_.context);
  EXPECT_TRUE(cpu.store<u64>(A, 1));
  cpu.enter_lazy_tlb();
  std::thread([&] {
    cpu_binding there(machine_, 1);
    mm_.map_dirty(A, 601);
    flush_tlb_page(mm_.context, A);
  }).join();
  cpu.switch_mm(&mm_.context);
  EXPECT_EQ(cpu.load<u64>(A).value(), 0U);
  cpu.switch_mm(nullptr);
}

TEST_F(shootdown, a_lazy_cpu_is_reached_when_tables_are_freed) {
  cpu_binding here(machine_, 0);
  Cpu& cpu = machine_.cpu(0);
  mm_.map_dirty(A, 600);
  cpu.switch_mm(&mm_.context);
  EXPECT_TRUE(cpu.store<u64>(A, 1));
  cpu.enter_lazy_tlb();
  std::thread([&] {
    cpu_binding there(machine_, 1);
    mm_.map_dirty(A, 601);
    flush_tlb_range(mm_.context, A, A + PAGE_SIZE);
  }).join();
  // either its translations are gone (broadcast) or it has left the mm (IPI); it must not read the old frame
  cpu.switch_mm(&mm_.context);
  EXPECT_EQ(cpu.load<u64>(A).value(), 0U);
  cpu.switch_mm(nullptr);
}

TEST_F(shootdown, lazy_cpus_leave_when_asked) {
  std::atomic<int> step{0};
  std::thread lazy([&] {
    cpu_binding there(machine_, 2);
    Cpu& cpu = machine_.cpu(2);
    cpu.switch_mm(&mm_.context);
    cpu.enter_lazy_tlb();
    step = 1;
    while (step == 1)
      std::this_thread::yield();
    EXPECT_EQ(cpu.current_mm(), nullptr);
    cpu.switch_mm(&mm_.context);
    EXPECT_EQ(READ_ONCE(mm_.context.cpumask), BIT(2));
    cpu.switch_mm(nullptr);
  });
  while (step == 0)
    std::this_thread::yield();
  {
    cpu_binding here(machine_, 0);
    exit_flush_lazy_tlbs(mm_.context);
  }
  if (arch().mm_cpumask != cpumask_rule_t::set_only) {
    EXPECT_EQ(READ_ONCE(mm_.context.cpumask), 0U);
  }
  step = 2;
  lazy.join();
}

} // namespace
} // namespace racewalk
