// The weak model against answers of herd7 with the Linux kernel memory model (mechanisms: pins against
// writeback and mkclean, walker counts, fork, exclusivity), written as programs.
#include <gtest/gtest.h>

#include "explore/explorer.h"

namespace racewalk::explore {
namespace {

enum class observation { never, sometimes };

/// Threads fill `r`; the outcome asked about is `hit(r)`.
struct litmus {
  program p;
  int r[4][4] = {};
  std::function<bool()> hit;

  observation observe(memory_model m) {
    bool seen = false;
    p.finally = [&] { seen |= hit(); };
    search_options o;
    o.model = m;
    EXPECT_EQ(explorer(p, o).run().verdict, verdict::safe);
    return seen ? observation::sometimes : observation::never;
  }
};

struct variables {
  atomic_t a{0}, b{0}, c{0}, one{1}, two{1};
  spinlock_t l, k;
};

/// Mail 5's pin: `add` is the pinner's half, `set` the writeback's.
void pin(observation weak, observation tso, const std::function<void(atomic_t&)>& add,
         const std::function<void(atomic_t&)>& set) {
  variables v;
  litmus t;
  t.p.threads = {[&] {
                   add(v.a);
                   t.r[0][0] = READ_ONCE(v.b);
                 },
                 [&] {
                   set(v.b);
                   t.r[1][1] = atomic_read(v.a);
                 }};
  t.hit = [&] { return t.r[0][0] == 0 && t.r[1][1] == 0; };
  EXPECT_EQ(t.observe(memory_model::weak), weak);
  EXPECT_EQ(t.observe(memory_model::tso), tso);
  EXPECT_EQ(t.observe(memory_model::sc), observation::never);
}

TEST(lkmm, pin) {
  auto set_mb = [](atomic_t& wb) {
    xchg(wb, 1);
    smp_mb();
  };
  auto never = observation::never;
  pin(
      observation::sometimes, never, [](atomic_t& r) { atomic_add(r, 1), smp_wmb(); }, set_mb);
  pin(
      never, never, [](atomic_t& r) { atomic_add(r, 1), smp_mb(); }, set_mb);
  pin(
      never, never, [](atomic_t& r) { atomic_add(r, 1), smp_mb__after_atomic(); }, set_mb);
  pin(
      never, never, [](atomic_t& r) { atomic_add_return(r, 1); },
      [](atomic_t& wb) { xchg(wb, 1), smp_wmb(); });
  pin(
      observation::sometimes, never, [](atomic_t& r) { atomic_add(r, 1); }, set_mb); // counter-nomb
  pin(
      observation::sometimes, observation::sometimes, [](atomic_t& r) { WRITE_ONCE(r, 1); }, // switchmm
      [](atomic_t& g) { atomic_add_return(g, 1); });
  pin(
      observation::sometimes, observation::sometimes,
      [](atomic_t& m) { WRITE_ONCE(m, 1), smp_mb(); }, // serialize
      [](atomic_t& pmd) { WRITE_ONCE(pmd, 1); });
}

/// GUP-fast's pin and re-check against a change of the entry and a look at the count.
observation mkclean(const std::function<void(variables&)>& change) {
  variables v;
  litmus t;
  t.p.threads = {[&] {
                   t.r[0][0] = READ_ONCE(v.one);
                   atomic_add_return(v.a, 1);
                   t.r[0][1] = READ_ONCE(v.one);
                 },
                 [&] {
                   change(v);
                   t.r[1][2] = atomic_read(v.a);
                 }};
  t.hit = [&] { return t.r[0][0] == 1 && t.r[0][1] == 1 && t.r[1][2] == 0; };
  return t.observe(memory_model::weak);
}

void xchg_then_store(variables& v, order o) {
  spin_lock(v.l);
  xchg(v.one, 0, o);
  WRITE_ONCE(v.one, 2);
  spin_unlock(v.l);
}

TEST(lkmm, mkclean) {
  auto relaxed = [](variables& v) { xchg_then_store(v, order::relaxed); };
  EXPECT_EQ(mkclean(relaxed), observation::sometimes);
  EXPECT_EQ(mkclean([&](variables& v) { relaxed(v), smp_rmb(); }), observation::sometimes);
  EXPECT_EQ(mkclean([&](variables& v) { relaxed(v), spin_lock(v.k), spin_unlock(v.k); }),
            observation::sometimes);
  EXPECT_EQ(mkclean([&](variables& v) { relaxed(v), smp_mb(); }), observation::never);
  EXPECT_EQ(mkclean([](variables& v) { xchg_then_store(v, order::full); }), observation::never);
}

observation fork_large(bool barrier) {
  variables v; // a: pin, b: seq, one: ref
  litmus t;
  t.p.threads = {[&] {
                   t.r[0][0] = READ_ONCE(v.b);
                   smp_rmb();
                   atomic_add_return(v.one, 1);
                   atomic_add(v.a, 1);
                   smp_mb__after_atomic();
                   smp_rmb();
                   t.r[0][1] = READ_ONCE(v.b);
                 },
                 [&] {
                   WRITE_ONCE(v.b, 1);
                   smp_wmb();
                   if (barrier) smp_mb();
                   atomic_inc(v.one);
                   t.r[1][2] = atomic_read(v.a);
                 }};
  t.hit = [&] { return t.r[0][0] == 0 && t.r[0][1] == 0 && t.r[1][2] == 0; };
  return t.observe(memory_model::weak);
}

TEST(lkmm, fork) {
  EXPECT_EQ(fork_large(false), observation::sometimes);
  EXPECT_EQ(fork_large(true), observation::never);
  variables v; // b: seq, one: ref
  litmus t;
  t.p.threads = {[&] {
                   t.r[0][0] = READ_ONCE(v.b);
                   smp_rmb();
                   atomic_add_return(v.one, 1024);
                   smp_rmb();
                   t.r[0][1] = READ_ONCE(v.b);
                 },
                 [&] {
                   WRITE_ONCE(v.b, 1);
                   smp_wmb();
                   atomic_inc(v.one);
                   t.r[1][2] = atomic_read(v.one);
                 }};
  t.hit = [&] { return t.r[0][0] == 0 && t.r[0][1] == 0 && t.r[1][2] == 2; };
  EXPECT_EQ(t.observe(memory_model::weak), observation::never);
}

observation pending(bool same_lock) {
  variables v; // a: pending, one: pte
  litmus t;
  t.p.threads = {[&] {
                   atomic_inc(v.a);
                   spin_lock(v.l);
                   WRITE_ONCE(v.one, 0);
                   spin_unlock(v.l);
                 },
                 [&] {
                   spinlock_t& l = same_lock ? v.l : v.k;
                   spin_lock(l);
                   t.r[1][0] = READ_ONCE(v.one);
                   t.r[1][1] = atomic_read(v.a);
                   spin_unlock(l);
                 }};
  t.hit = [&] { return t.r[1][0] == 0 && t.r[1][1] == 0; };
  return t.observe(memory_model::weak);
}

TEST(lkmm, flush_pending_is_seen_through_the_same_lock_only) {
  EXPECT_EQ(pending(true), observation::never);
  EXPECT_EQ(pending(false), observation::sometimes);
}

/// GUP-fast against set_pmd_migration_entry; `seen` is the value that the walker accepts.
observation gup(int seen) {
  variables v; // a: pin, one: pmd
  litmus t;
  t.p.threads = {[&] {
                   t.r[0][0] = READ_ONCE(v.one);
                   atomic_add_return(v.a, 1);
                   t.r[0][1] = READ_ONCE(v.one);
                 },
                 [&] {
                   xchg(v.one, 2);
                   smp_mb();
                   WRITE_ONCE(v.one, 3);
                   t.r[1][2] = atomic_read(v.a);
                 }};
  t.hit = [&t, seen] { return t.r[0][0] == seen && t.r[0][1] == seen && t.r[1][2] == 0; };
  return t.observe(memory_model::weak);
}

TEST(lkmm, gup_that_accepts_the_invalidated_entry) {
  EXPECT_EQ(gup(1), observation::never);
  EXPECT_EQ(gup(2), observation::sometimes);
}

TEST(lkmm, exclusive) {
  variables v; // one: pte, a: pin, two: exclusive
  litmus t;
  t.p.threads = {[&] {
                   t.r[0][0] = READ_ONCE(v.one);
                   atomic_add(v.a, 1);
                   smp_mb__after_atomic();
                   t.r[0][1] = READ_ONCE(v.one);
                   smp_rmb();
                   t.r[0][2] = READ_ONCE(v.two);
                 },
                 [&] {
                   WRITE_ONCE(v.one, 0);
                   smp_mb();
                   t.r[1][3] = atomic_read(v.a);
                   WRITE_ONCE(v.two, 0);
                   smp_mb();
                   WRITE_ONCE(v.one, 1);
                 }};
  t.hit = [&] { return t.r[0][0] == 1 && t.r[0][1] == 1 && t.r[0][2] == 1 && t.r[1][3] == 0; };
  EXPECT_EQ(t.observe(memory_model::weak), observation::never);
}

/// Message passing, the reader through an address dependency.
observation publish(bool wmb, bool dependency) {
  struct box {
    word_t data{0};
  } b;
  shared<box*> head{nullptr};
  litmus t;
  t.p.threads = {[&] {
                   WRITE_ONCE(b.data, 1);
                   if (wmb) smp_wmb();
                   WRITE_ONCE(head, &b);
                 },
                 [&] {
                   auto [p, dep] = read_dep(head);
                   t.r[1][0] = p ? 1 : 0;
                   if (p)
                     t.r[1][1] = static_cast<int>(READ_ONCE(ref<u64>(&p->data, dependency ? dep : dep_t{})));
                 }};
  t.hit = [&] { return t.r[1][0] == 1 && t.r[1][1] == 0; };
  return t.observe(memory_model::weak);
}

TEST(lkmm, publication_needs_a_barrier_and_a_dependency) {
  EXPECT_EQ(publish(true, true), observation::never);
  EXPECT_EQ(publish(false, true), observation::sometimes);
  EXPECT_EQ(publish(true, false), observation::sometimes);
}

/// Message passing; between the reader's two reads is one of a variable that nobody writes, which is no
/// event.
observation through_a_constant(bool first_read_leads_to_it) {
  variables v;
  shared<atomic_t*> constant{&v.b};
  litmus t;
  t.p.threads = {[&] {
                   WRITE_ONCE(v.b, 1);
                   smp_wmb();
                   WRITE_ONCE(v.a, 1);
                 },
                 [&] {
                   const auto [flag, dep] = read_dep(v.a);
                   t.r[1][0] = flag;
                   const ref<atomic_t*> pointer(&constant, first_read_leads_to_it ? dep : dep_t{});
                   const auto [data, at] = read_dep(pointer);
                   t.r[1][1] = READ_ONCE(ref<s32>(data, at));
                 }};
  t.hit = [&] { return t.r[1][0] == 1 && t.r[1][1] == 0; };
  return t.observe(memory_model::weak);
}

TEST(lkmm, a_dependency_is_on_what_was_read_and_not_on_what_was_read_before) {
  EXPECT_EQ(through_a_constant(true), observation::never);
  EXPECT_EQ(through_a_constant(false), observation::sometimes);
}

/// Independent reads of independent writes; release-acquire chains.
TEST(lkmm, multi_copy_atomicity) {
  for (bool full : {true, false}) {
    variables v;
    litmus t;
    auto read = [&](unsigned i, atomic_t& x, atomic_t& y) {
      t.r[i][0] = READ_ONCE(x);
      full ? smp_mb() : smp_rmb();
      t.r[i][1] = READ_ONCE(y);
    };
    t.p.threads = {[&] { WRITE_ONCE(v.a, 1); }, [&] { WRITE_ONCE(v.b, 1); }, [&] { read(2, v.a, v.b); },
                   [&] { read(3, v.b, v.a); }};
    t.hit = [&] { return t.r[2][0] == 1 && t.r[2][1] == 0 && t.r[3][0] == 1 && t.r[3][1] == 0; };
    EXPECT_EQ(t.observe(memory_model::weak), full ? observation::never : observation::sometimes);
    EXPECT_EQ(t.observe(memory_model::tso), observation::never);
  }
}

/// A grace period, a rendezvous and a broadcast against the sections they wait for. The reader may have been
/// through an empty section before.
template <class Begin, class End, class Wait>
observation quiescence(Begin begin, End end, Wait wait, bool once_before = false) {
  variables v;
  litmus t;
  t.p.threads = {[&] {
                   if (once_before) {
                     begin();
                     end();
                   }
                   begin();
                   t.r[0][0] = READ_ONCE(v.a);
                   t.r[0][1] = READ_ONCE(v.b);
                   end();
                 },
                 [&] {
                   WRITE_ONCE(v.b, 1);
                   wait();
                   WRITE_ONCE(v.a, 1);
                 }};
  t.hit = [&] { return t.r[0][0] == 1 && t.r[0][1] == 0; };
  return t.observe(memory_model::weak);
}

TEST(lkmm, quiescence) {
  auto gp = [] { synchronize_rcu(); };
  auto ipi = [] { smp_call_function_many(1, nullptr, nullptr, 0); };
  auto nothing = [] {};
  EXPECT_EQ(quiescence([] { rcu_read_lock(); }, [] { rcu_read_unlock(); }, gp), observation::never);
  EXPECT_EQ(quiescence([] { local_irq_disable(); }, [] { local_irq_enable(); }, gp), observation::never);
  EXPECT_EQ(quiescence([] { local_irq_disable(); }, [] { local_irq_enable(); }, ipi), observation::never);
  EXPECT_EQ(quiescence([] { rcu_read_lock(); }, [] { rcu_read_unlock(); }, ipi), observation::sometimes);
  EXPECT_EQ(quiescence(nothing, nothing, gp), observation::sometimes);
}

TEST(lkmm, quiescence_waits_for_a_second_section) {
  auto gp = [] { synchronize_rcu(); };
  auto ipi = [] { smp_call_function_many(1, nullptr, nullptr, 0); };
  EXPECT_EQ(quiescence([] { rcu_read_lock(); }, [] { rcu_read_unlock(); }, gp, true), observation::never);
  EXPECT_EQ(quiescence([] { local_irq_disable(); }, [] { local_irq_enable(); }, gp, true),
            observation::never);
  EXPECT_EQ(quiescence([] { local_irq_disable(); }, [] { local_irq_enable(); }, ipi, true),
            observation::never);
}

/// An access whose section ends before a broadcast does may have been made wholly before what the broadcast
/// is for: here the CPU sets the dirty bit of an entry that the other then takes out, flushes, and puts back
/// as it had read it.
TEST(quiescence, a_section_that_ends_in_time_may_have_begun_before_the_change) {
  constexpr u64 CLEAN = 1;
  constexpr u64 DIRTY = 3;
  constexpr u64 INVALID = 4;
  word_t pte{CLEAN};
  bool stored = false;
  program p;
  p.threads.push_back([&] {
    const u64 old = READ_ONCE(pte);
    WRITE_ONCE(pte, INVALID);
    smp_mb();
    tlb_broadcast(2, {1, 0, 4096, 1});
    WRITE_ONCE(pte, old);
  });
  p.threads.push_back([&] {
    const u64 entry = translation_read(pte, {1, 0, 0, [](u64 e) { return (e & 1) != 0; }}).value;
    u64 expected = entry;
    stored = (entry & 1) != 0 && try_cmpxchg(pte, expected, DIRTY, order::relaxed);
    user_access_end();
  });
  p.finally = [&] { VM_BUG_ON(stored && READ_ONCE(pte) == CLEAN, "INV-DIRTY", "the dirty bit is lost"); };
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    search_options o;
    o.model = m;
    EXPECT_EQ(explorer(p, o).run().verdict, verdict::violation) << to_string(m);
  }
}

/// The same with a grace period: what the reader saw before the removal was not freed under it.
TEST(quiescence, a_reader_that_ends_in_time_may_have_come_first) {
  word_t published{1};
  word_t object{7};
  u64 seen = 0;
  u64 counted = 0;
  program p;
  p.threads.push_back([&] {
    WRITE_ONCE(published, 0);
    synchronize_rcu();
    counted = READ_ONCE(object);
    WRITE_ONCE(object, 0);
  });
  p.threads.push_back([&] {
    seen = 0;
    rcu_guard reader;
    if (READ_ONCE(published)) seen = static_cast<u64>(atomic_fetch_add(object, 1, order::relaxed));
  });
  bool came_first = false;
  bool too_late = false;
  p.finally = [&] {
    came_first |= seen == 7 && counted == 8;
    too_late |= seen == 7 && counted == 7;
  };
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    came_first = too_late = false;
    search_options o;
    o.model = m;
    EXPECT_EQ(explorer(p, o).run().verdict, verdict::safe);
    EXPECT_TRUE(came_first) << to_string(m);
    EXPECT_FALSE(too_late) << to_string(m);
  }
}

