// The locks exclude whom they say, and nobody sleeps for ever.
#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "sync/sync.h"

namespace racewalk {
namespace {

constexpr int THREADS = 4;

template <class F> void in_threads(int n, F&& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < n; ++i)
    threads.emplace_back([&body, i] { body(i); });
  for (auto& t : threads)
    t.join();
}

TEST(spinlock, excludes) {
  spinlock_t lock;
  int shared_by_all = 0;
  in_threads(THREADS, [&](int) {
    for (int i = 0; i < 20000; ++i) {
      spin_guard guard(lock);
      ++shared_by_all;
    }
  });
  EXPECT_EQ(shared_by_all, THREADS * 20000);
}

TEST(spinlock, trylock_fails_while_held) {
  spinlock_t lock;
  auto try_it = [&] {
    if (!spin_trylock(lock)) return false;
    spin_unlock(lock);
    return true;
  };
  EXPECT_TRUE(try_it());
  spin_lock(lock);
  bool taken = true;
  std::thread([&] { taken = try_it(); }).join();
  EXPECT_FALSE(taken);
  spin_unlock(lock);
  EXPECT_TRUE(try_it());
}

TEST(mutex, excludes_and_wakes) {
  mutex_t mutex;
  int shared_by_all = 0;
  in_threads(THREADS, [&](int) {
    for (int i = 0; i < 20000; ++i) {
      mutex_lock(mutex);
      ++shared_by_all;
      mutex_unlock(mutex);
    }
  });
  EXPECT_EQ(shared_by_all, THREADS * 20000);
}

TEST(rwsem, writers_exclude_everyone) {
  rwsem_t sem;
  long a = 0;
  long b = 0;
  in_threads(THREADS, [&](int id) {
    for (int i = 0; i < 5000; ++i) {
      if ((i + id) % 4 == 0) {
        write_guard guard(sem);
        ++a;
        ++b;
      } else {
        read_guard guard(sem);
        EXPECT_EQ(a, b);
      }
    }
  });
  EXPECT_EQ(a, THREADS * 5000 / 4);
}

bool can_read(rwsem_t& sem) {
  if (!down_read_trylock(sem)) return false;
  up_read(sem);
  return true;
}

bool can_write(rwsem_t& sem) {
  if (!down_write_trylock(sem)) return false;
  up_write(sem);
  return true;
}

TEST(rwsem, readers_share_and_keep_writers_out) {
  rwsem_t sem;
  down_read(sem);
  std::thread([&] {
    EXPECT_FALSE(can_write(sem));
    EXPECT_TRUE(can_read(sem));
  }).join();
  up_read(sem);
  EXPECT_TRUE(can_write(sem));
}

// The analysis has no word for a downgrade.
void write_then_read(rwsem_t& sem, const std::function<void()>& writing,
                     const std::function<void()>& reading) NO_THREAD_SAFETY_ANALYSIS {
  down_write(sem);
  writing();
  downgrade_write(sem);
  reading();
  up_read(sem);
}

TEST(rwsem, downgrade_lets_readers_in_but_no_writer) {
  rwsem_t sem;
  std::atomic<bool> reader_in{false};
  std::thread reader;
  write_then_read(
      sem,
      [&] {
        reader = std::thread([&] {
          read_guard guard(sem);
          reader_in = true;
        });
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        EXPECT_FALSE(reader_in);
      },
      [&] {
        reader.join();
        EXPECT_TRUE(reader_in);
        EXPECT_FALSE(can_write(sem));
      });
  EXPECT_TRUE(can_write(sem));
}

TEST(wait_while, sees_the_change_that_woke_it) {
  word_t word{BIT(0)};
  int published = 0;
  std::thread waker([&] {
    published = 1;
    clear_bit_unlock(0, word);
    wake_up_all(word);
  });
  EXPECT_EQ(wait_while(word, BIT(0), BIT(0)) & BIT(0), 0U);
  EXPECT_EQ(published, 1); // acquire
  waker.join();
}

TEST(wait_while, no_wake_up_is_lost) {
  word_t turn{0};
  constexpr u64 ROUNDS = 3000;
  in_threads(2, [&](int me) {
    for (u64 i = 0; i < ROUNDS; ++i) {
      wait_while(turn, 1, me == 0 ? 1 : 0);
      WRITE_ONCE(turn, READ_ONCE(turn) + 1);
      wake_up_all(turn);
    }
  });
  EXPECT_EQ(READ_ONCE(turn), 2 * ROUNDS);
}

} // namespace
} // namespace racewalk
