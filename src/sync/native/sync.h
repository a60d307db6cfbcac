// The native backend of sync.h: real threads are CPUs.
//
//   atomic.h  words and atomics           lock.h  spinlock, mutex, rwsem, waiting for a word
//   run.h     what the model needs to know and a real machine does not, and reports of broken invariants
//   rcu.h     RCU, by liburcu             smp.h   CPUs: interrupts off, IPIs
//   tlb.h     the software TLB and its remote invalidation
#pragma once

#include "sync/native/atomic.h"
#include "sync/native/lock.h"
#include "sync/native/rcu.h"
#include "sync/native/run.h"
#include "sync/native/smp.h"
#include "sync/native/tlb.h"
