// Small protocols whose number of executions is known: what the explorer is counted and timed on.
//
// Each is a program and the memory it runs on. Waits are primitives, so none of them spins. A protocol may be
// explored again and again: the variables hold the initial values throughout.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "explore/explorer.h"

namespace racewalk::explore::protocols {

struct protocol {
  program code;
  std::deque<word_t> words;
  std::deque<atomic_t> counters;
  std::deque<plain<int>> data;
  std::deque<spinlock_t> locks;

  void thread(std::function<void()> body, int twin = -1) {
    code.threads.push_back(std::move(body));
    code.twins.push_back(twin);
  }
};
using made = std::unique_ptr<protocol>;

/// Thread i writes x[i] and reads x[i + 1]: 2^n executions, all but one of them sequentially consistent.
inline made store_buffering(unsigned n) {
  auto p = std::make_unique<protocol>();
  p->words.resize(n);
  for (unsigned i = 0; i < n; i++)
    p->thread([&x = p->words, i, n] {
      WRITE_ONCE(x[i], 1);
      READ_ONCE(x[(i + 1) % n]);
    });
  return p;
}

/// Each passes on what the one before has passed on: n executions.
inline made message_chain(unsigned n) {
  auto p = std::make_unique<protocol>();
  p->words.resize(n);
  for (unsigned i = 0; i < n; i++)
    p->thread([&x = p->words, i] {
      if (i == 0 || smp_load_acquire(x[i - 1]) == 1) smp_store_release(x[i], 1);
    });
  return p;
}

/// (n * rounds)! / rounds!^n executions; the threads are identical.
inline made ticket_lock(unsigned n, unsigned rounds) {
  auto p = std::make_unique<protocol>();
  p->words.resize(2);
  p->data.resize(1);
  for (unsigned i = 0; i < n; i++)
    p->thread(
        [q = p.get(), rounds] {
          word_t& next = q->words[0];
          word_t& owner = q->words[1];
          for (unsigned k = 0; k < rounds; k++) {
            const u64 mine = atomic_fetch_add(next, 1, order::relaxed);
            smp_cond_load_acquire(owner, ~u64{0}, mine);
            q->data[0].set(q->data[0].get() + 1);
            smp_store_release(owner, mine + 1);
          }
        },
        static_cast<int>(i) - 1);
  return p;
}

/// Each pushes a node and pops one. A compare-and-swap that fails is a wait for the execution in which it
/// does not.
inline made treiber_stack(unsigned n) {
  auto p = std::make_unique<protocol>();
  p->words.resize(n + 1);
  auto swing = [](word_t& head, u64 from, u64 to) {
    current_engine->await_rmw(detail::access_of(head, order::full, RW_HERE),
                              {rmw_kind::compare_exchange, to, from});
  };
  for (unsigned i = 0; i < n; i++)
    p->thread([q = p.get(), swing, i, n] {
      word_t& head = q->words[n];
      const u64 below = READ_ONCE(head);
      WRITE_ONCE(q->words[i], below);
      swing(head, below, i + 1);
      if (const u64 top = READ_ONCE(head)) swing(head, top, READ_ONCE(q->words[top - 1]));
    });
  return p;
}

/// Michael and Scott's queue (PODC 1996): producers append a node each, consumers take one each unless they
/// find none. Who finds the tail behind helps it on and tries again. A compare-and-swap that fails, or a
/// pointer that has changed when it is read again, is a wait for the execution in which it is not so; but for
/// the last of a producer, who need not try again: somebody has helped.
inline made michael_scott_queue(unsigned producers, unsigned consumers) {
  auto p = std::make_unique<protocol>();
  p->words.emplace_back(u64{1}); // head and tail: node 1, which is empty
  p->words.emplace_back(u64{1});
  p->words.resize(2 + 1 + producers + 1); // and what follows each node
  auto swing = [](word_t& pointer, u64 from, u64 to) {
    current_engine->await_rmw(detail::access_of(pointer, order::full, RW_HERE),
                              {rmw_kind::compare_exchange, to, from});
  };
  auto read_twice = [](const word_t& pointer, u64 first) { smp_cond_load_acquire(pointer, ~u64{0}, first); };
  for (unsigned i = 0; i < producers; i++)
    p->thread([q = p.get(), swing, read_twice, node = i + 2] {
      word_t& tail = q->words[1];
      for (;;) {
        const u64 last = smp_load_acquire(tail);
        word_t& after_last = q->words[2 + last];
        const u64 next = smp_load_acquire(after_last);
        read_twice(tail, last);
        if (next) {
          swing(tail, last, next);
          continue;
        }
        swing(after_last, 0, node);
        cmpxchg(tail, last, node);
        return;
      }
    });
  for (unsigned i = 0; i < consumers; i++)
    p->thread([q = p.get(), swing, read_twice] {
      word_t& head = q->words[0];
      word_t& tail = q->words[1];
      for (;;) {
        const u64 first = smp_load_acquire(head);
        const u64 last = smp_load_acquire(tail);
        const u64 next = smp_load_acquire(q->words[2 + first]);
        read_twice(head, first);
        if (!next) return;
        if (first == last) {
          swing(tail, last, next);
          continue;
        }
        swing(head, first, next);
        return;
      }
    });
  return p;
}

/// One writer that writes `writes` times, readers that try `tries` times.
inline made seqlock(unsigned writes, unsigned readers, unsigned tries) {
  auto p = std::make_unique<protocol>();
  p->words.resize(3);
  p->thread([&x = p->words, writes] {
    for (u64 k = 0; k < writes; k++) {
      WRITE_ONCE(x[0], 2 * k + 1);
      smp_wmb();
      WRITE_ONCE(x[1], k + 1);
      WRITE_ONCE(x[2], k + 1);
      smp_store_release(x[0], 2 * k + 2);
    }
  });
  for (unsigned r = 0; r < readers; r++)
    p->thread(
        [&x = p->words, tries] {
          for (unsigned t = 0; t < tries; t++) {
            const u64 begin = smp_load_acquire(x[0]);
            if (begin & 1) continue;
            READ_ONCE(x[1]);
            READ_ONCE(x[2]);
            smp_rmb();
            if (READ_ONCE(x[0]) == begin) return;
          }
        },
        r == 0 ? -1 : static_cast<int>(r));
  return p;
}

/// Pins against writeback: each adds its pin, then looks for the other, and takes the pin back if it finds it
/// (S5.7). Who keeps it stores to the page twice.
inline made pin(unsigned pinners, unsigned tries) {
  auto p = std::make_unique<protocol>();
  p->words.resize(2);
  p->counters.resize(1);
  for (unsigned i = 0; i < pinners; i++)
    p->thread(
        [q = p.get(), tries] {
          word_t& page = q->words[1];
          for (unsigned t = 0; t < tries; t++) {
            atomic_add(q->counters[0], 1024);
            smp_mb(); // pairs with the exchange
            if (!READ_ONCE(q->words[0])) {
              WRITE_ONCE(page, 1);
              WRITE_ONCE(page, 2);
              return;
            }
            smp_mb__before_atomic(); // what was done with the pin, then without it; pairs with the exchange
            atomic_sub(q->counters[0], 1024);
          }
        },
        static_cast<int>(i) - 1);
  p->thread([q = p.get()] {
    xchg(q->words[0], 1); // pairs with the barrier of the pinners
    atomic_read(q->counters[0]);
    WRITE_ONCE(q->words[0], 0);
  });
  return p;
}

/// One try each, and the property: whoever kept a pin was seen. With a fence that orders writes only, on weak
/// hardware, it need not be.
inline made pin_checked(unsigned pinners, fence_kind between) {
  auto p = std::make_unique<protocol>();
  p->words.resize(1);
  p->counters.resize(1);
  auto kept = std::make_shared<std::deque<bool>>(pinners);
  auto unpinned = std::make_shared<bool>();
  for (unsigned i = 0; i < pinners; i++)
    p->thread([q = p.get(), kept, between, i] {
      atomic_add(q->counters[0], 1024);
      between == fence_kind::mb ? smp_mb() : smp_wmb(); // pairs with the exchange
      (*kept)[i] = READ_ONCE(q->words[0]) == 0;
      if (!(*kept)[i]) atomic_sub(q->counters[0], 1024);
    });
  p->thread([q = p.get(), unpinned] {
    xchg(q->words[0], 1); // pairs with the barrier of the pinners
    *unpinned = atomic_read(q->counters[0]) == 0;
  });
  p->code.finally = [kept, unpinned] {
    for (bool pinned : *kept)
      VM_BUG_ON(pinned && *unpinned, "PIN-STABLE", "a pin was kept that writeback did not see");
  };
  return p;
}

/// K accesses through a translation race one shootdown: (k + 1)(k + 2) / 2 executions, if a CPU does not go
/// back to an older entry.
inline made shootdown(unsigned k) {
  auto p = std::make_unique<protocol>();
  p->words.emplace_back(u64{1});
  p->thread([q = p.get(), k] {
    for (unsigned i = 0; i < k; i++) {
      translation_read(q->words[0], {1, 0, 0, [](u64) { return true; }});
      user_access_end();
    }
  });
  p->thread([q = p.get()] {
    WRITE_ONCE(q->words[0], 2);
    smp_mb();
    tlb_broadcast(1, {1, 0, 4096, 1});
  });
  return p;
}

/// Each takes the lock around something of its own: one execution.
inline made disjoint_locks(unsigned n) {
  auto p = std::make_unique<protocol>();
  p->locks.resize(1);
  p->data.resize(n);
  for (unsigned i = 0; i < n; i++)
    p->thread([q = p.get(), i] {
      spin_guard held(q->locks[0]);
      q->data[i].set(1);
    });
  return p;
}

} // namespace racewalk::explore::protocols
