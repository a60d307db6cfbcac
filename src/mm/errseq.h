// Errors that are told once to each who asks (Linux's lib/errseq.c).
//
// A word holds the last error, whether anybody has seen it, and a count that moves when an error comes after
// one that was seen. Who asks keeps the word as it was when he last asked, and is told if it has changed.
#pragma once

#include "sync/sync.h"

namespace racewalk::inline RACEWALK_BACKEND {

using errseq_t = shared<u32>;

namespace errseq {
inline constexpr u32 ERRNO = (1u << 12) - 1;
inline constexpr u32 SEEN = 1u << 12;
inline constexpr u32 COUNT = 1u << 13; ///< one

/// Records an error, a negative errno.
inline void set(errseq_t& word, int error, site s = RW_HERE) {
  u32 old = READ_ONCE(word, s);
  for (;;) {
    u32 now = (old & ~(ERRNO | SEEN)) | static_cast<u32>(-error);
    if ((old & SEEN) != 0) now += COUNT; // whoever has seen the last one is to see this one
    if (now == old || try_cmpxchg(word, old, now, order::full, s)) return;
  }
}

/// What a new asker has been told: everything, unless the last error was never seen by anyone.
inline u32 sample(const errseq_t& word, site s = RW_HERE) {
  const u32 now = READ_ONCE(word, s);
  return (now & SEEN) != 0 ? now : 0;
}

/// The last error, as a negative errno, if the word is not what it was; else 0.
inline int check(const errseq_t& word, u32 was, site s = RW_HERE) {
  const u32 now = READ_ONCE(word, s);
  return now == was ? 0 : -static_cast<int>(now & ERRNO);
}

/// The error since `since` was taken, as a negative errno, or 0; `since` moves on.
inline int check_and_advance(errseq_t& word, shared<u32>& since, site s = RW_HERE) {
  u32 old = READ_ONCE(word, s);
  const u32 told = READ_ONCE(since, s);
  if (old == told) return 0;
  if ((old & SEEN) == 0) {
    const u32 seen = old | SEEN;
    (void)try_cmpxchg(word, old, seen, order::full, s); // else somebody else has said so, or another came
    old |= SEEN;
  }
  WRITE_ONCE(since, old, s);
  return -static_cast<int>(old & ERRNO);
}
} // namespace errseq

} // namespace racewalk::inline RACEWALK_BACKEND
