// What never goes on: loops that wait, locks in a circle, and waiting where that is not allowed. The report
// says which, and where it began.
#include <gtest/gtest.h>

#include "explore/explorer.h"
#include "explore/linear.h"

namespace racewalk::explore {
namespace {

constexpr auto all_models = std::array{memory_model::sc, memory_model::tso, memory_model::weak};

outcome decide(std::vector<std::function<void()>> threads, memory_model m = memory_model::weak,
               search_options o = {}) {
  program p;
  p.threads = std::move(threads);
  o.model = m;
  o.shrink_executions = 100;
  return explorer(p, o).run();
}

::testing::AssertionResult lost(const outcome& o, const std::string& invariant,
                                const std::vector<std::string>& words) {
  if (o.failures.empty()) return ::testing::AssertionFailure() << "nothing is lost; " << o.reason;
  const failure& f = o.failures.front();
  if (f.invariant != invariant) return ::testing::AssertionFailure() << f.invariant << ": " << f.text;
  for (const std::string& word : words)
    if (f.text.find(word) == std::string::npos)
      return ::testing::AssertionFailure() << "no '" << word << "' in: " << f.text;
  return ::testing::AssertionSuccess();
}

std::string here(unsigned line) { return "liveness_model_test.cc:" + std::to_string(line); }

// ---- loops -----------------------------------------------------------------------------------------------

TEST(loops, a_wait_is_decided_without_going_round) {
  for (auto m : all_models) {
    word_t x{0};
    word_t y{0};
    const outcome o = decide({[&] {
                                while (!READ_ONCE(x))
                                  cpu_relax();
                                VM_BUG_ON(READ_ONCE(y) == 0, "TEST", "x is seen and y is not");
                              },
                              [&] {
                                WRITE_ONCE(y, 1);
                                smp_store_release(x, 1);
                              }},
                             m);
    // weak: a plain read of x orders nothing after it
    EXPECT_EQ(o.verdict, m == memory_model::weak ? verdict::violation : verdict::safe) << o.reason;
    if (m == memory_model::weak) continue;
    EXPECT_EQ(o.executions, 1u);
    EXPECT_EQ(o.blocked, 1u);
  }
}

TEST(loops, two_that_wait_for_each_other_in_turn) {
  for (auto m : all_models) {
    word_t ping{0};
    word_t pong{0};
    const outcome o = decide({[&] {
                                smp_store_release(ping, 1);
                                while (!smp_load_acquire(pong))
                                  cpu_relax();
                                smp_store_release(ping, 2);
                              },
                              [&] {
                                while (smp_load_acquire(ping) != 1)
                                  cpu_relax();
                                smp_store_release(pong, 1);
                                while (smp_load_acquire(ping) != 2)
                                  cpu_relax();
                              }},
                             m);
    EXPECT_EQ(o.verdict, verdict::safe) << o.reason;
  }
}

TEST(loops, a_lock_made_of_a_failing_cmpxchg) {
  atomic_t lock{0};
  plain<int> data;
  auto body = [&] {
    while (cmpxchg(lock, 0, 1) != 0)
      cpu_relax();
    data.set(data.get() + 1);
    smp_store_release(lock, 0);
  };
  const outcome o = decide({body, body, body});
  EXPECT_EQ(o.verdict, verdict::safe) << o.reason;
  EXPECT_EQ(o.executions, 6u);
}

TEST(loops, one_that_nobody_ends_is_a_hang) {
  for (bool written : {true, false}) {
    word_t x{0};
    const unsigned line = __LINE__ + 3;
    auto waits = [&] {
      while (READ_ONCE(x) != 2)
        cpu_relax();
    };
    const outcome o = decide({waits, [&] {
                                if (written) WRITE_ONCE(x, 1);
                              }});
    EXPECT_TRUE(lost(o, "INV-LIVE", {"CPU0 goes round without end", here(line)}));
  }
}

/// What it has read before the loop may have changed: that does not end the loop.
TEST(loops, one_that_nobody_ends_is_a_hang_whatever_came_before_it) {
  spinlock_t lock;
  word_t x{0};
  const outcome o = decide({[&] {
                              if (spin_trylock(lock)) {
                                WRITE_ONCE(x, 1);
                                spin_unlock(lock);
                              }
                              while (!READ_ONCE(x))
                                cpu_relax();
                            },
                            [&] {
                              spin_lock(lock);
                              spin_unlock(lock);
                            }});
  EXPECT_TRUE(lost(o, "INV-LIVE", {"CPU0 goes round without end"}));
}

TEST(loops, one_that_writes_in_each_round_is_not_taken_for_a_wait) {
  atomic_t tries{0};
  const outcome o = decide({[&] {
                              while (atomic_inc_return(tries) < 3)
                                cpu_relax();
                            },
                            [&] { READ_ONCE(tries); }});
  EXPECT_EQ(o.verdict, verdict::safe) << o.reason;
  EXPECT_EQ(o.executions, 4u);
}

TEST(loops, one_without_cpu_relax_is_named) {
  word_t x{0};
  const unsigned line = __LINE__ + 2;
  const outcome o = decide({[&] {
                              while (!READ_ONCE(x)) {
                              }
                            },
                            [&] { WRITE_ONCE(x, 1); }});
  EXPECT_EQ(o.verdict, verdict::inconclusive);
  EXPECT_TRUE(o.reason.starts_with("CPU0 went round in scenario() " + here(line))) << o.reason;
}

TEST(loops, a_waiting_loop_takes_interrupts) {
  word_t x{0};
  const outcome o = decide({[&] {
                              while (!READ_ONCE(x))
                                cpu_relax();
                            },
                            [&] {
                              smp_call_function_many(
                                  1, [](unsigned, const void*) {}, nullptr, 0);
                              WRITE_ONCE(x, 1);
                            }});
  EXPECT_EQ(o.verdict, verdict::safe) << o.reason;
}

/// A grace period may end while the loop is out of its section: what was read before must not be used after
/// it.
TEST(loops, one_that_leaves_its_section_in_each_round) {
  auto decided = [](bool relaxes_inside, bool uses_what_it_read_before) {
    word_t current{0};
    word_t freed{0};
    word_t done{0};
    return decide({[&] {
                     WRITE_ONCE(current, 1);
                     synchronize_rcu();
                     WRITE_ONCE(freed, 1);
                     smp_store_release(done, 1);
                   },
                   [&] {
                     rcu_read_lock();
                     u64 seen = READ_ONCE(current);
                     while (!smp_load_acquire(done)) {
                       rcu_read_unlock();
                       if (!relaxes_inside) cpu_relax();
                       rcu_read_lock();
                       if (relaxes_inside) cpu_relax();
                     }
                     if (!uses_what_it_read_before) seen = READ_ONCE(current);
                     VM_BUG_ON(seen == 0 && READ_ONCE(freed), "TEST", "after the grace period");
                     rcu_read_unlock();
                   }});
  };
  for (bool relaxes_inside : {true, false}) {
    EXPECT_TRUE(lost(decided(relaxes_inside, true), "TEST", {}));
    EXPECT_EQ(decided(relaxes_inside, false).verdict, verdict::safe);
  }
}

TEST(loops, a_loop_on_what_nobody_has_written_takes_interrupts) {
  word_t x{0};
  const outcome o = decide({[&] {
                              while (!READ_ONCE(x)) {
                              }
                            },
                            [&] {
                              smp_call_function_many(
                                  1, [](unsigned, const void*) {}, nullptr, 0);
                            }});
  // it is no deadlock: the other one goes on
  EXPECT_TRUE(lost(o, "INV-LIVE", {"CPU0"}));
  EXPECT_EQ(o.failures.front().text.find("CPU1"), std::string::npos) << o.failures.front().text;
}

/// That another CPU's interrupt has been taken says nothing of what comes after it.
TEST(interrupts, may_come_before_a_plain_access) {
  plain<int> data;
  const outcome o = decide({[&] { data.set(1); },
                            [&] {
                              smp_call_function_many(
                                  1, [](unsigned, const void*) {}, nullptr, 0);
                              (void)data.get();
                            }});
  EXPECT_TRUE(lost(o, "DATA-RACE", {}));
}

TEST(interrupts, make_no_difference_before_an_access_that_nobody_notices) {
  word_t own{0};
  word_t x{0};
  const auto executions = [&](unsigned unnoticed) {
    return decide({[&, unnoticed] {
                     for (unsigned i = 0; i < unnoticed; ++i)
                       WRITE_ONCE(own, READ_ONCE(own) + 1);
                     WRITE_ONCE(x, 1);
                   },
                   [&] {
                     smp_call_function_many(
                         1, [](unsigned, const void*) {}, nullptr, 0);
                     (void)READ_ONCE(x);
                   }})
        .executions;
  };
  EXPECT_EQ(executions(20), executions(0));
}

TEST(loops, a_sample_goes_on_when_there_is_news) {
  word_t x{0};
  search_options sampled;
  sampled.random = sampling{200, 1};
  const outcome o = decide({[&] {
                              while (READ_ONCE(x) != 2)
                                cpu_relax();
                              violation("TEST", "gets through");
                            },
                            [&] {
                              WRITE_ONCE(x, 1);
                              WRITE_ONCE(x, 2);
                            }},
                           memory_model::sc, sampled);
  EXPECT_TRUE(lost(o, "TEST", {}));
}

// ---- the order of locks -----------------------------------------------------------------------------------

class Locks : public testing::Test {
 protected:
  spinlock_t a_, b_, c_;
  plain<int> under_a_, under_b_;
  word_t go_{0};

