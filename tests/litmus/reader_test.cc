// What the reader makes of tests that it cannot judge, and of files that are no tests: one line each, with
// the place.
#include <gtest/gtest.h>

#include "judged.h"

namespace racewalk::litmus {
namespace {

std::string in_code(const std::string& statement) {
  return "C t\n{}\nP0(int *x, int *y)\n{\n\tint r0;\n\t" + statement + "\n}\nexists (x=1)\n";
}

TEST(reader, names_what_is_not_supported) {
  EXPECT_EQ(complaint("AArch64 t\n{}\n P0 ;\n"), "1: the language AArch64 is not supported");
  EXPECT_EQ(complaint(in_code("while (r0) r0 = 1;")), "6: 'while' is not supported");
  EXPECT_EQ(complaint(in_code("for (;;) ;")), "6: 'for' is not supported");
  EXPECT_EQ(complaint(in_code("goto out;")), "6: 'goto' is not supported");
  EXPECT_EQ(complaint(in_code("call_rcu(x, y);")), "6: call_rcu() is not supported");
  EXPECT_EQ(complaint(in_code("r0++;")), "6: '++' is not supported");
  EXPECT_EQ(complaint(in_code("r0 += 1;")), "6: compound assignment '+=' is not supported");
  EXPECT_EQ(complaint(in_code("r0 = x->next;")), "6: a structure's member is not supported");
  EXPECT_EQ(complaint(in_code("r0 = x[1];")), "6: an array is not supported");
  EXPECT_EQ(complaint(in_code("r0 = r0 ? 1 : 2;")), "6: '?:' is not supported");
  EXPECT_EQ(complaint(in_code("if (r0 && READ_ONCE(*x)) r0 = 1;")),
            "6: a memory access that '&&' or '||' may skip is not supported");
  EXPECT_EQ(complaint("C t\n{ int a[2]; }\nP0(int *x) {}\nexists (x=1)\n"), "2: an array is not supported");
  EXPECT_EQ(complaint("C t\n{}\nP0(int x) {}\nexists (x=1)\n"),
            "3: a parameter that is passed by value, as 'x' is, is not supported");
}

TEST(reader, says_what_it_expected) {
  EXPECT_EQ(complaint(in_code("r0 = READ_ONCE(*x)")), "7: expected ';', found '}'");
  EXPECT_EQ(complaint(in_code("r0 = ;")), "6: expected an expression, found ';'");
  EXPECT_EQ(complaint(in_code("READ_ONCE(x);")),
            "6: READ_ONCE() needs a dereferenced pointer as its first argument");
  EXPECT_EQ(complaint(in_code("WRITE_ONCE(*x);")), "6: WRITE_ONCE() takes 2 arguments, not 1");
  EXPECT_EQ(complaint(in_code("r0 = atomic_inc(x);")), "6: atomic_inc() has no value");
  EXPECT_EQ(complaint(in_code("1 = r0;")), "6: only a register or a dereferenced pointer can be assigned to");
  EXPECT_EQ(complaint(in_code("*z = 1;")),
            "6: a pointer that points nowhere is followed: is it a parameter?");
  EXPECT_EQ(complaint("C t\n{}\nP1(int *x) {}\nexists (x=1)\n"),
            "3: processes are to be numbered from P0 on, without a gap");
  EXPECT_EQ(complaint("C t\n{}\nexists (x=1)\n"), "3: expected the process P0, found 'exists'");
}

TEST(reader, survives_files_that_are_no_tests) {
  EXPECT_EQ(complaint(""), "1: the file is empty");
  EXPECT_EQ(complaint(" \n\n"), "1: the file is empty");
  EXPECT_EQ(complaint("C\n{}\n"), "1: the test has no name");
  EXPECT_EQ(complaint(std::string("\x7f"
                                  "ELF\x02\x01\x01\0\0",
                                  9)),
            "1: the file does not begin as a litmus test");
  EXPECT_EQ(complaint("C t\n{}\nP0(int *x)\n{\n\tWRITE"), "5: expected ';', found the end of the file");
  EXPECT_EQ(complaint("C t\n(* not closed"), "2: comment is not closed");
  EXPECT_EQ(complaint("C t\n{\x01}\n"), "2: byte 1 is not text");
  EXPECT_EQ(complaint("C t\n{x=99999999999999999999;}\n"),
            "2: '99999999999999999999' is not a number that a litmus test can use");
}

TEST(reader, bounds_what_a_file_can_make_it_do) {
  EXPECT_EQ(complaint(in_code(std::string(100000, '{'))),
            "6: nesting deeper than 200 levels is not supported");
  EXPECT_EQ(complaint(in_code("r0 = " + std::string(100000, '('))),
            "6: nesting deeper than 200 levels is not supported");
  EXPECT_EQ(complaint("C t\n{}\nP0(int *x) {}\nexists " + std::string(100000, '~')),
            "4: nesting deeper than 200 levels is not supported");
  EXPECT_EQ(complaint(in_code("r0 = " + std::string(1000000, '9') + ";")),
            "6: '" + std::string(59, '9') + "..." + std::string(36, '9') +
                "' is not a number that a litmus test can use");
  std::string sum = "r0 = 1", doubled = "r0 = READ_ONCE(*x);", branches = doubled, writes;
  for (unsigned i = 0; i < 100000; i++)
    sum += "+1";
  for (unsigned i = 0; i < 100; i++)
    doubled += " r0 = r0 + r0;";
  for (unsigned i = 0; i < 30; i++)
    branches += " if (r0) r0 = READ_ONCE(*x);";
  for (unsigned i = 0; i < 10000; i++)
    writes += " WRITE_ONCE(*x, 1);";
  EXPECT_EQ(complaint(in_code(sum + ";")), "6: an expression of so many operators is not supported");
  EXPECT_EQ(complaint(in_code(doubled)), "6: so large a computation is not supported");
  EXPECT_EQ(complaint(in_code(branches)), "3: a process with so many paths is not supported");
  EXPECT_EQ(complaint(in_code(writes)), "3: a process with so many steps is not supported");
}

TEST(reader, understands_both_kinds_of_comments) {
  EXPECT_EQ(observed("C t\n(* nested (* twice *) *)\n\"generated\"\n{ (* none *) }\n"
                     "P0(int *x) // P0\n{\n\t/* in code, (*x) is no comment */\n\tr0 = (*x);\n}\nexists "
                     "(0:r0=0) (* always *)\n"),
            "Always 1 0");
}

TEST(report, is_in_the_reference_tools_form) {
  const litmus_test test = parse("C SB\n{}\nP0(int *x, int *y) { WRITE_ONCE(*x, 1); r0 = READ_ONCE(*y); }\n"
                                 "P1(int *x, int *y) { *y = 1; r0 = READ_ONCE(*x); }\n"
                                 "locations [x]\nexists (0:r0=0 /\\ 1:r0=0)\n");
  EXPECT_EQ(to_text(test, judge(test), 0.125), "Test SB Allowed\n"
                                               "States 4\n"
                                               "0:r0=0; 1:r0=0; [x]=1;\n"
                                               "0:r0=0; 1:r0=1; [x]=1;\n"
                                               "0:r0=1; 1:r0=0; [x]=1;\n"
                                               "0:r0=1; 1:r0=1; [x]=1;\n"
                                               "Ok\n"
                                               "Witnesses\n"
                                               "Positive: 1 Negative: 3\n"
                                               "Flag data-race\n"
                                               "Condition exists (0:r0=0 /\\ 1:r0=0)\n"
                                               "Observation SB Sometimes 1 3\n"
                                               "Time SB 0.12\n\n");
}

} // namespace
} // namespace racewalk::litmus