/// A flush rules out whatever is older than a write before it. Here another CPU writes the entry as well,
/// unordered with that write and the flush, and may come between the old value and the write in coherence
/// order.
template <class Change, class Use> observation old_entry_after_flush(memory_model m, Change change, Use use) {
  variables v; // a: go
  word_t pte{1};
  litmus t;
  t.p.threads = {
      [&] { WRITE_ONCE(pte, 2); },
      [&] {
        t.r[0][0] = READ_ONCE(v.a);
        smp_mb(); // pairs with the one after the write of the entry
        use();
        t.r[0][1] = static_cast<int>(translation_read(pte, {1, 0, 0, [](u64) { return true; }}).value);
        user_access_end();
      },
      [&] {
        WRITE_ONCE(pte, 3);
        smp_mb(); // pairs with the one before the flush, or before the access
        change();
        WRITE_ONCE(v.a, 1);
      }};
  t.hit = [&] { return t.r[0][0] == 1 && t.r[0][1] == 1; };
  return t.observe(m);
}

TEST(translations, a_flush_rules_out_what_is_older_than_any_write_before_it) {
  constexpr tlb_range PAGE{1, 0, 4096, 1};
  auto nothing = [] {};
  auto local = [&] { tlb_invalidated(PAGE); };
  auto broadcast = [&] {
    tlb_broadcast(2, PAGE);
    smp_mb(); // pairs with the one before the access
  };
  for (auto m : {memory_model::sc, memory_model::tso, memory_model::weak}) {
    EXPECT_EQ(old_entry_after_flush(m, nothing, local), observation::never) << to_string(m);
    EXPECT_EQ(old_entry_after_flush(m, broadcast, nothing), observation::never) << to_string(m);
    EXPECT_EQ(old_entry_after_flush(m, nothing, nothing), observation::sometimes) << to_string(m);
  }
}

} // namespace
} // namespace racewalk::explore
