// A grace period waits for the sections that had begun, whichever way they announce themselves.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "sync/sync.h"

namespace racewalk {
namespace {

struct object {
  rcu_head rcu;
  atomic_t alive{1};
};

std::atomic<int> freed{0};

void free_object(rcu_head* head) {
  auto* o = reinterpret_cast<object*>(head); // rcu is its first member
  atomic_set(o->alive, 0);
  delete o;
  freed++;
}

TEST(rcu, readers_never_meet_a_freed_object) {
  shared<object*> current{new object};
  std::atomic<bool> stop{false};
  freed = 0;
  std::thread reader([&] {
    while (!stop) {
      rcu_guard guard;
      EXPECT_EQ(atomic_read(smp_load_acquire(current)->alive), 1);
    }
  });
  std::thread irq_reader([&] {
    while (!stop) {
      irq_guard off;
      EXPECT_EQ(atomic_read(smp_load_acquire(current)->alive), 1);
    }
  });
  constexpr int ROUNDS = 200;
  for (int i = 0; i < ROUNDS; ++i) {
    object* old = xchg(current, new object);
    if (i % 8) {
      call_rcu(&old->rcu, free_object);
    } else {
      synchronize_rcu();
      free_object(&old->rcu);
    }
  }
  stop = true;
  reader.join();
  irq_reader.join();
  rcu_barrier();
  EXPECT_EQ(freed, ROUNDS);
  delete READ_ONCE(current);
}

TEST(rcu, grace_period_waits_for_an_open_section) {
  std::atomic<int> step{0};
  std::thread reader([&] {
    rcu_read_lock();
    step = 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    step = 2;
    rcu_read_unlock();
  });
  while (step == 0)
    std::this_thread::yield();
  synchronize_rcu();
  EXPECT_EQ(step, 2);
  reader.join();
}

TEST(rcu, sections_nest) {
  rcu_read_lock();
  rcu_read_lock();
  rcu_read_unlock();
  EXPECT_TRUE(rcu_read_lock_held());
  rcu_read_unlock();
  EXPECT_FALSE(rcu_read_lock_held());
}

TEST(rcu_death, waiting_for_oneself_is_reported) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        rcu_read_lock();
        synchronize_rcu();
      },
      "INV-LIVE: synchronize_rcu");
}

} // namespace
} // namespace racewalk
