// Reports of broken invariants, and the hooks by which the model learns what a real machine simply does.
//
// The hooks cost nothing here: run_setting() is its argument, a translation is read from memory as it is, and
// naming or freeing an object is nobody's business but the program's.
#pragma once

#include <optional>

#include "sync/native/atomic.h"

namespace racewalk::inline native {

// ---- reports ---------------------------------------------------------------------------------------------

/// Told of a broken invariant; the process aborts when it returns.
using violation_handler = void (*)(const char* invariant, const char* text);
/// Installs `handler` (null: print to stderr) and returns the previous one.
violation_handler set_violation_handler(violation_handler handler);

/// Ends the run: `invariant` does not hold.
[[noreturn]] void violation(const char* invariant, const char* text, site = {});
inline void VM_BUG_ON(bool cond, const char* invariant, const char* text, site s = {}) {
  if (cond) [[unlikely]]
    violation(invariant, text, s);
}

// ---- the run ---------------------------------------------------------------------------------------------

template <class T> constexpr const T& run_setting(const T& setting) { return setting; }
constexpr bool explored() { return false; }
constexpr std::optional<unsigned> explored_allocation() { return std::nullopt; }
inline void object_free(const void*, std::size_t, site = {}) {}

class smp_domain;
/// The machine that this thread works on; RCU callbacks work on that of their call_rcu().
inline constinit thread_local smp_domain* run_context = nullptr;

// ---- the MMU ---------------------------------------------------------------------------------------------

/// What a translation read is for: the entry of `level` that maps `va` in address space `ctx`.
struct translation {
  u64 ctx;
  vaddr_t va;
  u8 level;
  bool (*cacheable)(u64 entry); ///< may hardware keep this value?
};

/// What an invalidation removes from a TLB.
struct tlb_range {
  u64 ctx;
  vaddr_t start;
  vaddr_t end; ///< exclusive
  u8 levels;   ///< bit L: cached entries of level L are removed
};

/// What the walker reads.
inline dep_value<u64> translation_read(ref<u64> entry, const translation&, site = {}) {
  return {entry.raw().load(std::memory_order_relaxed), {}};
}
inline void user_access_end(site = {}) {}
inline void tlb_invalidated(const tlb_range&, site = {}) {}

} // namespace racewalk::inline native
