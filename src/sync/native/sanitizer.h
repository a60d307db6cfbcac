// Which sanitizer this is built with, where code must know.
//
// ThreadSanitizer sees neither fences nor membarrier(2), and takes a value that is read and then discarded
// for a race. A build for it therefore makes every asymmetric barrier a real one and every access a bracketed
// one: it checks the protocols' logic, not their cheap halves.
#pragma once

#include "sync/native/atomic.h"

#if defined(__SANITIZE_THREAD__) || RACEWALK_HAS_TSAN
#define RACEWALK_TSAN 1
#else
#define RACEWALK_TSAN 0
#endif

namespace racewalk::inline native {

inline constexpr bool tsan_build = RACEWALK_TSAN;

} // namespace racewalk::inline native
