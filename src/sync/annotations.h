// Clang thread-safety attributes: lock requirements stated where a function is declared, checked by
// -Wthread-safety. They expand to nothing on other compilers.
#pragma once

#if defined(__clang__)
#define RW_TSA(x) __attribute__((x))
#else
#define RW_TSA(x)
#endif

#define CAPABILITY(name) RW_TSA(capability(name))
#define SCOPED_CAPABILITY RW_TSA(scoped_lockable)
#define GUARDED_BY(lock) RW_TSA(guarded_by(lock))
#define REQUIRES(...) RW_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) RW_TSA(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) RW_TSA(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) RW_TSA(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) RW_TSA(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) RW_TSA(release_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) RW_TSA(try_acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE_SHARED(...) RW_TSA(try_acquire_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) RW_TSA(locks_excluded(__VA_ARGS__))
#define ASSERT_CAPABILITY(x) RW_TSA(assert_capability(x))
#define NO_THREAD_SAFETY_ANALYSIS RW_TSA(no_thread_safety_analysis)