  void ab() {
    spin_lock(a_, site{"x/one.cc", "one", 1});
    spin_lock(b_, site{"x/one.cc", "one", 2});
    under_a_.set(under_a_.get() + 1);
    spin_unlock(b_);
    spin_unlock(a_);
  }
  void ba() {
    spin_lock(b_, site{"x/other.cc", "other", 3});
    spin_lock(a_, site{"x/other.cc", "other", 4});
    under_a_.set(under_a_.get() + 1);
    spin_unlock(a_);
    spin_unlock(b_);
  }
};

TEST_F(Locks, an_execution_that_deadlocks_says_most) {
  EXPECT_TRUE(lost(decide({[&] { ab(); }, [&] { ba(); }}), "INV-LIVE", {"CPU0 waits", "CPU1 waits"}));
}

TEST_F(Locks, a_circle_is_found_where_nothing_deadlocks) {
  // the other order is only taken when the first is over
  const std::vector<std::function<void()>> threads = {[&] {
                                                        ab();
                                                        smp_store_release(go_, 1);
                                                      },
                                                      [&] {
                                                        if (smp_load_acquire(go_)) ba();
                                                      }};
  const outcome o = decide(threads);
  EXPECT_TRUE(lost(o, "INV-LOCKDEP",
                   {"CPU0 holds lock", "one() one.cc:1", "one() one.cc:2", "CPU1 holds lock",
                    "other() other.cc:3", "other() other.cc:4"}));
  program p;
  p.threads = threads;
  const outcome again = explorer(p, {}).replay(schedule_of(o.failures.front()));
  EXPECT_TRUE(lost(again, "INV-LOCKDEP", {"CPU1 holds lock"})) << again.reason;
}

/// Where variables have names, what is said of locks has them, too.
TEST(lockdep, locks_are_called_by_their_names) {
  program p;
  spinlock_t a;
  spinlock_t b;
  word_t go{0};
  p.name = [&](const void* addr) -> std::string { return addr == &a ? "left" : addr == &b ? "right" : "go"; };
  auto take = [](spinlock_t& outer, spinlock_t& inner) {
    spin_lock(outer);
    spin_lock(inner);
    spin_unlock(inner);
    spin_unlock(outer);
  };
  p.threads = {[&] { take(a, b); }, [&] { take(b, a); }};
  EXPECT_TRUE(
      lost(explorer(p, {}).run(), "INV-LIVE", {"CPU0 waits for lock right", "CPU1 waits for lock left"}));
  p.threads = {[&] {
                 take(a, b);
                 smp_store_release(go, 1);
               },
               [&] {
                 if (smp_load_acquire(go)) take(b, a);
               }};
  EXPECT_TRUE(lost(explorer(p, {}).run(), "INV-LOCKDEP",
                   {"holds lock left", "waits for lock right", "holds lock right", "waits for lock left"}));
  p.threads = {[&] { smp_cond_load_acquire(go, ~u64{0}, 1); }};
  EXPECT_TRUE(lost(explorer(p, {}).run(), "INV-LIVE", {"CPU0 waits for go"}));
}

TEST_F(Locks, a_circle_of_three) {
  auto then = [&](spinlock_t& first, spinlock_t& second, u64 turn) {
    if (smp_load_acquire(go_) != turn) return;
    spin_lock(first);
    spin_lock(second);
    under_a_.set(under_a_.get() + 1);
    spin_unlock(second);
    spin_unlock(first);
    smp_store_release(go_, turn + 1);
  };
  const outcome o = decide({[&] { then(a_, b_, 0); }, [&] { then(b_, c_, 1); }, [&] { then(c_, a_, 2); }},
                           memory_model::sc);
  EXPECT_TRUE(lost(o, "INV-LOCKDEP", {"CPU0 holds", "CPU1 holds", "CPU2 holds"}));
}

TEST_F(Locks, the_same_order_everywhere_is_none) {
  EXPECT_EQ(decide({[&] { ab(); }, [&] { ab(); }}).verdict, verdict::safe);
}

TEST_F(Locks, trying_waits_for_nothing) {
  auto tries = [&] {
    spin_lock(b_);
    if (spin_trylock(a_)) {
      under_a_.set(under_a_.get() + 1);
      spin_unlock(a_);
    }
    spin_unlock(b_);
  };
  EXPECT_EQ(decide({[&] { ab(); }, tries}).verdict, verdict::safe);
}

TEST_F(Locks, what_is_waited_for_under_a_lock_that_was_tried_counts) {
  auto tries = [&] {
    if (!smp_load_acquire(go_) || !spin_trylock(b_)) return;
    spin_lock(a_);
    under_a_.set(under_a_.get() + 1);
    spin_unlock(a_);
    spin_unlock(b_);
  };
  EXPECT_TRUE(lost(decide({[&] {
                             ab();
                             smp_store_release(go_, 1);
                           },
                           tries}),
                   "INV-LOCKDEP", {"CPU1 holds"}));
}

/// A circle that no process sees whole: the parts of a search that is split are put together.
TEST_F(Locks, a_circle_is_found_by_a_search_that_is_split) {
  search_options split;
  split.split_after = 1;
  split.more_workers = [n = 1]() mutable { return n-- > 0 ? 1u : 0u; };
  const outcome o = decide({[&] {
                              if (READ_ONCE(go_) == 0) ab();
                            },
                            [&] {
                              if (READ_ONCE(go_) == 1) ba();
                            },
                            [&] { WRITE_ONCE(go_, 1); }, [&] { WRITE_ONCE(go_, 2); }},
                           memory_model::sc, split);
  EXPECT_TRUE(o.verdict == verdict::violation) << o.reason;
}

TEST_F(Locks, a_lock_of_an_interrupt_handler_is_not_held_with_interrupts_on) {
  static spinlock_t shared_lock;
  static plain<int> shared_data;
  auto handler = [](unsigned, const void*) {
    spin_lock(shared_lock, site{"x/irq.cc", "handler", 7});
    shared_data.set(shared_data.get() + 1);
    spin_unlock(shared_lock);
  };
  auto sends = [&] {
    if (smp_load_acquire(go_)) smp_call_function_many(1, handler, nullptr, 0);
  };
  auto takes = [&](bool irqs_off) {
    if (irqs_off) local_irq_disable();
    spin_lock(shared_lock, site{"x/task.cc", "task", 8});
    shared_data.set(shared_data.get() + 1);
    spin_unlock(shared_lock);
    if (irqs_off) local_irq_enable();
    smp_store_release(go_, 1); // nobody sends before this: no execution deadlocks
  };
  EXPECT_TRUE(lost(decide({[&] { takes(false); }, sends}), "INV-LOCKDEP",
                   {"handler() irq.cc:7", "task() task.cc:8"}));
  EXPECT_EQ(decide({[&] { takes(true); }, sends}).verdict, verdict::safe);
}

// ---- what is taken is given back -------------------------------------------------------------------------

class Balance : public testing::Test {
 protected:
  spinlock_t lock_;
  mutex_t mutex_;
  rwsem_t sem_;
  word_t other_;
  static constexpr site began() { return {"x/began.cc", "began", 42}; }
  static constexpr site ended() { return {"x/ended.cc", "ended", 43}; }

