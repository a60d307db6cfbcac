// Sleepable RCU: read-side sections that may sleep, and a wait for those of one srcu_struct.
//
// Readers count themselves in one of two counters. A wait turns them to the other one and waits for the first
// to become 0, twice: a reader may have chosen its counter before the turn and be counted after it.
//
// Invariant: when synchronize_srcu() returns, every section that began before it was called has ended.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

struct srcu_struct {
  shared<u32> index;
  atomic_t readers[2];
  mutex_t waiter; ///< one wait at a time
};

/// Begins a section; returns what srcu_read_unlock() wants.
inline unsigned srcu_read_lock(srcu_struct& srcu, site s = RW_HERE) {
  const unsigned index = READ_ONCE(srcu.index, s) & 1;
  atomic_inc(srcu.readers[index], s);
  // The count, then what the section reads: pairs with the barriers of synchronize_srcu(), which sees this
  // reader, or the reader sees what the caller had changed.
  smp_mb__after_atomic(s);
  return index;
}

inline void srcu_read_unlock(srcu_struct& srcu, unsigned index, site s = RW_HERE) {
  smp_mb__before_atomic(s); // the section's accesses, then the count; pairs with synchronize_srcu()
  atomic_dec(srcu.readers[index], s);
  wake_up_all(srcu.readers[index], s);
}

/// Waits for every section that began before. Sleeps; not inside a section of the same srcu_struct.
inline void synchronize_srcu(srcu_struct& srcu, site s = RW_HERE) {
  mutex_lock(srcu.waiter, s);
  for (int turn = 0; turn < 2; ++turn) {
    const u32 index = READ_ONCE(srcu.index, s);
    WRITE_ONCE(srcu.index, index + 1, s);
    smp_mb(s); // what the caller changed, and the turn, then the count: pairs with srcu_read_lock()
    while (const s32 left = atomic_read(srcu.readers[index & 1], s))
      wait_while(srcu.readers[index & 1], ~0, left, s);
    smp_mb(s); // the sections, then what the caller does next: pairs with srcu_read_unlock()
  }
  mutex_unlock(srcu.waiter, s);
}

} // namespace racewalk::inline RACEWALK_BACKEND
