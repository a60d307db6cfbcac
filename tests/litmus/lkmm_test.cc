// The model, rule by rule: small tests whose answers follow from the kernel's documentation of the model.
#include <algorithm>
#include <sstream>

#include <gtest/gtest.h>

#include "judged.h"

namespace racewalk::litmus {
namespace {

std::string two(const std::string& p0, const std::string& p1, const std::string& condition,
                const std::string& init = "") {
  return "C two\n{" + init + "}\nP0(int *x, int *y, int *z, spinlock_t *l)\n{\n" + p0 +
         "}\nP1(int *x, int *y, int *z, spinlock_t *l)\n{\n" + p1 + "}\nexists (" + condition + ")\n";
}

// ---- load buffering: program order and reads-from may form a cycle ----

const std::string both_loaded = "0:r0=1 /\\ 1:r0=1";

TEST(load_buffering, without_dependencies_happens) {
  EXPECT_EQ(observed(two("r0 = READ_ONCE(*x); WRITE_ONCE(*y, 1);", "r0 = READ_ONCE(*y); WRITE_ONCE(*x, 1);",
                         both_loaded)),
            "Sometimes 1 3");
}

TEST(load_buffering, data_dependencies_forbid_it) {
  EXPECT_EQ(observed(two("r0 = READ_ONCE(*x); WRITE_ONCE(*y, r0 | 1);",
                         "r0 = READ_ONCE(*y); r1 = r0 - r0; WRITE_ONCE(*x, r1 + 1);", both_loaded)),
            "Never 0 3");
}

TEST(load_buffering, one_dependency_is_not_enough) {
  EXPECT_EQ(observed(two("r0 = READ_ONCE(*x); WRITE_ONCE(*y, r0 | 1);",
                         "r0 = READ_ONCE(*y); WRITE_ONCE(*x, 1);", both_loaded)),
            "Sometimes 1 3");
}

TEST(load_buffering, a_dependency_goes_through_registers_only) {
  // through z, which is read back: the data dependency to a marked write and what is read from it still count
  EXPECT_EQ(
      observed(two("r0 = READ_ONCE(*x); WRITE_ONCE(*z, r0); r1 = READ_ONCE(*z); WRITE_ONCE(*y, r1 | 1);",
                   "r0 = READ_ONCE(*y); WRITE_ONCE(*x, r0 | 1);", both_loaded)),
      "Never 0 3");
}

TEST(load_buffering, control_dependencies_order_writes) {
  EXPECT_EQ(observed(two("r0 = READ_ONCE(*x); if (r0 >= 0) WRITE_ONCE(*y, 1);",
                         "r0 = READ_ONCE(*y); if (r0 >= 0) WRITE_ONCE(*x, 1);", both_loaded)),
            "Never 0 3");
}

TEST(load_buffering, a_control_dependency_ends_with_the_branch) {
  EXPECT_EQ(observed(two("r0 = READ_ONCE(*x); if (r0) r1 = 1; WRITE_ONCE(*y, 1);",
                         "r0 = READ_ONCE(*y); if (r0) { } else { r1 = 2; } WRITE_ONCE(*x, 1);", both_loaded)),
            "Sometimes 1 3");
}

TEST(load_buffering, values_out_of_thin_air_are_no_values) {
  EXPECT_EQ(observed(two("r0 = *x; *y = r0;", "r0 = *y; *x = r0;", "~0:r0=0")), "Never 0 3");
}

// ---- message passing: what keeps reads in order ----

std::string message(const std::string& reader, const std::string& writer = "smp_wmb();") {
  return two("WRITE_ONCE(*x, 1); " + writer + " WRITE_ONCE(*y, 1);", reader, "1:r0=1 /\\ 1:r1=0");
}

TEST(message_passing, reads_need_order) {
  EXPECT_EQ(observed(message("r0 = READ_ONCE(*y); r1 = READ_ONCE(*x);")), "Sometimes 1 3");
  EXPECT_EQ(observed(message("r0 = READ_ONCE(*y); smp_rmb(); r1 = READ_ONCE(*x);")), "Never 0 3");
  EXPECT_EQ(observed(message("r0 = smp_load_acquire(y); r1 = READ_ONCE(*x);")), "Never 0 3");
}

TEST(message_passing, a_control_dependency_does_not_order_reads) {
  EXPECT_EQ(observed(message("r0 = READ_ONCE(*y); if (r0) r1 = READ_ONCE(*x);")), "Sometimes 1 2");
}

TEST(message_passing, an_address_dependency_orders_reads) {
  EXPECT_EQ(observed(message("r0 = READ_ONCE(*y); r2 = x + (r0 & 128); r1 = READ_ONCE(*r2);")), "Never 0 3");
}

TEST(message_passing, smp_rmb_does_not_order_atomics_without_result) {
  const std::string condition = "0:r0=0 /\\ 1:r1=0";
  const std::string writer = "WRITE_ONCE(*x, 1); r0 = xchg_release(y, 5);";
  EXPECT_EQ(observed(two(writer, "atomic_inc(y); smp_rmb(); r1 = READ_ONCE(*x);", condition)),
            "Sometimes 1 3");
  EXPECT_EQ(observed(two(writer, "atomic_inc(y); smp_mb__after_atomic(); r1 = READ_ONCE(*x);", condition)),
            "Never 0 3");
}

// ---- store buffering: what is a full barrier ----

std::string store_buffer(const std::string& between) {
  return two("WRITE_ONCE(*x, 1); " + between + " r0 = READ_ONCE(*y);",
             "WRITE_ONCE(*y, 1); smp_mb(); r0 = READ_ONCE(*x);", "0:r0=0 /\\ 1:r0=0");
}

TEST(full_barriers, are_these) {
  for (const char* barrier :
       {"smp_mb();", "atomic_inc_return(z);", "r9 = xchg(z, 1);", "r9 = cmpxchg(z, 0, 1);",
        "r9 = atomic_add_unless(z, 1, 7);", "r9 = atomic_dec_and_test(z);", "synchronize_rcu();",
        "smp_mb__before_atomic(); atomic_inc(z);", "atomic_inc(z); smp_mb__after_atomic();",
        "spin_lock(l); smp_mb__after_spinlock(); spin_unlock(l);"})
    EXPECT_EQ(observed(store_buffer(barrier)).substr(0, 5), "Never") << barrier;
}

TEST(full_barriers, are_not_these) {
  for (const char* other : {"barrier();", "smp_wmb();", "smp_rmb();", "atomic_inc(z);",
                            "r9 = xchg_acquire(z, 1);", "r9 = xchg_release(z, 1);", "r9 = cmpxchg(z, 5, 1);",
                            "r9 = atomic_add_unless(z, 1, 0);", "r9 = atomic_fetch_add_relaxed(1, z);",
                            "spin_lock(l); spin_unlock(l);", "rcu_read_lock(); rcu_read_unlock();"})
    EXPECT_EQ(observed(store_buffer(other)).substr(0, 9), "Sometimes") << other;
}

TEST(full_barriers, a_store_with_one_comes_before_it) {
  EXPECT_EQ(observed(two("smp_store_mb(*x, 1); r0 = READ_ONCE(*y);",
                         "smp_store_mb(*y, 1); r0 = READ_ONCE(*x);", "0:r0=0 /\\ 1:r0=0")),
            "Never 0 3");
}

TEST(full_barriers, unlock_then_lock_needs_its_own) {
  const auto test = [](const std::string& fence) {
    return "C unlock-lock\n{}\nP0(int *x, int *y, spinlock_t *l)\n{\n\tspin_lock(l);\n\tWRITE_ONCE(*x, "
           "1);\n\tspin_unlock(l);\n}\n"
           "P1(int *x, int *y, int *z, spinlock_t *l)\n{\n\tint r0; int r1;\n\tr1 = "
           "READ_ONCE(*x);\n\tspin_lock(l);\n\t" +
           fence +
           "\n\tr0 = READ_ONCE(*z);\n\tspin_unlock(l);\n}\n"
           "P2(int *x, int *z)\n{\n\tint r0;\n\tWRITE_ONCE(*z, 1);\n\tsmp_mb();\n\tr0 = READ_ONCE(*x);\n}\n"
           "exists (1:r1=1 /\\ 1:r0=0 /\\ 2:r0=0)\n";
  };
  EXPECT_EQ(observed(test("")).substr(0, 9), "Sometimes");
  EXPECT_EQ(observed(test("smp_mb__after_unlock_lock();")).substr(0, 5), "Never");
}

// ---- read-modify-write ----

TEST(atomicity, nothing_comes_between) {
  EXPECT_EQ(observed("C inc\n{}\nP0(atomic_t *v) { atomic_inc(v); }\nP1(atomic_t *v) { atomic_inc(v); "
                     "}\nexists (~v=2)\n"),
            "Never 0 2");
}

TEST(atomicity, a_comparison_that_fails_writes_nothing) {
  EXPECT_EQ(
      observed("C cmpxchg\n{}\nP0(int *x) { r1 = cmpxchg(x, 1, 2); }\nP1(int *x) { r1 = cmpxchg(x, 0, 1); }\n"
               "exists (0:r1=1 /\\ ~x=2)\n"),
      "Never 0 2");
}

TEST(atomicity, add_unless_adds_unless) {
  EXPECT_EQ(
      observed(
          "C unless\n{atomic_t v = ATOMIC_INIT(1);}\nP0(atomic_t *v) { r0 = atomic_add_unless(v, 1, 1); }\n"
          "P1(atomic_t *v) { atomic_set(v, 0); }\nexists (0:r0=1 /\\ v=1 \\/ 0:r0=0 /\\ v=0)\n"),
      "Always 2 0");
}

TEST(arithmetic, is_that_of_the_name) {
  EXPECT_EQ(
      observed(
          "C ops\n{x=12;}\nP0(atomic_t *x)\n{\n"
          "\tr0 = atomic_fetch_sub(2, x);\n\tr1 = atomic_inc_return(x);\n\tr2 = atomic_fetch_and(9, x);\n"
          "\tatomic_or(6, x);\n\tr3 = atomic_fetch_xor(1, x);\n\tatomic_andnot(2, x);\n"
          "\tr4 = atomic_sub_and_test(12, x);\n\tr5 = atomic_add_negative(-1, x);\n}\n"
          "exists (0:r0=12 /\\ 0:r1=11 /\\ 0:r2=11 /\\ 0:r3=15 /\\ 0:r4=1 /\\ 0:r5=1 /\\ x=-1)\n"),
      "Always 1 0");
}

// ---- locks ----

TEST(locks, a_lock_knows_whether_it_is_held) {
  EXPECT_EQ(observed("C self\n{}\nP0(spinlock_t *l)\n{\n\tr1 = spin_is_locked(l);\n\tspin_lock(l);\n"
                     "\tr2 = spin_is_locked(l);\n\tspin_unlock(l);\n\tr3 = spin_is_locked(l);\n}\n"
                     "exists (0:r1=0 /\\ 0:r2=1 /\\ 0:r3=0)\n"),
            "Always 1 0");
}

TEST(locks, taking_one_twice_never_ends) {
  EXPECT_EQ(observed("C self-deadlock\n{}\nP0(spinlock_t *l)\n{\n\tspin_lock(l);\n\tspin_lock(l);\n}\n"),
            "Never 0 0");
}

TEST(locks, trying_fails_while_another_holds_it) {
  EXPECT_EQ(observed("C try\n{}\nP0(spinlock_t *l) { r0 = spin_trylock(l); }\nP1(spinlock_t *l) { r0 = "
                     "spin_trylock(l); }\n"
                     "exists (0:r0=1:r0)\n"),
            "Never 0 2");
}

TEST(locks, exclude) {
  const std::string section = "spin_lock(l); r0 = READ_ONCE(*x); WRITE_ONCE(*x, r0 + 1); spin_unlock(l);";
  EXPECT_EQ(observed(two(section, section, "~x=2")), "Never 0 2");
}

// ---- RCU: a cycle of sections and grace periods is impossible if there are at least as many of the latter
// ----

std::string ring(const std::string& steps, bool srcu) {
  std::ostringstream text, condition;
  text << "C ring\n{}\n";
  for (std::size_t self = 0; self < steps.size(); self++) {
    const std::size_t next = (self + 1) % steps.size();
    const bool section = steps[self] == 'R';
    text << "P" << self << "(int *x" << self << ", int *x" << next << ", struct srcu_struct *s)\n{\n";
    if (section) text << (srcu ? "\tr2 = srcu_read_lock(s);\n" : "\trcu_read_lock();\n");
    text << "\tr1 = READ_ONCE(*x" << self << ");\n";
    if (!section) text << (srcu ? "\tsynchronize_srcu(s);\n" : "\tsynchronize_rcu();\n");
    text << "\tWRITE_ONCE(*x" << next << ", 1);\n";
    if (section) text << (srcu ? "\tsrcu_read_unlock(s, r2);\n" : "\trcu_read_unlock();\n");
    text << "}\n";
    condition << (self > 0 ? " /\\ " : "") << self << ":r1=1";
  }
  text << "exists (" << condition.str() << ")\n";
  return text.str();
}

TEST(rcu, rings_of_sections_and_grace_periods) {
  for (std::size_t n = 2; n <= 5; n++) {
    for (unsigned choice = 0; choice < 1U << n; choice++) {
      std::string steps;
      for (std::size_t i = 0; i < n; i++)
        steps += choice >> i & 1 ? 'G' : 'R';
      const auto periods = std::ranges::count(steps, 'G');
      const bool impossible = periods > 0 && 2 * static_cast<std::size_t>(periods) >= n;
      for (const bool srcu : {false, true})
        EXPECT_EQ(observed(ring(steps, srcu)).starts_with("Never"), impossible)
            << steps << (srcu ? " srcu" : " rcu");
    }
  }
}

TEST(rcu, domains_of_srcu_are_separate) {
  const auto test = [](const std::string& domain) {
    return "C domains\n{}\nP0(int *x, int *y, struct srcu_struct *s)\n{\n\tr2 = srcu_read_lock(s);\n\tr0 = "
           "READ_ONCE(*x);\n"
           "\tr1 = READ_ONCE(*y);\n\tsrcu_read_unlock(s, r2);\n}\nP1(int *x, int *y, struct srcu_struct *s, "
           "struct srcu_struct *t)\n"
           "{\n\tWRITE_ONCE(*y, 1);\n\tsynchronize_srcu(" +
           domain + ");\n\tWRITE_ONCE(*x, 1);\n}\nexists (0:r0=1 /\\ 0:r1=0)\n";
  };
  EXPECT_EQ(observed(test("s")), "Never 0 3");
  EXPECT_EQ(observed(test("t")), "Sometimes 1 3");
}

// ---- plain accesses ----

std::string flags_of(const std::string& text) {
  std::string all;
  for (const std::string& flag : judge(parse(text)).flags)
    all += (all.empty() ? "" : " ") + flag;
  return all;
}

TEST(plain_accesses, race_unless_ordered) {
  const std::string reader = "r0 = smp_load_acquire(y); if (r0) r1 = *x;";
  EXPECT_EQ(flags_of(two("*x = 1; smp_store_release(y, 1);", reader, "1:r1=0")), "");
  EXPECT_EQ(observed(two("*x = 1; smp_store_release(y, 1);", reader, "1:r0=1 /\\ 1:r1=0")), "Never 0 2");
  EXPECT_EQ(flags_of(two("*x = 1; WRITE_ONCE(*y, 1);", reader, "1:r1=0")), "data-race");
  EXPECT_EQ(flags_of(two("*x = 1;", "WRITE_ONCE(*x, 2);", "x=1")), "data-race");
  EXPECT_EQ(flags_of(two("WRITE_ONCE(*x, 1);", "WRITE_ONCE(*x, 2);", "x=1")), "");
}

TEST(plain_accesses, locks_protect_them) {
  const std::string section = "spin_lock(l); *x = *x + 1; spin_unlock(l);";
  EXPECT_EQ(flags_of(two(section, section, "x=2")), "");
  EXPECT_EQ(observed(two(section, section, "x=2")), "Always 2 0");
}

TEST(plain_accesses, and_marked_ones_do_not_mix) {
  EXPECT_EQ(flags_of(two("*x = 1; WRITE_ONCE(*x, 2);", "", "x=2")), "mixed-accesses");
  EXPECT_EQ(flags_of(two("*x = 1; barrier(); WRITE_ONCE(*x, 2);", "", "x=2")), "");
}

TEST(flags, name_misuse) {
  EXPECT_EQ(flags_of(two("rcu_read_lock();", "", "true")), "unbalanced-rcu-locking");
  EXPECT_EQ(flags_of(two("r0 = srcu_read_lock(z); srcu_read_unlock(z, 5);", "", "true")), "srcu-bad-nesting");
  EXPECT_EQ(flags_of(two("r0 = srcu_read_lock(z);", "", "true")), "unbalanced-srcu-locking");
  EXPECT_EQ(flags_of(two("rcu_read_lock(); synchronize_srcu(z); rcu_read_unlock();", "", "true")),
            "invalid-sleep");
  EXPECT_EQ(flags_of(two("spin_unlock(l);", "", "true")), "unmatched-unlock");
  EXPECT_EQ(flags_of(two("spin_lock(l); spin_unlock(l);", "WRITE_ONCE(*l, 1);", "true")),
            "mixed-lock-accesses");
}

// ---- pointers ----

TEST(pointers, lead_where_they_point) {
  EXPECT_EQ(observed("C deref\n{ int *p = &y; y=7; }\nP0(int *x, int **p)\n{\n\tWRITE_ONCE(*x, "
                     "1);\n\trcu_assign_pointer(*p, x);\n}\n"
                     "P1(int **p)\n{\n\tint *r0 = rcu_dereference(*p);\n\tr1 = READ_ONCE(*r0);\n}\n"
                     "exists (1:r0=x /\\ 1:r1=1 \\/ 1:r0=y /\\ 1:r1=7)\n"),
            "Always 2 0");
}

TEST(pointers, to_nowhere_are_not_followed_silently) {
  EXPECT_EQ(complaint("C wild\n{}\nP0(int **p, int *x)\n{\n\tr2 = x;\n\tr0 = READ_ONCE(*p);\n\tr1 = "
                      "READ_ONCE(*r0);\n}\nexists (0:r1=0)\n"),
            "7: an execution follows a pointer that points nowhere");
  EXPECT_EQ(observed("C checked\n{}\nP0(int **p, int *x)\n{\n\tr2 = x;\n\tr0 = READ_ONCE(*p);\n\tif "
                     "(r0)\n\t\tr1 = READ_ONCE(*r0);\n}\n"
                     "exists (0:r1=0)\n"),
            "Always 1 0");
}

// ---- questions ----

TEST(questions, quantifiers_filters_and_locations) {
  const std::string body =
      "C ask\n{}\nP0(int *x) { WRITE_ONCE(*x, 1); r0 = READ_ONCE(*x); }\nP1(int *x) { WRITE_ONCE(*x, 2); }\n";
  EXPECT_EQ(observed(body + "forall (0:r0=1 \\/ x=2)\n"), "Always 3 0");
  EXPECT_EQ(observed(body + "~exists (0:r0=2 /\\ x=1)\n"), "Never 0 3");
  EXPECT_EQ(observed(body + "filter (x=2)\nexists (0:r0=2)\n"), "Sometimes 1 1");
  EXPECT_EQ(observed(body + "exists (0:r0=2 => x=2)\n"), "Always 3 0");
  EXPECT_EQ(observed(body + "exists (not (0:r0 != 2))\n"), "Sometimes 1 2");
  EXPECT_EQ(judge(parse(body + "locations [x; 0:r0;]\nexists (x=3)\n")).states.size(), 3U);
}

} // namespace
} // namespace racewalk::litmus