  /// Beside a CPU that does something else.
  outcome decide_with(const std::function<void()>& body) {
    return decide({[&] { WRITE_ONCE(other_, 1); },
                   [&] {
                     READ_ONCE(other_);
                     body();
                   }});
  }
  void expect_left_open(const std::function<void()>& body, const std::string& what) {
    const outcome o = decide_with(body);
    ASSERT_TRUE(lost(o, "INV-BALANCE", {"the body ends " + what, "began() began.cc:42"}));
    EXPECT_EQ(o.failures.front().thread, 1u);
    EXPECT_EQ(place_name(o.failures.front().where), place_name(began()));
  }
  void expect_not_held(const std::function<void()>& body, const std::string& what) {
    const outcome o = decide_with(body);
    ASSERT_TRUE(lost(o, "INV-BALANCE", {what}));
    EXPECT_EQ(o.failures.front().thread, 1u);
    EXPECT_EQ(place_name(o.failures.front().where), place_name(ended()));
  }
};

TEST_F(Balance, a_body_ends_with_a_lock_held) NO_THREAD_SAFETY_ANALYSIS {
  expect_left_open([&]() NO_THREAD_SAFETY_ANALYSIS { spin_lock(lock_, began()); }, "with a lock held");
  expect_left_open([&]() NO_THREAD_SAFETY_ANALYSIS { mutex_lock(mutex_, began()); }, "with a lock held");
  expect_left_open([&]() NO_THREAD_SAFETY_ANALYSIS { (void)mutex_trylock(mutex_, began()); }, "with a lock");
  expect_left_open([&]() NO_THREAD_SAFETY_ANALYSIS { down_read(sem_, began()); }, "with a lock held");
  expect_left_open([&]() NO_THREAD_SAFETY_ANALYSIS { down_write(sem_, began()); }, "with a lock held");
  expect_left_open(
      [&]() NO_THREAD_SAFETY_ANALYSIS {
        down_read(sem_, began());
        down_read(sem_);
        up_read(sem_);
      },
      "with a lock held");
}

TEST_F(Balance, a_body_ends_in_a_section) {
  expect_left_open([&] { local_irq_disable(began()); }, "with interrupts off");
  expect_left_open([&] { rcu_read_lock(began()); }, "in an RCU read-side section");
  expect_left_open(
      [&] {
        rcu_read_lock(began());
        rcu_read_lock();
        rcu_read_unlock();
      },
      "in an RCU read-side section");
}

TEST_F(Balance, what_is_not_held_is_released) NO_THREAD_SAFETY_ANALYSIS {
  expect_not_held([&]() NO_THREAD_SAFETY_ANALYSIS { spin_unlock(lock_, ended()); },
                  "a spinlock that it does not");
  expect_not_held([&]() NO_THREAD_SAFETY_ANALYSIS { mutex_unlock(mutex_, ended()); },
                  "a mutex that it does not");
  expect_not_held([&]() NO_THREAD_SAFETY_ANALYSIS { up_read(sem_, ended()); },
                  "a semaphore that it does not");
  expect_not_held([&]() NO_THREAD_SAFETY_ANALYSIS { up_write(sem_, ended()); },
                  "a semaphore that it does not");
  expect_not_held([&]() NO_THREAD_SAFETY_ANALYSIS { downgrade_write(sem_, ended()); }, "downgrades");
  expect_not_held([&] { local_irq_enable(ended()); }, "interrupts that are not off");
  expect_not_held([&] { rcu_read_unlock(ended()); }, "section that it is not in");
}

TEST_F(Balance, a_semaphore_is_released_as_what_it_was_taken) NO_THREAD_SAFETY_ANALYSIS {
  expect_not_held(
      [&]() NO_THREAD_SAFETY_ANALYSIS {
        down_read(sem_);
        up_write(sem_, ended());
      },
      "releases for writing a semaphore that it holds for reading");
  expect_not_held(
      [&]() NO_THREAD_SAFETY_ANALYSIS {
        down_write(sem_);
        up_read(sem_, ended());
      },
      "releases for reading a semaphore that it holds for writing");
  expect_not_held(
      [&]() NO_THREAD_SAFETY_ANALYSIS {
        (void)down_read_trylock(sem_);
        downgrade_write(sem_, ended());
      },
      "downgrades a semaphore that it holds for reading");
  expect_not_held(
      [&]() NO_THREAD_SAFETY_ANALYSIS {
        down_write(sem_);
        downgrade_write(sem_);
        up_write(sem_, ended());
      },
      "that it holds for reading");
}

/// Another CPU's lock is not its own.
TEST_F(Balance, a_lock_is_released_by_another_cpu) NO_THREAD_SAFETY_ANALYSIS {
  const outcome o = decide({[&]() NO_THREAD_SAFETY_ANALYSIS {
                              spin_lock(lock_);
                              smp_store_release(other_, 1);
                              smp_cond_load_acquire(other_, ~u64{0}, 2);
                            },
                            [&]() NO_THREAD_SAFETY_ANALYSIS {
                              smp_cond_load_acquire(other_, ~u64{0}, 1);
                              spin_unlock(lock_, ended());
                              smp_store_release(other_, 2);
                            }});
  ASSERT_TRUE(lost(o, "INV-BALANCE", {"releases a spinlock that it does not hold"}));
  EXPECT_EQ(o.failures.front().thread, 1u);
}

TEST_F(Balance, what_is_given_back_is_no_loss) NO_THREAD_SAFETY_ANALYSIS {
  const outcome o = decide_with([&]() NO_THREAD_SAFETY_ANALYSIS {
    down_read(sem_);
    local_irq_disable();
    rcu_read_lock();
    spin_lock(lock_);
    spin_unlock(lock_);
    rcu_read_unlock();
    local_irq_enable();
    up_read(sem_);
    down_write(sem_);
    downgrade_write(sem_);
    up_read(sem_);
  });
  EXPECT_EQ(o.verdict, verdict::safe) << o.reason;
}

// ---- waiting where that is not allowed --------------------------------------------------------------------

class Waits : public testing::Test {
 protected:
  mutex_t mutex_;
  rwsem_t sem_;
  spinlock_t lock_;
  word_t flags_{1};
  static constexpr unsigned LINE = 42;
  static constexpr site since() { return {"x/began.cc", "began", LINE}; }

