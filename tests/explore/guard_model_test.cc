// Code under test that goes wrong by itself is told about with the steps that led there, and code that is no
// function of what it reads is not believed.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "explore/explorer.h"
#include "explore/guard.h"

namespace racewalk::explore {
namespace {

outcome decide(std::function<void()> one, std::function<void()> other, search_options options = {}) {
  program p;
  p.threads = {std::move(one), std::move(other)};
  options.model = memory_model::weak;
  return explorer(p, options).run();
}

/// Decides in a process that is guarded; `broken` is what the outcome has to say. Exits with 0 if it does.
[[noreturn]] void decide_guarded(const std::function<void()>& body, word_t& flag, const char* invariant,
                                 const char* text) {
  guard_process([](const char*) {});
  const outcome o = decide(body, [&] { WRITE_ONCE(flag, 1); });
  const bool as_said = o.verdict == verdict::violation && o.failures.front().invariant == invariant &&
                       o.failures.front().text.find(text) != std::string::npos &&
                       o.failures.front().thread == 0 && o.failures.front().where.line != 0;
  _exit(as_said ? 0 : 1);
}

unsigned deepen(unsigned n) {
  volatile char page[4096];
  page[0] = static_cast<char>(n);
  return n == 0 ? 0 : deepen(n - 1) + static_cast<unsigned>(page[0]);
}

TEST(guard, a_fault_is_a_violation_where_it_happens_and_the_search_goes_on) {
  word_t flag{0};
  int* volatile nowhere = nullptr;
  auto faults = [&] {
    if (READ_ONCE(flag)) *nowhere = 1;
  };
  EXPECT_EXIT(decide_guarded(faults, flag, "CRASH", "segmentation fault, after this step"),
              testing::ExitedWithCode(0), "");
  auto aborts = [&] {
    if (READ_ONCE(flag)) abort();
  };
  EXPECT_EXIT(decide_guarded(aborts, flag, "CRASH", "abort()"), testing::ExitedWithCode(0), "");
}

TEST(guard, a_stack_that_overflows_is_told_from_a_bad_address) {
  word_t flag{0};
  auto recurses = [&] {
    if (READ_ONCE(flag)) deepen(1000);
  };
  EXPECT_EXIT(decide_guarded(recurses, flag, "CRASH", "stack overflows"), testing::ExitedWithCode(0), "");
}

TEST(guard, a_loop_without_a_step_ends) {
  word_t flag{0};
  volatile bool forever = true;
  auto spins = [&] {
    if (READ_ONCE(flag))
      while (forever) {
      }
  };
  EXPECT_EXIT(decide_guarded(spins, flag, "INV-LIVE", "without end"), testing::ExitedWithCode(0), "");
}

TEST(guard, outside_of_a_body_the_process_ends_with_a_word) {
  auto in_set_up = [] {
    guard_process([](const char* line) { (void)!write(STDERR_FILENO, line, strlen(line)); });
    const guarded_section running(" in the set-up");
    abort();
  };
  EXPECT_EXIT(in_set_up(), testing::ExitedWithCode(GUARD_EXIT), "abort\\(\\) in the set-up");
}

TEST(guard, an_exception_is_a_violation) {
  word_t flag{0};
  const outcome o = decide(
      [&] {
        if (READ_ONCE(flag)) throw std::runtime_error("nobody expects it");
      },
      [&] { WRITE_ONCE(flag, 1); });
  ASSERT_EQ(o.verdict, verdict::violation);
  EXPECT_EQ(o.failures.front().invariant, "EXCEPTION");
  EXPECT_NE(o.failures.front().text.find("nobody expects it"), std::string::npos);
}

TEST(guard, a_loop_on_a_variable_that_nobody_writes_ends) {
  word_t lonely{0};
  word_t flag{0};
  const outcome o = decide(
      [&] {
        while (!READ_ONCE(lonely)) {
        }
      },
      [&] { WRITE_ONCE(flag, 1); });
  ASSERT_EQ(o.verdict, verdict::violation);
  EXPECT_EQ(o.failures.front().invariant, "INV-LIVE");
}

/// Another step, another value, an end that comes earlier or later.
TEST(guard, a_program_that_is_no_function_of_what_it_reads_is_not_believed) {
  word_t x{0};
  word_t y{0};
  u64 runs = 0;
  const std::function<void()> odd[] = {
      [&] { runs++ % 2 ? WRITE_ONCE(x, 1) : WRITE_ONCE(y, 1); },
      [&] { WRITE_ONCE(x, ++runs); },
      [&] {
        if (runs++ % 2) WRITE_ONCE(x, 1);
      },
  };
  search_options options;
  options.rerun_executions = 10;
  for (const auto& body : odd) {
    runs = 0;
    const outcome o = decide(
        body,
        [&] {
          READ_ONCE(x);
          READ_ONCE(y);
        },
        options);
    EXPECT_EQ(o.verdict, verdict::inconclusive);
    EXPECT_NE(o.reason.find("not a function of what it reads"), std::string::npos) << o.reason;
  }
}

} // namespace
} // namespace racewalk::explore
