// IPIs: every target once, never inside a section with interrupts off, and no two CPUs wait for each other.
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "sync/sync.h"

namespace racewalk {
namespace {

/// CPUs without a machine around them.
class smp : public testing::Test {
 protected:
  static constexpr unsigned CPUS = 4;

  smp() {
    for (unsigned id = 0; id < CPUS; ++id) {
      tables_.push_back(std::make_unique<u64[]>(tlb_t::TABLE_BYTES / sizeof(u64)));
      cpus_.push_back(
          std::make_unique<cpu_local>(nullptr, reinterpret_cast<std::byte*>(tables_.back().get())));
      machine_.add(id, *cpus_.back());
    }
  }

  smp_domain machine_;

 private:
  std::vector<std::unique_ptr<u64[]>> tables_;
  std::vector<std::unique_ptr<cpu_local>> cpus_;
};

struct counters {
  std::atomic<u64> runs[MAX_CPUS];
};

void count(unsigned cpu, const void* arg) { (*static_cast<counters* const*>(arg))->runs[cpu]++; }

TEST_F(smp, a_binding_is_exclusive_both_ways) {
  EXPECT_EQ(raw_smp_processor_id(), NO_CPU);
  {
    cpu_binding here(machine_, 2);
    EXPECT_EQ(smp_processor_id(), 2U);
    EXPECT_THROW(cpu_binding(machine_, 3), std::logic_error);
    std::thread([&] { EXPECT_THROW(cpu_binding(machine_, 2), std::logic_error); }).join();
  }
  EXPECT_EQ(raw_smp_processor_id(), NO_CPU);
  EXPECT_THROW(cpu_binding(machine_, CPUS), std::logic_error);
}

TEST_F(smp, the_handler_runs_once_for_each_other_cpu_of_the_mask) {
  counters c{};
  counters* p = &c;
  cpu_binding here(machine_, 0);
  smp_call_function_many(0b1011, count, &p, sizeof p); // CPUs 1 and 3 run nothing: on their behalf
  EXPECT_EQ(c.runs[0], 0U);
  EXPECT_EQ(c.runs[1], 1U);
  EXPECT_EQ(c.runs[2], 0U);
  EXPECT_EQ(c.runs[3], 1U);
}

TEST_F(smp, an_ipi_waits_for_the_section_that_had_begun) {
  std::atomic<int> step{0};
  std::thread target([&] {
    cpu_binding there(machine_, 1);
    local_irq_disable();
    local_irq_disable();
    step = 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    local_irq_enable();
    EXPECT_TRUE(irqs_disabled());
    step = 2;
    local_irq_enable();
  });
  while (step == 0)
    std::this_thread::yield();
  cpu_binding here(machine_, 0);
  smp_call_function_many(BIT(1), nullptr, nullptr, 0);
  EXPECT_EQ(step, 2);
  target.join();
}

// A walker reads two words that the other side changes with an IPI between the first and the second; inside
// one section it must never see the second change and then the first value.
TEST_F(smp, sections_do_not_straddle_an_ipi) {
  shared<u64> first{0};
  shared<u64> second{0};
  std::atomic<bool> stop{false};
  std::thread walker([&] {
    cpu_binding there(machine_, 1);
    while (!stop) {
      irq_guard off;
      const u64 f = READ_ONCE(first);
      for (int i = 0; i < 20; ++i)
        cpu_relax();
      EXPECT_LE(READ_ONCE(second), f); // second follows first by an IPI
    }
  });
  cpu_binding here(machine_, 0);
  for (u64 i = 1; i < 2000; ++i) {
    WRITE_ONCE(first, i);
    smp_call_function_many(BIT(1), nullptr, nullptr, 0);
    WRITE_ONCE(second, i);
  }
  stop = true;
  walker.join();
}

TEST_F(smp, cpus_that_interrupt_each_other_make_progress) {
  counters c{};
  counters* p = &c;
  constexpr u64 ROUNDS = 500;
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < CPUS; ++id)
    threads.emplace_back([&, id] {
      cpu_binding here(machine_, id);
      for (u64 i = 0; i < ROUNDS; ++i) {
        smp_call_function_many(0b1111, count, &p, sizeof p);
        irq_guard off;
      }
    });
  for (auto& t : threads)
    t.join();
  for (unsigned id = 0; id < CPUS; ++id)
    EXPECT_EQ(c.runs[id], (CPUS - 1) * ROUNDS);
}

TEST_F(smp, rcu_callbacks_work_on_the_machine_of_their_caller) {
  struct probe {
    rcu_head rcu;
    smp_domain* seen = nullptr;
  };
  probe p;
  {
    cpu_binding here(machine_, 0);
    call_rcu(&p.rcu, [](rcu_head* head) { reinterpret_cast<probe*>(head)->seen = run_context; });
  }
  EXPECT_EQ(run_context, nullptr);
  rcu_barrier();
  EXPECT_EQ(p.seen, &machine_);
}

using smp_death = smp;

TEST_F(smp_death, an_ipi_with_interrupts_off_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        cpu_binding here(machine_, 0);
        irq_guard off;
        smp_call_function_many(BIT(1), nullptr, nullptr, 0);
      },
      "INV-LIVE: an IPI");
}

} // namespace
} // namespace racewalk