  void expect(const std::function<void()>& body, const std::string& what) {
    EXPECT_TRUE(
        lost(decide({body, [&] { WRITE_ONCE(flags_, 0); }}), "INV-LIVE", {what, "began() began.cc:42"}));
  }
  void wait_for_page() { wait_while(flags_, 1, 1); }
};

TEST_F(Waits, with_interrupts_off) {
  local_irq_disable(since()); // set-up: nothing
  auto off = [&](auto wait) {
    return [=] {
      local_irq_disable(since());
      wait();
      local_irq_enable();
    };
  };
  expect(off([&] { wait_for_page(); }), "waits for another thread, which may sleep, with interrupts off");
  expect(off([&]() NO_THREAD_SAFETY_ANALYSIS { mutex_lock(mutex_); }),
         "takes a mutex, which may sleep, with interrupts off");
  expect(off([&] { synchronize_rcu(); }), "waits for a grace period, which may sleep, with interrupts off");
  expect(off([&] { smp_call_function_many(~u64{0}, nullptr, nullptr, 0); }), "waits for an IPI");
}

TEST_F(Waits, with_a_spinlock_held) {
  auto locked = [&](auto wait) {
    return [=, this] {
      spin_lock(lock_, since());
      wait();
      spin_unlock(lock_);
    };
  };
  expect(locked([&] { wait_for_page(); }), "waits for another thread, which may sleep, with a spinlock held");
  expect(locked([&]() NO_THREAD_SAFETY_ANALYSIS { down_read(sem_); }),
         "takes a semaphore, which may sleep, with a spinlock held");
  expect(locked([&] { synchronize_rcu(); }),
         "waits for a grace period, which may sleep, with a spinlock held");
}

TEST_F(Waits, in_a_read_side_section) {
  auto reading = [&](auto wait) {
    return [=] {
      rcu_read_lock(since());
      wait();
      rcu_read_unlock();
    };
  };
  expect(reading([&] { synchronize_rcu(); }),
         "waits for a grace period, which may sleep, in an RCU read-side");
  expect(reading([&] { wait_for_page(); }), "waits for another thread, which may sleep, in an RCU read-side");
}

TEST_F(Waits, for_a_cpu_that_spins_on_the_lock_of_who_waits) {
  auto sends_to = [&](unsigned target) {
    return [&, target] {
      spin_lock(lock_);
      smp_call_function_many(BIT(target), nullptr, nullptr, 0);
      spin_unlock(lock_);
    };
  };
  auto spins = [&] {
    local_irq_disable();
    spin_lock(lock_);
    spin_unlock(lock_);
    local_irq_enable();
  };
  for (auto m : all_models) {
    EXPECT_TRUE(lost(decide({sends_to(1), spins}, m), "INV-LIVE",
                     {"CPU0 waits for a section to end", "CPU1 waits for a value"}));
    EXPECT_TRUE(lost(decide({spins, sends_to(0)}, m), "INV-LIVE",
                     {"CPU1 waits for a section to end", "CPU0 waits for a value"}));
  }
  // who is not waited for may spin
  EXPECT_EQ(decide({sends_to(2), spins, [&] { READ_ONCE(flags_); }}).verdict, verdict::safe);
  // where no execution deadlocks, the order is wrong all the same
  auto spins_first = [&] {
    spins();
    smp_store_release(flags_, 2);
  };
  auto sends_later = [&, send = sends_to(0)] {
    if (smp_load_acquire(flags_) == 2) send();
  };
  EXPECT_TRUE(lost(decide({spins_first, sends_later}), "INV-LOCKDEP",
                   {"CPU1 holds lock", "waits for an IPI to CPU0", "CPU0 has interrupts off, since"}));
}

TEST_F(Waits, for_a_reader_that_spins_for_who_waits) {
  auto waits = [&] {
    synchronize_rcu();
    smp_store_release(flags_, 2);
  };
  auto reads = [&] {
    rcu_read_lock();
    smp_cond_load_acquire(flags_, ~u64{0}, 2);
    rcu_read_unlock();
  };
  for (auto m : all_models)
    EXPECT_TRUE(
        lost(decide({waits, reads}, m), "INV-LIVE", {"waits for a section to end", "waits for a value"}));
}

} // namespace
} // namespace racewalk::explore
